"""The rate-limiting-api door."""
