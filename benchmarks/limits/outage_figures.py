"""The figures of one outage, from what was seen from outside, and how people read them. Values in, words out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from benchmarks.limits.counters import Count
from benchmarks.limits.crowd import Part, Shot

INSTANCES: Final = 2
WINDOW_S: Final = 60.0
PHASES: Final = {"before": "Redis is there", "during": "away", "return": "coming back", "after": "there again"}
Figures = dict[str, Any]


@dataclass(slots=True)
class Moments:
    """When things happened, in seconds of the loop's clock. `whole`: health said so everywhere; null: never."""

    began: float = 0.0
    left: float = 0.0
    asked_back: float = 0.0
    back: float = 0.0
    whole: float | None = None
    ended: float = 0.0

    def phase(self, shot: Shot) -> str | None:
        """What a question fell into; one that was open when Redis left belongs to the outage."""
        if shot.began < self.began:
            return None
        if shot.ended <= self.left:
            return "before"
        if shot.began < self.asked_back:
            return "during"
        return "return" if self.whole is None or shot.began < self.whole else "after"


def figures(
    shots: Sequence[Shot],
    moments: Moments,
    seen: Sequence[tuple[float, bool]],
    counted: Sequence[Count],
    *,
    tiers: Mapping[str, Mapping[str, Any]],
) -> Figures:
    """Everything that is to be shown."""
    phases: dict[str, list[Shot]] = {name: [] for name in PHASES}
    for shot in shots:
        if name := moments.phase(shot):
            phases[name].append(shot)
    latencies = {name: _latencies(found) for name, found in phases.items()}
    return {
        "outage_s": round(moments.asked_back - moments.left, 2),
        "latencies": latencies,
        "added_p99_ms": {
            part.value: round(latencies["during"][part.value]["p99_ms"] - latencies["before"][part.value]["p99_ms"], 1)
            for part in Part
        },
        "server_errors": _failures(shots, moments, roams=False),
        "refused_although_within_limits": _refused(phases, roams=False),
        "server_errors_of_the_roaming": _failures(shots, moments, roams=True),
        "refused_of_the_roaming": _refused(phases, roams=True),
        "granted": [_granted(name, shots, moments, tiers) for name in _greedy(shots)],
        "decisions": {name: sum(_decides(shot) for shot in found) for name, found in phases.items()},
        "degraded": {name: sum(shot.degraded for shot in found) for name, found in phases.items()},
        "health_fell_after_s": _fell_after_s(seen, moments),
        "restart_s": round(moments.back - moments.asked_back, 3),
        "whole_after_s": None if moments.whole is None else round(moments.whole - moments.back, 2),
        "last_degraded_after_s": _last_degraded_after_s(shots, moments),
        "counts": [asdict(each) | {"agrees": each.agrees} for each in counted],
    }


def _latencies(shots: Sequence[Shot]) -> dict[str, Figures]:
    """Of those who stay within their limits: they ask the same in every phase."""
    steady = [shot for shot in shots if _steady(shot)]
    return {part.value: _spread([shot.ended - shot.began for shot in steady if shot.part is part]) for part in Part}


def _spread(took_s: Sequence[float]) -> Figures:
    ordered = sorted(took_s)

    def quantile_ms(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000, 1) if ordered else float("nan")

    return {"n": len(ordered), "p50_ms": quantile_ms(0.5), "p99_ms": quantile_ms(0.99), "max_ms": quantile_ms(1.0)}


def _decides(shot: Shot) -> bool:
    """Whether limits decided about it."""
    return shot.part in {Part.CHAT, Part.CHECK}


def _steady(shot: Shot) -> bool:
    return shot.person.habit.greedy is None


def _failures(shots: Sequence[Shot], moments: Moments, *, roams: bool) -> Figures:
    """Answers of 500 and more, and connections that broke, since Redis left."""
    failed = [
        shot
        for shot in shots
        if (shot.status >= 500 or shot.status == 0) and shot.ended > moments.left and shot.person.habit.roams is roams
    ]
    by = Counter(f"{shot.part} {shot.status}" for shot in failed)
    return {"number": len(failed), "by": dict(by), "first": [shot.words for shot in failed[:1]]}


def _refused(phases: Mapping[str, Sequence[Shot]], *, roams: bool) -> Figures:
    """Of those who stay within their limits."""
    refused = [
        (name, shot)
        for name, found in phases.items()
        for shot in found
        if _steady(shot) and not shot.allowed and shot.person.habit.roams is roams
    ]
    by = Counter(f"{name}: {shot.part} {shot.status}" for name, shot in refused)
    return {"number": len(refused), "by": dict(by), "first": [shot.words for _, shot in refused[:1]]}


def _greedy(shots: Sequence[Shot]) -> list[str]:
    return sorted({shot.person.habit.name for shot in shots if not _steady(shot)})


