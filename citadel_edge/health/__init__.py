"""What the four services and their dependencies say of themselves."""
