"""The two databases: one Redis pool, one PostgreSQL pool, numbered migrations."""
