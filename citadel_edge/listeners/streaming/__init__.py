"""The streaming-api door."""
