"""The stream log: append, read from a cursor, resume, live fan-out."""
