"""What a process has used of the processor, and where it may run."""

import os
from pathlib import Path

TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def used_ns(pid: int) -> int:
    """Nanoseconds of CPU of all living threads; from the scheduler, or from the coarser ticks where it keeps none."""
    try:
        return sum(int((task / "schedstat").read_text().split()[0]) for task in _tasks(pid))
    except FileNotFoundError:
        return _ticks(pid) * TICK_NS


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def pin(pid: int, cpus: set[int]) -> None:
    """Keep every thread of a process on `cpus`; its children keep what they had."""
    for task in _tasks(pid):
        os.sched_setaffinity(int(task.name), cpus)


def _tasks(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/task").iterdir())


def two_sides() -> tuple[set[int], set[int]]:
    """A processor for what is measured and one for all the rest; the same one on a machine that has no second."""
    cpus = sorted(os.sched_getaffinity(0))
    return {cpus[0]}, set(cpus[1:2] or cpus[:1])
