"""Ledger rows by the million, made by PostgreSQL itself: users who keep to a few models, nights, errors, denials.

What is made depends on the numbers alone. Each user belongs to one organisation and tier and calls four of the models,
each model has three of the upstreams; 1 % of the rows are denials of up to fifty requests.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

AT_ONCE: Final = 50_000
_INSERT: Final = """
INSERT INTO usage_events (event_id, request_id, organisation_id, user_id, key_id, tier, model, upstream, endpoint,
    listener, decision_id, attempts, tokens_in, tokens_out, cost_usd, outcome, ttft_ms, duration_ms, count, created_at)
SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || substr(md5(n::text), 13))::uuid,
    'req_' || md5((-n)::text), 'org_' || u % $6::int,
    'usr_' || lpad(u::text, 32, '0'), 'key_' || lpad(u::text, 32, '0'),
    (ARRAY['free', 'pro', 'enterprise'])[1 + u % 3], 'model-' || m,
    CASE WHEN outcome <> 'denied' THEN 'upstream-' || (m * 3 + (h >> 20) % 3) % $5::int END,
    CASE WHEN (h >> 24) % 20 < 17 THEN '/v1/chat/completions' WHEN (h >> 24) % 20 < 19 THEN '/v1/completions'
         ELSE '/v1/embeddings' END,
    CASE WHEN (h >> 28) % 4 = 0 THEN 'streaming-api' ELSE 'routing-api' END,
    'dec_' || md5(n::text), 1, tokens_in, tokens_out,
    CASE WHEN outcome <> 'denied' THEN (tokens_in * (m + 1) * 0.15 + tokens_out * (m + 1) * 0.6) / 1000000 ELSE 0 END,
    outcome, CASE WHEN outcome <> 'denied' THEN exp(4.5 + 0.1 * m + 0.7 * normal) END,
    exp(4.5 + 0.1 * m + 0.7 * normal) + tokens_out * (5 + m),
    CASE WHEN outcome = 'denied' THEN 1 + n % 50 ELSE 1 END, at
FROM (
    SELECT n, h, normal, u, (u * 5 + floor(4 * power(random(), 2))::integer) % $4::int AS m,
        CASE WHEN outcome <> 'denied' THEN 50 + h % 2000 ELSE 0 END AS tokens_in,
        CASE WHEN outcome <> 'denied' THEN 1 + (h >> 8) % 700 ELSE 0 END AS tokens_out, outcome,
        date_trunc('milliseconds', $1::timestamptz + interval '1 second' * (n * $2::float8
            - 10800 * sin(2 * pi() * n * $2::float8 / 86400))) AS at
    FROM (
        SELECT n, (random() * 2147483647)::bigint AS h, floor($3::int * power(random(), 2))::integer AS u,
            sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random()) AS normal,
            CASE WHEN x < 0.94 THEN 'done' WHEN x < 0.96 THEN 'error' WHEN x < 0.97 THEN 'truncated'
                 WHEN x < 0.99 THEN 'cancelled' ELSE 'denied' END AS outcome
        FROM (SELECT n, random() AS x FROM generate_series($7::bigint, $8::bigint) AS n) AS drawn
    ) AS who
) AS what
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """How many rows of how many users, models, upstreams and organisations, spread over a span."""

    rows: int
    since: datetime
    until: datetime
    users: int = 300
    models: int = 12
    upstreams: int = 8
    organisations: int = 10


async def insert(postgres: Any, amount: Amount) -> None:
    """Put them into `usage_events`, in the order of their times."""
    for first in range(0, amount.rows, AT_ONCE):
        async with postgres.transaction(timeout_s=300) as connection:
            await connection.execute("SELECT setseed($1)", first / amount.rows)
            last = min(first + AT_ONCE, amount.rows) - 1
            await connection.execute(_INSERT, *_arguments(amount), first, last)


def _arguments(amount: Amount) -> tuple[Any, ...]:
    return (
        amount.since,
        (amount.until - amount.since).total_seconds() / amount.rows,
        amount.users,
        amount.models,
        amount.upstreams,
        amount.organisations,
    )
