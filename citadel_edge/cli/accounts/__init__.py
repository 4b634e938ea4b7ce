"""Users, keys, tiers, quotas, organisations and the audit trail on the command line, asked of rate-limiting-api."""
