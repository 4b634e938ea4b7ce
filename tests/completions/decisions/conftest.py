"""Real databases for what is kept of decisions."""

from servers import migrated_dsn, migrated_template, own_postgres, postgres_dsn, postgres_server

__all__ = ["migrated_dsn", "migrated_template", "own_postgres", "postgres_dsn", "postgres_server"]
