"""Who calls: organisations, users, tiers, keys; and what they used."""
