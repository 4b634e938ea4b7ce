"""`make bench`: what a request and a streamed token cost ours in CPU, beside a bare aiohttp relay, in one run.

What is measured has a processor for itself; clients, model servers and databases share another. Rounds alternate
between the subjects, and the median of the rounds counts, so that a busy machine disturbs both alike.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import cpu, subjects
from benchmarks.load import Outcome, Plan
from benchmarks.subjects import Subject

WARM_UP = 0.3
Figures = dict[str, dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is measured: CPU per request, or per event of a stream."""

    name: str
    upstream: str
    stream: bool
    requests: int
    connections: int
    tokens: int

    def plan(self, subject: Subject, share: float) -> Plan:
        """The load on a subject, `share` of the full number of requests."""
        return Plan(
            url=subject.urls[self.upstream],
            model=self.upstream,
            key=subject.key,
            stream=self.stream,
            requests=max(self.connections, int(self.requests * share)),
            connections=self.connections,
            tokens=self.tokens,
        )


QUESTIONS = (
    Question(name="request", upstream="fast", stream=False, requests=1500, connections=16, tokens=32),
    Question(name="token, as fast as they come", upstream="fast", stream=True, requests=300, connections=16, tokens=64),
    Question(name="token, one every 20 ms", upstream="paced", stream=True, requests=64, connections=64, tokens=100),
)


async def measure(subject: Subject, question: Question, share: float) -> tuple[float, Outcome]:
    """Microseconds of the subject's CPU per request or per event, and what the clients saw."""
    command = (sys.executable, "-m", "benchmarks.load", json.dumps(asdict(question.plan(subject, share))))
    pid = subject.pids[question.upstream]
    before = cpu.used_ns(pid)
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await child.communicate()
    used_us = (cpu.used_ns(pid) - before) / 1000
    if child.returncode:
        raise SystemExit(f"{subject.name}: an answer was not whole; see above")
    outcome = Outcome(**json.loads(output))
    return used_us / (outcome.events if question.stream else outcome.requests), outcome


async def compare(taking_part: list[Subject], options: argparse.Namespace) -> Figures:
    """The median of every question's rounds, by question and subject."""
    measured: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for question in QUESTIONS:
        for subject in taking_part:
            await measure(subject, question, WARM_UP * options.share)
        for number in range(options.rounds):
            for subject in taking_part if number % 2 else reversed(taking_part):
                used_us, outcome = await measure(subject, question, options.share)
                measured[question.name, subject.name].append(used_us)
                tell(f"  {question.name:<28} {subject.name:<14} {used_us:7.1f} µs   p50 {outcome.p50_ms:6.1f} ms")
    return {
        question.name: {each.name: statistics.median(measured[question.name, each.name]) for each in taking_part}
        for question in QUESTIONS
    }


@asynccontextmanager
async def everybody(folder: Path, names: list[str]) -> AsyncIterator[list[Subject]]:
    """Model servers and subjects, running; each subject on the measured processor, everything else on the other."""
    measured, others = cpu.two_sides()
    os.sched_setaffinity(0, others)
    async with AsyncExitStack() as stack:
        upstreams = await stack.enter_async_context(subjects.upstreams(folder))
        taking_part = []
        for name in names:
            (folder / name).mkdir()
            subject = await stack.enter_async_context(subjects.KNOWN[name](upstreams, folder / name))
            for pid in set(subject.pids.values()):
                cpu.pin(pid, measured)
            taking_part.append(subject)
        yield taking_part


def table(figures: Figures) -> str:
    """The figures as people read them: a row a question, a column a subject, and how much more the last one costs."""
    names = list(next(iter(figures.values())))
    lines = [f"{'µs of CPU per':<28}" + "".join(f"{name:>16}" for name in names) + f"{'ratio':>8}"]
    for question, by_subject in figures.items():
        values = [by_subject[name] for name in names]
        cells = "".join(f"{value:16.1f}" for value in values)
        lines.append(f"{question:<28}{cells}{values[-1] / values[0]:8.2f}")
    return "\n".join(lines)


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


async def main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="citadel-bench-") as folder:
        async with everybody(Path(folder), options.subjects) as taking_part:
            figures = await compare(taking_part, options)
    print(table(figures))
    if options.json:
        machine = {"python": platform.python_version(), "machine": platform.machine(), "cpus": os.cpu_count()}
        options.json.write_text(json.dumps({**machine, "cpu_us_per": figures}, indent=2) + "\n")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each figure is measured (default 5)")
    parser.add_argument("--share", type=float, default=1.0, help="part of the full number of requests (default 1.0)")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--subjects", nargs="+", default=list(subjects.KNOWN), choices=subjects.KNOWN)
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main(parsed()))
