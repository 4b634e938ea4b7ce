"""What users thought of answers, kept in PostgreSQL: one opinion a user and decision, the last one counts.

Decides which answers can be judged, which scores are scores, and what is learned again at a start: of each user the
latest, so that no one's fill the memory. Refuses to know what is learned from them.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, Final

import asyncpg
import msgspec
from msgspec import Struct

from citadel_edge.errors import Code, PostgresUnavailable, RequestError
from citadel_edge.routing.feedback import LearnedSkills
from citadel_edge.storage.postgres import PostgresPool

LONGEST_COMMENT: Final = 2000
REMEMBERED: Final = 20_000
REMEMBERED_OF_ONE: Final = 100
"""Of a user's opinions on a model: as many as may make up the most that count, where each is of several tasks."""
RETRY_S: Final = 1.0
_JUDGED: Final = "done"
_PUT: Final = """
WITH before AS (SELECT score FROM feedback WHERE decision_id = $1 AND user_id = $2)
INSERT INTO feedback (decision_id, user_id, model, tasks, score, comment) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (decision_id, user_id) DO UPDATE SET score = $5, comment = $6, updated_at = now()
RETURNING updated_at, (SELECT score FROM before) AS before"""
_LATEST: Final = """
WITH late AS (
    SELECT * FROM feedback WHERE updated_at > now() - interval '90 days' ORDER BY updated_at DESC LIMIT 10 * $1
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY user_id, model ORDER BY updated_at DESC) AS nth FROM late
)
SELECT decision_id, user_id, model, tasks, score FROM ranked WHERE nth <= $2 ORDER BY updated_at DESC LIMIT $1"""


class Feedback(Struct, frozen=True, kw_only=True):
    """One as it is kept."""

    decision_id: str
    score: float
    comment: str | None
    replaced: bool
    at: datetime


class FeedbackStore:
    """The table of feedback. What is given, and at a start what was given before, teaches `learn`."""

    def __init__(self, postgres: PostgresPool, *, learn: LearnedSkills) -> None:
        self._postgres = postgres
        self._learn = learn
        self._caught_up = False
        self._early: set[tuple[str, str]] = set()

    async def put(
        self, decision: Mapping[str, Any], *, user_id: str, score: float, comment: str | None = None
    ) -> Feedback:
        """Keep what a user thinks of a decision (as it is shown) and learn from it.

        Raises:
            RequestError: the score is none from 0 to 1, the comment cannot be kept, or there was no whole answer.
            PostgresUnavailable: the database is away; nothing was learned.
        """
        _check(score, comment)
        if decision["outcome"] != _JUDGED:
            message = f"Only a whole answer can be judged, and this request ended as {decision['outcome']!r}."
            raise RequestError(Code.CONFLICT, message, param="decision_id")
        tasks = _tasks(decision)
        with self._at_hand(decision["id"], user_id) as early:
            row = await self._postgres.fetchrow(
                _PUT, decision["id"], user_id, decision["model"], msgspec.json.encode(tasks).decode(), score, comment
            )
        replaces = None if early else row["before"]
        self._learn.observe(decision["model"], user=user_id, tasks=tasks, score=score, replaces=replaces)
        return Feedback(
            decision_id=decision["id"],
            score=score,
            comment=comment,
            replaced=row["before"] is not None,
            at=row["updated_at"],
        )

    @contextmanager
    def _at_hand(self, decision_id: str, user_id: str) -> Iterator[bool]:
        """Whether an opinion is the first of its kind before the old ones are learned again, which leaves it out then.

        It is noted before it is written: in between the old ones may be read.
        """
        opinion = (decision_id, user_id)
        early = not self._caught_up and opinion not in self._early
        if early:
            self._early.add(opinion)
        try:
            yield early
        except BaseException:
            if early:
                self._early.discard(opinion)
            raise

    async def run(self) -> None:
        """Learn once what was said before this start; as soon as the database is there."""
        while not await self._learn_again():
            await asyncio.sleep(RETRY_S)
            await self._postgres.wait_until_up()

    async def _learn_again(self) -> bool:
        with suppress(PostgresUnavailable, asyncpg.UndefinedTableError):
            rows = await self._postgres.fetch(_LATEST, REMEMBERED, REMEMBERED_OF_ONE)
            for number, row in enumerate(reversed(rows)):
                self._learn_one(row)
                if number % 256 == 0:
                    await asyncio.sleep(0)
            self._caught_up = True
            self._early.clear()
            return True
        return False

    def _learn_one(self, row: Any) -> None:
        if (row["decision_id"], row["user_id"]) not in self._early:
            tasks = msgspec.json.decode(row["tasks"])
            self._learn.observe(row["model"], user=row["user_id"], tasks=tasks, score=row["score"])


def _tasks(decision: Mapping[str, Any]) -> dict[str, float]:
    features = decision.get("features") or {}
    tasks: dict[str, float] = features.get("tasks") or {}
    return dict(tasks)


def _check(score: float, comment: str | None) -> None:
    if not 0 <= score <= 1:  # NaN is not
        raise RequestError(Code.INVALID_REQUEST, "score is a number from 0 (useless) to 1 (perfect)", param="score")
    if comment is not None and (len(comment) > LONGEST_COMMENT or "\0" in comment):
        message = f"comment is a text of at most {LONGEST_COMMENT} characters without zero bytes"
        raise RequestError(Code.INVALID_REQUEST, message, param="comment")
