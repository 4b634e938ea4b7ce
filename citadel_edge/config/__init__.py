"""What the operator wants: the typed shape, loading it, and what may change at run time."""
