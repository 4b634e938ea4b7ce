"""The limits of all organisations, on Redis: one round trip an order, decided there by one script.

Decides which keys an order touches: all of an organisation's stand behind one hash tag, so that a cluster keeps them
together, and a reservation's id says whose it is. Refuses to know the rules (`rules`, `check.lua`), and what to do
while Redis is away.
"""

import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any, Final

from redis.exceptions import ResponseError

from citadel_edge.errors import RedisUnavailable
from citadel_edge.limits.packed import PLACES, Packer, is_held, own_bytes, packed, prefix
from citadel_edge.limits.rules import LONGEST_TTL_MS, bounded, ordinal
from citadel_edge.limits.values import MOST_NANO_USD, Answer, Ended, Level, LimitName, Order, Period, Spent, Verdict
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.storage.redis_script import Script

_RECORD_BYTES: Final = 16
"""What stands before the order in a record."""
_RAN: Final = "on @user_script"
"""In the answer when a script began and failed at one of its lines."""
_RESERVATION: Final = re.compile(r"res_([^{}]+)_([0-9a-f]{32})")


def _script(name: str) -> Script:
    folder = files("citadel_edge.limits")
    return Script("".join(folder.joinpath(file).read_text(encoding="utf-8") for file in ("prelude.lua", name)))


_CHECK: Final = _script("check.lua")
_SETTLE: Final = _script("settle.lua")
_RENEW: Final = _script("renew.lua")
_SWEEP: Final = _script("sweep.lua")
_SEED: Final = _script("seed.lua")


class ScriptFailed(RedisUnavailable):
    """One order could not be carried out with what stands in its organisation's keys; others can."""


class RedisStore:
    """The methods of `gcra.Book` for every organisation, on a server. Each raises `RedisUnavailable` and nothing else.

    The time is the server's. `pretended_ms` is for tests alone, which cannot set a server's clock.

    Attributes:
        writes: how many a server has answered.
    """

    def __init__(self, redis: RedisPool, *, pretended_ms: Callable[[], int] | None = None) -> None:
        self._redis = redis
        self._pretended_ms = pretended_ms
        self._packer = Packer()
        self.writes = 0

    async def reserve(self, order: Order) -> Answer:
        """Take what the order asks for of every limit, or of none. See `Order`."""
        answer = await self._check(order, only_read=False)
        self.writes += 1
        return answer

    async def read(self, order: Order) -> Answer:
        """What `reserve` would say of a new reservation; the levels are those without it. Takes nothing."""
        return await self._check(order, only_read=True)

    async def settle(self, reservation: str, spent: Spent, model: str = "", *, by_id: bool = False) -> Ended | None:
        """End a reservation: what it took becomes what was spent, once; None: it is unknown or was ended before.

        `model` is the one that served, where that may be another than was asked for. `by_id`: who asks knows no more
        than the id; to them one that is held by its maker is unknown.
        """
        organisation_id = organisation_of(reservation)
        if organisation_id is None:
            return None
        ended = await self._run(_SETTLE, _books(organisation_id), reservation[-32:], *_words(spent), model, int(by_id))
        self.writes += 1
        return None if ended is None else Ended(ended[0] == 1, ended[1])

    async def renew(self, reservation: str, *, ttl_ms: int, kept: Spent | None, by_id: bool = False) -> bool:
        """Let a reservation live `ttl_ms` from now. False: it has ended.

        `kept` is what stays if it is not settled; None: what would have before. `by_id` as in `settle`.
        """
        organisation_id = organisation_of(reservation)
        if organisation_id is None:
            return False
        words = _words(kept) if kept is not None else ("", "", "")
        args = reservation[-32:], min(ttl_ms, LONGEST_TTL_MS), *words, int(by_id)
        alive = bool(await self._run(_RENEW, _books(organisation_id), *args))
        self.writes += 1
        return alive

    async def meta(self, reservation: str) -> bytes | None:
        """What a reservation carries for whoever settles it by its id; None: to them it is unknown."""
        organisation_id = organisation_of(reservation)
        if organisation_id is None:
            return None
        try:
            record: bytes | None = await self._redis.call("HGET", _books(organisation_id)[0], reservation[-32:])
        except ResponseError as error:
            raise ScriptFailed(f"a reservation cannot be read on Redis: {error}") from error
        order = None if record is None else record[_RECORD_BYTES:]
        return None if order is None or is_held(order) else own_bytes(order)

    async def sweep(self, organisation_id: str, *, most: int) -> int:
        """See to up to `most` reservations that are due, the longest first; answers how many it were."""
        return int(await self._run(_SWEEP, _books(organisation_id)[1:], most))

    async def seed(self, organisation_id: str, subject: str, name: LimitName, period: Period, *, used: int) -> None:
        """Let a calendar counter say at least `used` for the present period: it was lost, and others know better."""
        key = f"{prefix(organisation_id)}s:{subject}"
        bounds = ordinal(period), period.start_ms, period.end_ms
        await self._run(_SEED, (key,), PLACES[name], *bounds, min(used, MOST_NANO_USD))

    async def _check(self, order: Order, *, only_read: bool) -> Answer:
        plan = self._packer.plan(order.organisation_id, order.dimensions)
        said = await self._run(_CHECK, plan.keys, packed(order, plan, only_read=only_read), order.reservation[-32:])
        return Answer(Verdict(said[0]), said[1], _levels(said[2:], len(order.dimensions)))

    async def _run(self, script: Script, keys: tuple[str, ...], *args: bytes | str | int) -> Any:
        if self._pretended_ms is not None:
            args = *args, self._pretended_ms()
        try:
            return await script.run(self._redis, keys, *args)
        except ResponseError as error:
            if _RAN in str(error):
                raise ScriptFailed(f"a script of the limits failed on Redis: {error}") from error
            raise RedisUnavailable("Redis cannot run the limits' scripts: Redis 7 or Valkey is needed") from error


def organisation_of(reservation: str) -> str | None:
    """Whose a reservation is, as its id says: `res_<organisation>_<32 hexadecimal digits>`; None: it is no such id."""
    match = _RESERVATION.fullmatch(reservation)
    return f"org_{match[1]}" if match else None


def _levels(numbers: list[int], limits: int) -> tuple[Level, ...]:
    """Their amounts, and unless all are 0 what each one's earlier periods took of top-ups."""
    if len(numbers) > limits:
        return tuple(Level(amount, taken) for amount, taken in zip(numbers, numbers[limits:], strict=False))
    return tuple(Level(amount) for amount in numbers)


def _books(organisation_id: str) -> tuple[str, str]:
    start = prefix(organisation_id)
    return f"{start}r", f"{start}x"


def _words(spent: Spent) -> tuple[int, int, int]:
    counted = bounded(spent)
    return counted.requests, counted.tokens, counted.nano_usd
