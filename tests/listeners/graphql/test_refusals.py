"""What is refused says where, in the contract's own words, and under the request's id."""

import json
import re

from citadel_edge.config.shape import ListenerName

GRAPH = ListenerName.GRAPHQL
SENT = {"X-Request-Id": "req-of-mine", "Content-Type": "application/json"}


async def refused(served, body):
    """The one error of an answer."""
    async with served.client.post(
        served.url("/graphql", GRAPH), data=body, headers={**served.as_admin(), **SENT}
    ) as answer:
        (error,) = (await answer.json(content_type=None))["errors"]
        assert error["extensions"]["request_id"] == "req-of-mine", error
        return error


async def asked(served, query, **variables):
    return await refused(served, json.dumps({"query": query, "variables": variables}))


WRONG_LITERALS = (
    'mutation { createTier(input: {name: "t2", requestsPerMinute: -1}) { tier { id } } }',
    'mutation { createTier(input: {name: "t2", usdPerMonth: 1e400}) { tier { id } } }',
    '{ usage(range: {from: "2026-02-30T00:00:00Z"}) { totals { requests } } }',
)
WRONG_ARGUMENTS = (
    ('{ users(after: "bm9uZQ") { nodes { id } } }', "after", "endCursor"),
    ('{ usage(timeZone: "Mars/X") { totals { requests } } }', "timeZone", "Europe/Berlin"),
    ('{ usage(range: {from: "0001-01-01T00:00:00Z"}) { totals { requests } } }', "from", "year 1970"),
)


async def test_refusals_say_where_and_under_which_id(edge_with):
    async with edge_with(options=()) as served:
        for query in WRONG_LITERALS:
            error = await asked(served, query)
            assert len(error["locations"]) == 1, query
        for query, param, word in WRONG_ARGUMENTS:
            error = await asked(served, query)
            assert (error["extensions"]["param"], word in error["message"]) == (param, True), error
        dear = await asked(served, "query($n: Int) { models(first: $n) { nodes { name } } }", n=2**31 - 1)
        assert re.search(r"costs \d{7}, more than the \d+ that", dear["message"])
        half = await refused(served, rb'{"query": "{ viewer { name } }", "variables": {"x": "\ud800"}}')
        assert "lone surrogate" in half["message"]
        for body in (b"{", b'{"query": "{"}', b'{"query": "{ nope }"}', b'{"query": "{ a }", "operationName": "B"}'):
            await refused(served, body)
        await asked(served, "query($n: Int!) { models(first: $n) { nodes { name } } }")
