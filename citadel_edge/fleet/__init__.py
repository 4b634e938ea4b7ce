"""What replicas there are and how they are."""
