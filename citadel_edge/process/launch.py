"""What has to happen once, whenever PostgreSQL is there for the first time: migrations, then the first accounts.

Decides to try again for as long as it takes, so that the edge starts without its database and is whole when it comes.
"""

import asyncio

import asyncpg

from citadel_edge.accounts.bootstrap import Credentials, bootstrap
from citadel_edge.edge import Edge
from citadel_edge.errors import CitadelError
from citadel_edge.health.verdict import Check, Condition
from citadel_edge.storage.migrate import migrate

FIRST_PAUSE_S = 0.25
LAST_PAUSE_S = 5.0


async def prepare_accounts(edge: Edge) -> Credentials | None:
    """Bring the schema up to date and make the first accounts; the keys, if this start made them.

    What hinders it stands in health as the check `accounts`, and once in the log.
    """
    state = Check(Condition.UNKNOWN, "not prepared yet")
    edge.board.glance("accounts", lambda: state)
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            made = await _prepare(edge)
        except (CitadelError, asyncpg.PostgresError) as error:
            words = str(error) or type(error).__name__
            if words != state.detail:
                edge.logs.logger().warning("accounts_not_ready", reason=words)
            state = Check(Condition.DOWN, words)
        else:
            state = Check(Condition.UP, "schema and accounts are there")
            return made
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LAST_PAUSE_S)


async def _prepare(edge: Edge) -> Credentials | None:
    await edge.postgres.wait_until_up()
    applied = await migrate(edge.postgres)
    if applied:
        edge.logs.logger().info("migrated", migrations=applied)
    return await bootstrap(edge.postgres, edge.config.value, edge.clock)
