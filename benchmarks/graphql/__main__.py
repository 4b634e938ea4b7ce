"""`python -m benchmarks.graphql [http]`: CPU of a GraphQL request, ours beside Strawberry, Ariadne and graphql-core.

All engines stand on the same graphql-core and answer the same data in the same run. Rounds alternate between them, and
the median of the rounds counts, so that a busy machine disturbs all alike. Strawberry and Ariadne take part where they
are installed (`pip install '.[bench]'`). Measured is the engine alone, from a text and variables to the data; with
`http` the server, from a request's bytes to the answer's.
"""

import argparse
import asyncio
import gc
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks import cpu
from benchmarks.graphql import http
from benchmarks.graphql.engines import CORE, Answer, own_engines
from benchmarks.graphql.questions import QUESTIONS, Question

PEERS = {"strawberry": "benchmarks.graphql.strawberry_engine", "ariadne": "benchmarks.graphql.ariadne_engine"}
PACKAGES = ("graphql-core", "aiohttp", "strawberry-graphql", "ariadne", "uvicorn")
ROUND_S = 0.05
"""CPU that an engine takes in a round."""
Figures = dict[str, dict[str, float]]


def engines() -> dict[str, Answer]:
    """All that take part, by name."""
    found = own_engines()
    for package, module in PEERS.items():
        if importlib.util.find_spec(package) is not None:
            found |= importlib.import_module(module).engines()
    return found


async def compare(taking_part: dict[str, Answer], rounds: int, round_s: float) -> Figures:
    """Microseconds of CPU a request, by question and engine."""
    figures: Figures = {}
    for question in QUESTIONS:
        counts = {name: await warm(answer, question, round_s) for name, answer in taking_part.items()}
        measured: defaultdict[str, list[float]] = defaultdict(list)
        for _ in range(rounds):
            for name, answer in taking_part.items():
                measured[name].append(await spent_us(answer, question, counts[name]))
        figures[question.name] = {name: statistics.median(values) for name, values in measured.items()}
    return figures


async def warm(answer: Answer, question: Question, round_s: float) -> int:
    """Ask until everything is cached; says how many requests make a round."""
    await spent_us(answer, question, 3)
    return max(1, round(round_s * 1e6 / await spent_us(answer, question, 5)))


async def spent_us(answer: Answer, question: Question, requests: int) -> float:
    """CPU a request, collections of garbage among it."""
    gc.collect()
    before = time.process_time_ns()
    for _ in range(requests):
        await answer(question.text, question.variables)
    return (time.process_time_ns() - before) / 1000 / requests


async def agree(taking_part: dict[str, Answer]) -> None:
    """Fails when two engines answer a question differently."""
    for question in QUESTIONS:
        answers = {name: await answer(question.text, question.variables) for name, answer in taking_part.items()}
        for name, answer in answers.items():
            if json.dumps(answer) != json.dumps(answers[CORE]):
                raise SystemExit(f"{name} answers {question.name!r} differently from {CORE}")


def table(figures: Figures) -> str:
    """Ours is the first of each question."""
    lines = []
    for question, by_name in figures.items():
        lines += [question, f"  {'':<34}{'µs CPU':>10}{'times':>10}"]
        ours = next(iter(by_name.values()))
        for name, us in sorted(by_name.items(), key=lambda pair: pair[1]):
            lines.append(f"  {name:<34}{us:>10.1f}{us / ours:>10.1f}")
    return "\n".join(lines)


def versions() -> dict[str, str]:
    """Of what takes part."""
    installed = {found.metadata["Name"].lower() for found in importlib.metadata.distributions()}
    return {name: importlib.metadata.version(name) for name in PACKAGES if name in installed}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.graphql", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("engines", "http"), default="engines", help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of each (%(default)s)")
    parser.add_argument("--round-s", type=float, default=ROUND_S, help="seconds of CPU a round (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    return parser.parse_args()


async def of_engines(rounds: int, round_s: float) -> Figures:
    cpu.pin(os.getpid(), cpu.two_sides()[0])
    taking_part = engines()
    await agree(taking_part)
    return await compare(taking_part, rounds, round_s)


async def main(options: argparse.Namespace) -> None:
    measure = http.run if options.what == "http" else of_engines
    figures = await measure(options.rounds, options.round_s)
    report: dict[str, Any] = {"python": platform.python_version(), "packages": versions(), "cpu_us_per": figures}
    if options.json:
        options.json.write_text(json.dumps(report, indent=2))
    print(f"Python {report['python']}, " + ", ".join(f"{name} {version}" for name, version in versions().items()))
    print(table(figures))


if __name__ == "__main__":
    asyncio.run(main(parsed()))
