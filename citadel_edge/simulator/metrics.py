"""What an engine shows of its load: a snapshot, and the Prometheus text of it. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The load at one moment, and the totals since the start. Wrong gauges may have replaced the first three.

    Attributes:
        running: requests in a slot.
        waiting: requests in the queue.
        kv_usage: fraction of the key-value memory in use, 0 to 1.
        slots: how many slots there are.
        prompt_tokens: read, those from the cache included.
        generated_tokens: of all requests.
        cache_queries: tokens looked up in the prefix cache.
        cache_hits: tokens found there.
        finished: requests by finish_reason.
        prefill_s: seconds spent reading.
        decode_s: seconds spent generating.
    """

    running: int
    waiting: int
    kv_usage: float
    slots: int
    prompt_tokens: int
    generated_tokens: int
    cache_queries: int
    cache_hits: int
    finished: Mapping[str, int]
    prefill_s: float = 0.0
    decode_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Family:
    """One metric with one sample a label set; `samples` maps the label text (`{a="b"}` or nothing) to a value."""

    name: str
    type: str
    help: str
    samples: Mapping[str, float]


def gauge(name: str, help_text: str, value: float, labels: str = "") -> Family:
    """A gauge of one sample."""
    return Family(name, "gauge", help_text, {labels: value})


def counter(name: str, help_text: str, value: float, labels: str = "") -> Family:
    """A counter of one sample, under its full name."""
    return Family(name, "counter", help_text, {labels: value})


def render(families: Iterable[Family]) -> bytes:
    """Prometheus text."""
    return "".join(_lines(family) for family in families).encode()


def _lines(family: Family) -> str:
    head = f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.type}\n"
    return head + "".join(f"{family.name}{labels} {value}\n" for labels, value in family.samples.items())