def _granted(name: str, shots: Sequence[Shot], moments: Moments, tiers: Mapping[str, Mapping[str, Any]]) -> Figures:
    """What a greedy one got of the limit that it overruns while Redis was away, and what that may be at most."""
    own = [shot for shot in shots if shot.person.habit.name == name and shot.part is not Part.SETTLE]
    habit = own[0].person.habit
    limit = habit.greedy or ""
    tier = tiers[habit.tier]
    away = [shot for shot in own if moments.left <= shot.began < moments.asked_back]
    got = [shot for shot in away if shot.allowed]
    told: Figures = {"who": name, "limit": limit, "of": tier[limit], "asked": len(away), "requests": len(got)}
    if limit == "concurrent":
        held_before = sum(shot.allowed and shot.began < moments.left < shot.ended for shot in own)
        return told | {"granted": most_at_once(got), "bound": tier[limit], "held_before": held_before}
    units = [shot.tokens if limit == "tokens_per_minute" else 1 for shot in got]
    everything = [
        (shot.began, shot.ended, shot.tokens if limit == "tokens_per_minute" else 1) for shot in own if shot.allowed
    ]
    burst = tier["burst"] * tier[limit]
    largest = max(units, default=0)
    allowed = tier[limit] * (moments.asked_back - moments.left) / 60 + max(burst, INSTANCES * largest)
    return told | {
        "granted": sum(units),
        "bound": round(allowed),
        "worst_minute": worst_window(everything, WINDOW_S),
        "minute_s_bound": round(tier[limit] + max(burst, largest)),
    }


def worst_window(taken: Sequence[tuple[float, float, int]], window_s: float) -> int:
    """The most units surely taken within any window of so many seconds; each by when it was asked and answered.

    It was decided somewhere between: only what was asked and answered inside counts.
    """
    return max(
        (
            sum(units for asked, answered, units in taken if began <= asked and answered <= began + window_s)
            for began, _, _ in taken
        ),
        default=0,
    )


def most_at_once(shots: Sequence[Shot]) -> int:
    """The most that were surely served at the same moment.

    An answer is asked for before it is served and arrives after: what is sure is the part of the time between that the
    model cannot have done without.
    """
    sure = [(shot.ended - shot.person.habit.serves_s, shot.began + shot.person.habit.serves_s) for shot in shots]
    steps = sorted(step for begins, ends in sure if begins < ends for step in ((begins, 1), (ends, -1)))
    most = held = 0
    for _, step in steps:
        held += step
        most = max(most, held)
    return most


def _fell_after_s(seen: Sequence[tuple[float, bool]], moments: Moments) -> float | None:
    fell = (at for at, whole in seen if at > moments.left and not whole)
    at = next(fell, None)
    return None if at is None else round(at - moments.left, 2)


def _last_degraded_after_s(shots: Sequence[Shot], moments: Moments) -> float | None:
    """The last question that was decided without Redis, in seconds since it is back; negative: it was earlier."""
    last = max((shot.began for shot in shots if shot.degraded), default=None)
    return None if last is None else round(last - moments.back, 2)


def table(way: str, found: Figures) -> str:
    """The figures as people read them."""
    lines = [
        f"Redis gone by {way} for {found['outage_s']} s",
        f"  {'within their limits':<34}{'number':>8}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}",
    ]
    for name, words in PHASES.items():
        for part, row in found["latencies"][name].items():
            numbers = f"{row['n']:>8}{row['p50_ms']:>9.1f}{row['p99_ms']:>9.1f}{row['max_ms']:>9.1f}"
            lines.append(f"  {part + ', ' + words:<34}{numbers}")
    lines += [
        f"  p99 added by the outage (ms): {found['added_p99_ms']}; of `live` that is the machine's own",
        *_trouble("5xx and broken connections since Redis left", found["server_errors"]),
        *_trouble("refused although within the limits", found["refused_although_within_limits"]),
        *_trouble("settled through the other instance: 5xx", found["server_errors_of_the_roaming"]),
        *_trouble("settled through the other instance: refused", found["refused_of_the_roaming"]),
        f"  answers that say they are degraded: {found['degraded']} of {found['decisions']}",
        f"  health fell after {found['health_fell_after_s']} s; Redis took {found['restart_s']} s to start again;",
        f"  from then on health was whole after {found['whole_after_s']} s,",
        f"  and the last that was decided without it was asked after {found['last_degraded_after_s']} s",
    ]
    lines += [f"  {_granted_line(each)}" for each in found["granted"]]
    wrong = [each for each in found["counts"] if not each["agrees"]]
    lines.append(f"  counted alike by answers, Redis and ledger: {len(found['counts']) - len(wrong)} users; not alike:")
    lines += [f"    {each}" for each in wrong]
    return "\n".join(lines)


def _trouble(words: str, found: Figures) -> list[str]:
    return [f"  {words}: {found['number']} {found['by']}", *(f"    {each}" for each in found["first"])]


def _granted_line(each: Figures) -> str:
    words = (
        f"{each['who']}: asked {each['asked']} times while Redis was away, {each['requests']} granted; "
        f"of {each['limit']} {each['granted']}, bound {each['bound']}"
    )
    if "worst_minute" in each:
        return f"{words}; worst 60 s of all {each['worst_minute']} (with Redis alone at most {each['minute_s_bound']})"
    return f"{words}, besides {each['held_before']} from before"
