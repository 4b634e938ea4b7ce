"""What the limiter's scripts cost: CPU of the Redis server per order and settlement, and CPU of a gateway that asks.

The server has a processor for itself and writes down what it is told, as the embedded one does. First it gets orders as
from a crowd of gateways, 64 at a time and made beforehand, so that it is never idle: `script` is its own word for the
time inside the script (INFO commandstats), `server` all CPU that it used, with reading, answering and its file. Then
one gateway asks, one order after the other or some at once, which travel together: `client` is all its CPU.

Of each figure the median of the rounds counts. Beside it stands the best round: others on the machine only add.
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC
from itertools import count, cycle, islice, product
from pathlib import Path
from typing import Any, Final, cast

import hiredis
import structlog

from benchmarks import cpu
from benchmarks.limits.service import Valkey
from citadel_edge.config.shape import RedisConfig
from citadel_edge.limits.plan import Periods
from citadel_edge.limits.redis_store import RedisStore
from citadel_edge.limits.values import KINDS, MOST, Dimension, Kind, LimitName, Order, Spent, Verdict
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.telemetry.clock import Clock

AT_ONCE: Final = (1, 16, 64)
CROWD: Final = 64
ORGANISATIONS: Final = 16
USERS: Final = 16
WARM_UP: Final = 0.2
FIVE: Final = (
    LimitName.REQUESTS_PER_MINUTE,
    LimitName.TOKENS_PER_MINUTE,
    LimitName.CONCURRENT,
    LimitName.TOKENS_PER_DAY,
    LimitName.USD_PER_MONTH,
)
ORDERS: Final = {
    "reserve": "five limits: reserve",
    "settle": "  settle",
    "deny": "  denied by the last",
    "reserve ten": "five of a user, five of the organisation: reserve",
    "settle ten": "  settle",
}
DO_NOTHING: Final = hiredis.pack_command(("EVAL", "return 1", "0"))  # type: ignore[arg-type]
COLUMNS: Final = {"script_us": "script µs", "server_us": "server µs", "client_us": "client µs"}
Figures = dict[str, dict[str, float]]
Act = Callable[[RedisStore, Order], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used until now: nanoseconds of CPU of both sides, and scripts with their microseconds."""

    server_ns: int
    client_ns: int
    scripts: int
    script_us: int


class Recorder:
    """Takes the place of a pool, and keeps what would have been sent."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []

    async def call(self, *args: Any, deadline_s: float | None = None) -> Any:  # noqa: ARG002 - the pool's
        """Answers what suits either script: ADMITTED, and a settlement in time."""
        self.commands.append(hiredis.pack_command(args))
        return [1, b""]


class Crowd:
    """Many gateways' orders over one connection, without what it costs to make them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._recorder = Recorder()
        self._store = RedisStore(cast("RedisPool", self._recorder))

    async def prepare(self, kind: str, orders: Sequence[Order]) -> list[bytes]:
        """The commands that a store would send."""
        self._recorder.commands = []
        act = _settle if kind.startswith("settle") else _reserve
        for order in orders:
            await act(self._store, order)
        return self._recorder.commands

    async def send(self, commands: Sequence[bytes], verdict: Verdict | None = None) -> None:
        """All of them. Another answer than the one that was meant makes the figure none."""
        heard = hiredis.Reader()
        for first in range(0, len(commands), CROWD):
            some = commands[first : first + CROWD]
            self._writer.write(b"".join(some))
            for _ in some:
                while (reply := heard.gets()) is False:
                    heard.feed(await self._reader.read(1 << 18))
                fine = not isinstance(reply, Exception) and (verdict is None or reply[0] == verdict.value)
                if not fine:
                    raise SystemExit(f"another answer than was meant: {reply!r}")


