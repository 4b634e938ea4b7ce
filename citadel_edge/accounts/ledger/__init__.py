"""The usage ledger: one row a finished request, spooled first, carried to PostgreSQL later."""
