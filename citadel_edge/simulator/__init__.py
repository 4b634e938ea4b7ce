"""A model server that is none: each engine's dialect, load metrics, timing and faults."""