class Bench:
    """Orders and settlements, one round after the other. The settlements are those of the orders before."""

    def __init__(self, valkey: Valkey, crowd: Crowd, store: RedisStore) -> None:
        self._valkey = valkey
        self._crowd = crowd
        self._store = store
        self._numbers = count(1)
        self._open: list[Order] = []
        periods = Periods(round(Clock().unix_s() * 1000), UTC)
        self._plans = {
            "reserve": [_five(f"u:usr_{number}", periods) for number in range(USERS)],
            "deny": [_five("u:over", periods, last=0)],
            "reserve ten": [_five(f"u:ten_{number}", periods) + _five("o", periods) for number in range(USERS)],
        }

    async def nothing(self, requests: int) -> dict[str, float]:
        """A script that does nothing, from the crowd."""
        return await self._measured(requests, self._crowd.send([DO_NOTHING] * requests))

    async def crowd(self, kind: str, requests: int) -> dict[str, float]:
        """From many gateways."""
        orders = self._orders(kind, requests)
        commands = await self._crowd.prepare(kind, orders)
        verdict = Verdict.DENIED if kind == "deny" else Verdict.ADMITTED
        sent = self._crowd.send(commands, None if kind.startswith("settle") else verdict)
        return await self._measured(len(orders), sent)

    async def gateway(self, kind: str, requests: int, at_once: int) -> dict[str, float]:
        """From one."""
        act = _settle if kind.startswith("settle") else _deny if kind == "deny" else _reserve
        orders = self._orders(kind, requests)
        return await self._measured(len(orders), self._ask(act, orders, at_once))

    async def _ask(self, act: Act, orders: Sequence[Order], at_once: int) -> None:
        if at_once == 1:
            for order in orders:
                await act(self._store, order)
            return
        for first in range(0, len(orders), at_once):
            await asyncio.gather(*(act(self._store, order) for order in orders[first : first + at_once]))

    async def _measured(self, number: int, doing: Awaitable[None]) -> dict[str, float]:
        before = await self._usage()
        await doing
        after = await self._usage()
        if (scripts := after.scripts - before.scripts) != number:
            raise SystemExit(f"{scripts} scripts ran instead of {number}")
        return {
            "script_us": (after.script_us - before.script_us) / number,
            "server_us": (after.server_ns - before.server_ns) / number / 1000,
            "client_us": (after.client_ns - before.client_ns) / number / 1000,
        }

    def _orders(self, kind: str, requests: int) -> list[Order]:
        if kind.startswith("settle"):
            return self._open
        made = list(islice(self._new(self._plans[kind]), requests))
        self._open = made if kind != "deny" else []
        return made

    def _new(self, plans: Sequence[tuple[Dimension, ...]]) -> Iterator[Order]:
        for plan, organisation in cycle(product(plans, range(ORGANISATIONS))):
            yield Order(
                reservation=f"res_{organisation:022d}_{next(self._numbers):032x}",
                organisation_id=f"org_{organisation:022d}",
                dimensions=plan,
                cost=Spent(1, 100, 1000),
                kept=Spent(1, 20, 200),
                meta=b"chat",
            )

    async def _usage(self) -> Usage:
        stats = await self._valkey.info("commandstats")
        scripts = [stats[name].split(",") for name in ("cmdstat_eval", "cmdstat_evalsha") if name in stats]
        sums = [dict(pair.split("=") for pair in script) for script in scripts]
        calls, us = (sum(int(each[name]) for each in sums) for name in ("calls", "usec"))
        return Usage(cpu.used_ns(self._valkey.pid), time.process_time_ns(), calls, us)


async def _reserve(store: RedisStore, order: Order) -> None:
    if (await store.reserve(order)).verdict is not Verdict.ADMITTED:
        raise SystemExit("an order was not admitted")


async def _deny(store: RedisStore, order: Order) -> None:
    if (await store.reserve(order)).verdict is not Verdict.DENIED:
        raise SystemExit("an order was not denied")


async def _settle(store: RedisStore, order: Order) -> None:
    if await store.settle(order.reservation, Spent(1, 60, 600)) is None:
        raise SystemExit("a reservation was unknown")


