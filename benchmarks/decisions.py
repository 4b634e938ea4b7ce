"""`python -m benchmarks.decisions`: what choosing a replica costs, by the number of candidates.

The table, its signals and the chooser are the product's own, in virtual time. Every replica has calls under way, one
in four without its first token yet; it was measured with prompts of many sizes at several loads, holds prompts in its
cache, and says of itself how long a prompt may be. A decision is what a request pays: choose, and take the replica in
the same turn. µs of the thread's CPU, the median of the rounds and the best of them. What a decision may cost: 50 µs
at 20, 300 µs at 500.
"""

import argparse
import json
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Final

from benchmarks.balancer.router import MODEL, fleet
from citadel_edge.config.shape import StrategyName
from citadel_edge.fleet.gauges import Reading
from citadel_edge.fleet.table import Row, Table, Ticket, Verdict
from citadel_edge.routing.affinity import blocks
from citadel_edge.routing.ask import Ask
from citadel_edge.routing.chooser import Chooser

SIZES: Final = (2, 6, 20, 100, 101, 500)
"""Up to 100 all are compared, beyond them two drawn by chance."""
PROMISES: Final = {20: 50.0, 500: 300.0}
UNDER_WAY: Final = 4
"""Calls a replica, of which one waits for its first token."""
ANSWER_S: Final = 2.0
READ_EVERY_S: Final = 1.0
CALLS: Final = 30
CONTEXT_TOKENS: Final = 32_768
PROMPT_BYTES: Final = 4096
TOKENS_OUT: Final = 200
ASKS: Final = 64


class Bench:
    """A fleet of so many, in the middle of its work.

    Args:
        size: how many serve the model.
        strategy: how they are compared.
        instances: how many processes share them.
        sessions: every request belongs to one.
        known: any call has taught anything yet.
        others: other clients' requests run there too, and memory is tight.
    """

    def __init__(
        self,
        size: int,
        strategy: StrategyName = StrategyName.ADAPTIVE,
        *,
        instances: int = 1,
        sessions: bool = False,
        known: bool = True,
        others: bool = False,
    ) -> None:
        self._rng = Random(size)
        self._table: Table = fleet(size, slots=64)
        self._places = self._table.deployments(MODEL)
        self._chooser = Chooser(rng=self._rng.random)
        self._strategy, self._instances, self._known, self._others = strategy, instances, known, others
        self._now, self._read_at = 1000.0, 0.0
        self._step_s = ANSWER_S / (UNDER_WAY * size)
        self._prefilling: deque[tuple[Ticket, Ask]] = deque()
        self._answering: deque[Ticket] = deque()
        self._asks = [self._ask(f"session {number}" if sessions else None) for number in range(ASKS)]
        for row in self._table.rows.values():
            row.context_tokens[MODEL] = CONTEXT_TOKENS
            if known:
                self._teach(row)
        for ask, _ in zip(cycle(self._asks), range(2 * UNDER_WAY * size), strict=False):
            self._decide(ask)
            self._go_on()

    def _ask(self, session: str | None) -> Ask:
        prompt = self._rng.randbytes(PROMPT_BYTES)
        tokens = PROMPT_BYTES // 4
        return Ask(
            tokens_in=tokens,
            context_tokens=tokens,
            tokens_out=TOKENS_OUT,
            stream=True,
            session=session,
            prefix=blocks(prompt, seed=MODEL),
        )

    def _teach(self, row: Row) -> None:
        for call in range(CALLS):
            tokens, load, now = self._rng.randrange(100, 4000), 1 + call % 8, self._now - CALLS + call
            row.signals.observe_first_token(
                0.02 + tokens * 1e-4 + load * 0.01, tokens_in=tokens, prefilling_tokens=0, load=load, now=now
            )
            row.signals.observe_decode(TOKENS_OUT * (0.005 + load * 0.0005), tokens=TOKENS_OUT, load=load, now=now)

    def _decide(self, ask: Ask) -> None:
        """Choose and take."""
        choice = self._chooser.choose(
            self._places, ask, strategy=self._strategy, now=self._now, tried={}, instances=self._instances
        )
        if choice.deployment is None:
            raise SystemExit("nobody was free: this measures another thing")
        ticket = self._table.take(
            choice.deployment,
            now=self._now,
            tokens_in=choice.new_tokens,
            tokens_out=ask.tokens_out,
            expected_s=choice.expected_s(stream=True),
        )
        self._prefilling.append((ticket, ask))

    def _go_on(self) -> None:
        """Until the next request: a first token comes, a call ends, and engines are asked for their gauges."""
        self._now += self._step_s
        size = len(self._places)
        if len(self._prefilling) > size:
            ticket, ask = self._prefilling.popleft()
            self._answering.append(ticket)
            if self._known:
                self._table.first_token(ticket, now=self._now)
                self._chooser.learned(ticket.deployment, ask)
        if len(self._answering) > (UNDER_WAY - 1) * size:
            verdict = Verdict.OK if self._known else Verdict.NONE
            ticket = self._answering.popleft()
            self._table.give_back(ticket, verdict, now=self._now, rng=self._rng.random, tokens_out=TOKENS_OUT)
        if self._now - self._read_at >= READ_EVERY_S:
            self._read_at = self._now
            for row in self._table.rows.values():
                self._read(row)

    def _read(self, row: Row) -> None:
        own = row.in_flight
        reading = Reading(own + 1 + self._rng.randrange(3), 0, 0.95) if self._others else Reading(own, 0, 0.5)
        row.gauges.read(reading, now=self._now, own_in_flight=own)

    def us(self, decisions: int) -> float:
        """µs of CPU a decision; what happens between them is not measured."""
        used, asks = 0, cycle(self._asks)
        for _ in range(decisions):
            ask = next(asks)
            began = time.thread_time_ns()
            self._decide(ask)
            used += time.thread_time_ns() - began
            self._go_on()
        return used / decisions / 1000


