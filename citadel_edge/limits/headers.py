"""How limits look in the headers of an answer. Pure.

Decides which of several limits of one name a client is told of: the one that denies longest, else the one with least
left. Sources: draft-ietf-httpapi-ratelimit-headers-10 for `RateLimit-Policy` and `RateLimit`, whose numbers are whole
by RFC 9651 (limits and times are rounded up, what remains is rounded down), and OpenAI's `x-ratelimit-*`, which its
clients read. The draft's register of quota units has requests, the default, and concurrent requests; tokens and dollars
are told by the policy's name alone. Refuses to know of HTTP's statuses and bodies.
"""

from collections.abc import Sequence
from math import ceil, floor
from typing import Final

from citadel_edge.limits.values import LimitName, Standing

DEGRADED: Final = "X-Citadel-Limits"
_DAY_S: Final = 86_400
_LONGEST: Final = 999_999_999_999_999
"""The largest whole number of a structured field."""
_POLICIES: Final = {
    LimitName.REQUESTS_PER_MINUTE: ("rpm", ";w=60"),
    LimitName.TOKENS_PER_MINUTE: ("tpm", ";w=60"),
    LimitName.CONCURRENT: ("concurrent", ';qu="concurrent-requests"'),
    LimitName.TOKENS_PER_DAY: ("tokens-day", f";w={_DAY_S}"),
    LimitName.TOKENS_PER_MONTH: ("tokens-month", f";w={31 * _DAY_S}"),
    LimitName.USD_PER_MONTH: ("usd-month", f";w={31 * _DAY_S}"),
}
_LIKE_OPENAI: Final = {
    LimitName.REQUESTS_PER_MINUTE: (
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
    ),
    LimitName.TOKENS_PER_MINUTE: (
        "x-ratelimit-limit-tokens",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-tokens",
    ),
}
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600


def limit_headers(standings: Sequence[Standing], *, degraded: bool = False) -> dict[str, str]:
    """The headers that tell of these limits, and `Retry-After` where one denies and waiting helps; {} without limits.

    Args:
        standings: as they are after the decision.
        degraded: whether it was made without Redis.
    """
    headers: dict[str, str] = {}
    if standings:
        _tell(headers, _tightest(standings))
        after_s = retry_after_s(standings)
        if after_s is not None:
            headers["Retry-After"] = str(max(1, _up(after_s)))
    if degraded:
        headers[DEGRADED] = "degraded"
    return headers


def retry_after_s(standings: Sequence[Standing]) -> float | None:
    """When all that deny may grant the same request; null when nothing denies, or one of them never will."""
    after_s: float | None = None
    for one in standings:
        if one.denied:
            if one.retry_after_s is None:
                return None
            after_s = one.retry_after_s if after_s is None else max(after_s, one.retry_after_s)
    return after_s


def duration(seconds: float) -> str:
    """As OpenAI writes it: `12ms`, `1s`, `1.5s`, `6m0s`, `1h0m0s`; rounded up, so that nobody comes early."""
    ms = max(0, ceil(round(seconds * 1000, 6)))
    if 0 < ms < 1000:  # noqa: PLR2004 - a second
        return f"{ms}ms"
    if ms < _MINUTE_S * 1000:
        return f"{ms / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    whole_s = -(-ms // 1000)
    minutes, rest_s = divmod(whole_s, _MINUTE_S)
    if whole_s < _HOUR_S:
        return f"{minutes}m{rest_s}s"
    return f"{minutes // 60}h{minutes % 60}m{rest_s}s"


def _tightest(standings: Sequence[Standing]) -> dict[LimitName, Standing]:
    """One standing a name."""
    shown: dict[LimitName, Standing] = {}
    for one in standings:
        other = shown.get(one.name)
        if other is None or _is_tighter(one, other):
            shown[one.name] = one
    return shown


def _is_tighter(one: Standing, other: Standing) -> bool:
    if one.denied and other.denied:
        return _wait_s(one) > _wait_s(other)
    if one.denied is not other.denied:
        return one.denied
    return (one.remaining, one.limit) < (other.remaining, other.limit)


def _wait_s(denied: Standing) -> float:
    return float("inf") if denied.retry_after_s is None else denied.retry_after_s


def _tell(headers: dict[str, str], shown: dict[LimitName, Standing]) -> None:
    policies, left = [], []
    for name, one in shown.items():
        policy, parameters = _POLICIES[name]
        limit, remaining = _up(one.limit), _down(one.remaining)
        policies.append(f'"{policy}";q={limit}{parameters}')
        left.append(f'"{policy}";r={remaining}{_until(one)}')
        names = _LIKE_OPENAI.get(name)
        if names is not None:
            headers[names[0]], headers[names[1]], headers[names[2]] = str(limit), str(remaining), duration(one.reset_s)
    headers["RateLimit-Policy"] = ", ".join(policies)
    headers["RateLimit"] = ", ".join(left)


def _until(one: Standing) -> str:
    """When there is more: of a limit that denies, enough for the same request; nothing where there is no such time."""
    after_s = one.retry_after_s if one.denied else one.reset_s or None
    return "" if after_s is None else f";t={_up(after_s)}"


def _up(number: float) -> int:
    whole = ceil(number)
    return whole if 0 <= whole <= _LONGEST else min(_LONGEST, max(0, whole))


def _down(number: float) -> int:
    whole = floor(number)
    return whole if 0 <= whole <= _LONGEST else min(_LONGEST, max(0, whole))
