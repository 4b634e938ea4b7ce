"""What has to happen once, whenever PostgreSQL is there for the first time: migrations, then the first accounts.

Decides to try again for as long as it takes, so that the edge starts without its database and is whole when it comes.
"""

import asyncio

from citadel_edge.accounts.bootstrap import Credentials, bootstrap
from citadel_edge.edge import Edge
from citadel_edge.errors import CitadelError
from citadel_edge.storage.migrate import migrate

TRY_AGAIN_S = 0.25


async def prepare_accounts(edge: Edge) -> Credentials | None:
    """Bring the schema up to date and make the first accounts; the keys, if this start made them."""
    log = edge.logs.logger()
    said = ""
    while True:
        try:
            applied = await migrate(edge.postgres)
            if applied:
                log.info("migrated", migrations=applied)
            return await bootstrap(edge.postgres, edge.config.value, edge.clock)
        except CitadelError as error:
            if str(error) != said:
                said = str(error)
                log.warning("accounts_not_ready", reason=said)
        await asyncio.sleep(TRY_AGAIN_S)
