"""The four budgets: who may come in, how long one waits, how much is held."""
