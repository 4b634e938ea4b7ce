"""What the ledger says was used, in the limiter's words. For quotas that Redis has lost."""

from datetime import UTC, datetime

from citadel_edge.accounts.usage import used_since
from citadel_edge.limits.restoring import LedgerUsage
from citadel_edge.limits.values import Spent
from citadel_edge.storage.postgres import PostgresPool


def ledger_usage(postgres: PostgresPool) -> LedgerUsage:
    """Of a user, or of a whole organisation, since a time. What the spool still holds is not in it.

    Raises:
        PostgresUnavailable: when it is asked while the database is away or too slow.
    """

    async def used(organisation_id: str, user_id: str | None, since_ms: int) -> Spent:
        since = datetime.fromtimestamp(since_ms / 1000, UTC)
        found = await used_since(postgres, since, organisation_id=organisation_id, user_id=user_id)
        return Spent(0, found.tokens, found.nano_usd)

    return used