WAYS: Final[dict[str, Callable[[int], Bench]]] = {
    **{each.value: partial(Bench, strategy=each, sessions=each is StrategyName.SESSION) for each in StrategyName},
    "adaptive, sessions": partial(Bench, sessions=True),
    "adaptive, two instances": partial(Bench, instances=2),
    "adaptive, others' work": partial(Bench, others=True),
    "adaptive, nothing known": partial(Bench, known=False),
}


def nothing_us(times: int) -> float:
    """What looking at the clock costs by itself."""
    began = time.thread_time_ns()
    for _ in range(times):
        time.thread_time_ns()
    return (time.thread_time_ns() - began) / times / 1000


def measured(make: Callable[[], Bench], *, decisions: int, rounds: int) -> dict[str, float]:
    """The median and the best of the rounds, without the clock's own cost."""
    bench, clock_us = make(), nothing_us(decisions)
    found = [bench.us(decisions) - clock_us for _ in range(rounds + 1)][1:]
    return {"median_us": statistics.median(found), "best_us": min(found)}


def figures(sizes: Sequence[int], *, decisions: int, rounds: int) -> dict[str, dict[str, float]]:
    """By way and size."""
    return {
        f"{way}, {size}": measured(partial(WAYS[way], size), decisions=decisions, rounds=rounds)
        for way in WAYS
        for size in sizes
    }


def table(found: dict[str, dict[str, float]], sizes: Sequence[int]) -> str:
    """Rows of strategies, columns of sizes; median and, in brackets, best."""
    lines = [f"{'µs of CPU a decision':<26}" + "".join(f"{size:>16}" for size in sizes)]
    for name in WAYS:
        cells = [found[f"{name}, {size}"] for size in sizes]
        shown = "".join(f"{cell['median_us']:>9.1f} ({cell['best_us']:.1f})".rjust(16) for cell in cells)
        lines.append(f"{name:<26}{shown}")
    for size, most_us in PROMISES.items():
        if size not in sizes:
            continue
        us = found[f"{StrategyName.ADAPTIVE.value}, {size}"]["median_us"]
        lines.append(f"adaptive at {size}: {us:.1f} of {most_us:g} µs{'' if us < most_us else ': TOO MUCH'}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decisions", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="N", help="candidates")
    parser.add_argument("--decisions", type=int, default=2000, help="a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args(argv)
    found = figures(options.sizes, decisions=options.decisions, rounds=options.rounds)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    print(table(found, options.sizes))


if __name__ == "__main__":
    main()