def _five(subject: str, periods: Periods, *, last: int = MOST) -> tuple[Dimension, ...]:
    """Five limits that are never reached, but perhaps the last."""
    return tuple(
        Dimension(
            subject=subject,
            name=name,
            limit=last if name is FIVE[-1] else MOST,
            burst=MOST if KINDS[name][0] is Kind.RATE else 0,
            period=periods.of(name) if KINDS[name][0] is Kind.CALENDAR else None,
        )
        for name in FIVE
    )


@asynccontextmanager
async def _bench(folder: Path) -> AsyncIterator[Bench]:
    measured, others = cpu.two_sides()
    os.sched_setaffinity(0, others)
    async with AsyncExitStack() as stack:
        valkey = Valkey(folder / "redis")
        await valkey.start()
        stack.push_async_callback(valkey.kill)
        cpu.pin(valkey.pid, measured)
        reader, writer = await asyncio.open_unix_connection(str(valkey.path))
        stack.callback(writer.close)
        config = RedisConfig(url=f"unix://{valkey.path}", deadline_ms=5000)
        pool = await stack.enter_async_context(RedisPool.open(config, clock=Clock(), log=structlog.get_logger()))
        await pool.wait_until_up()
        bench = Bench(valkey, Crowd(reader, writer), RedisStore(pool))
        await _teach(RedisStore(pool))
        yield bench


async def _teach(store: RedisStore) -> None:
    """The server knows the scripts from here on."""
    order = Order(reservation=f"res_x_{0:032x}", organisation_id="org_x", dimensions=(), cost=Spent())
    await _reserve(store, order)
    await _settle(store, order)


async def measure(folder: Path, *, requests: int, rounds: int) -> Figures:
    """By what was asked and by whom: `reserve, crowd`; `settle, 16`. `nothing` is a script that does nothing."""
    found: defaultdict[str, list[dict[str, float]]] = defaultdict(list)
    async with _bench(folder) as bench:
        for number in range(-1, rounds):
            asked = requests if number >= 0 else max(CROWD, int(requests * WARM_UP))
            row = {"nothing, crowd": await bench.nothing(asked)}
            row |= {f"{kind}, crowd": await bench.crowd(kind, asked) for kind in ORDERS}
            for at_once, kind in product(AT_ONCE, ORDERS):
                row[f"{kind}, {at_once}"] = await bench.gateway(kind, asked, at_once)
            for name, figures in row.items() if number >= 0 else ():
                found[name].append(figures)
    return {name: _summary(rows) for name, rows in found.items()}


def _summary(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    median = {column: statistics.median(row[column] for row in rows) for column in COLUMNS}
    return median | {f"best_{column}": min(row[column] for row in rows) for column in COLUMNS}


def table(found: Figures) -> str:
    """The figures as people read them: each one's median and its best."""
    words = {"nothing": "a script that does nothing", **ORDERS}
    lines = [f"{'':<50}{'at once':>8}" + "".join(f"{column:>11}{'best':>7}" for column in COLUMNS.values())]
    for name, row in found.items():
        kind, _, who = name.partition(", ")
        shown = [column for column in COLUMNS if who != "crowd" or column != "client_us"]
        cells = "".join(f"{row[column]:11.1f}{row[f'best_{column}']:7.1f}" for column in shown)
        lines.append(f"{words[kind]:<50}{who:>8}{cells}")
    return "\n".join(lines)


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Put `script` among the others; the parsed options carry `run`, a coroutine function of them."""
    told = commands.add_parser("script", help="what the limiter's scripts cost Redis", description=__doc__)
    told.add_argument("--requests", type=int, default=4000, help="a round, kind and number at once (default 4000)")
    told.add_argument("--rounds", type=int, default=5, help="how often each figure is measured (default 5)")
    told.add_argument("--json", type=Path, help="write the figures there too")
    told.set_defaults(run=run)


async def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="citadel-limits-") as folder:
        found = await measure(Path(folder), requests=options.requests, rounds=options.rounds)
    print(table(found))
    if options.json is not None:
        await asyncio.to_thread(options.json.write_text, json.dumps(found, indent=2) + "\n")
