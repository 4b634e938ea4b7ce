"""How far back a question may read the ledger itself, where no sums answer it. Pure.

Decides the bound, and the words that say what else to ask. Sums reach as far as a question may.
"""

from datetime import timedelta
from typing import Final

from citadel_edge.accounts.analytics.buckets import Bucket
from citadel_edge.accounts.analytics.dimensions import Grain
from citadel_edge.accounts.analytics.pieces import Pieces
from citadel_edge.accounts.analytics.question import Question
from citadel_edge.accounts.desk import invalid

LEDGER_DAYS: Final = 31
_TOO_FAR: Final = f"are read from the ledger, at most {LEDGER_DAYS} days of it: ask for a shorter range"


def check_reach(question: Question, grain: Grain | None, pieces: Pieces) -> None:
    """Raise `RequestError` if more of the ledger would be read than a question may.

    `grain` is the set of dimensions that answers it, `pieces` what makes up its buckets.
    """
    read = sum((until - since for since, until in pieces.rest), timedelta())
    if read <= timedelta(days=LEDGER_DAYS):
        return
    if grain is None:
        names = " and ".join(sorted(name.name for name in question.dimensions))
        raise invalid(f"Sums by {names} together {_TOO_FAR}, or for fewer of these.", "groupBy")
    if question.bucket is Bucket.HOUR:
        raise invalid(f"These hours {_TOO_FAR}, or for days.", "bucket")
    raise invalid(f"Days of {question.span.zone} {_TOO_FAR}, or for days of UTC.", "time_zone")
