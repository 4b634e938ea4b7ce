"""The routing-api door."""
