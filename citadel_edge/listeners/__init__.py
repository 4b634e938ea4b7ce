"""Four doors: parse, call, answer. Nothing is decided here."""
