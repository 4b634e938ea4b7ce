"""One dialect a file: how to probe an engine and what its quirks are."""
