"""What operators change in a running fleet, kept across restarts and shared by the instances."""
