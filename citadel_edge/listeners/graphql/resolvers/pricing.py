"""What a chat's tokens count in its operation's budget: asked for before it begins, settled to what it took.

Decides that the prompt counts as estimated and the answer at its longest, by the same figures as `estimate` shows, and
what to lower when that is more than the query itself left. Refuses to know what limits and prices say: those are asked
besides.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

from citadel_edge.completions.call import Call, Report
from citadel_edge.errors import CitadelError, Code, RequestError
from citadel_edge.graph.context import Claim, Tokens, plain
from citadel_edge.listeners.graphql.context import Context
from citadel_edge.routing.decision import Decision
from citadel_edge.streams.values import Terminal


class Most(Struct, frozen=True):
    """What a call may take at most, as far as can be told: tokens in and out."""

    tokens_in: int
    tokens_out: int

    def units(self, context: Context) -> float:
        """In the operation's budget."""
        return (self.tokens_in + self.tokens_out) * rate(context)


def rate(context: Context) -> float:
    """What one token counts."""
    return context.edge.config.value.graphql.cost_per_token


def most_of(context: Context, call: Call, explained: Decision) -> Most:
    """Of a call where it would go."""
    tokens_out = context.edge.pipeline.asking.most_tokens_out(call.request, explained.model)
    return Most(0 if explained.estimate is None else explained.estimate.tokens_in, tokens_out)


@contextmanager
def claimed(context: Context, call: Call) -> Iterator[Claim]:
    """Hold what the chat may take while it is begun; it is given back when that fails.

    Raises:
        RequestError: REQUEST_TOO_LARGE: it does not fit, and the message says what to lower.
    """
    claim = context.spent.claim(_affordable(context, call))
    try:
        yield claim
    except CitadelError:
        claim.release()
        raise


def settle(context: Context, claim: Claim, terminal: Terminal) -> None:
    """The chat is over, and took what its last record says."""
    usage = terminal.usage or {}
    _settle(context, claim, Tokens(usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0), terminal.cost_usd))


def settle_here(context: Context, claim: Claim, report: Report | None) -> None:
    """Another process goes on with the chat; here it took what was made of it. Unknown, it counts as it was asked for.

    Nothing is charged for that here: the one row of the ledger is written where the chat ends.
    """
    if report is not None:
        _settle(context, claim, Tokens(report.tokens_in, report.tokens_out, float(report.cost_usd)))


def _settle(context: Context, claim: Claim, tokens: Tokens) -> None:
    claim.settle((tokens.tokens_in + tokens.tokens_out) * rate(context), tokens)


def _affordable(context: Context, call: Call) -> float:
    """What to claim. What can go nowhere claims nothing: it is refused, and recorded, where it would have begun."""
    try:
        explained = context.edge.pipeline.explain(call)
    except RequestError:
        return 0.0
    most = most_of(context, call, explained)
    units, left = most.units(context), context.spent.left
    if units > left:
        raise _too_dear(context, call, most, left)
    return units


def _too_dear(context: Context, call: Call, most: Most, left: float) -> RequestError:
    units, limit = most.units(context), context.spent.limit or 0.0
    fitting = int(left / rate(context)) - most.tokens_in
    if fitting < 1:
        param, remedy = "messages", "shorten the messages, or ask for less in one operation"
    elif call.request.max_tokens is None:
        param, remedy = "max_tokens", f"give maxTokens, at most {fitting}"
    else:
        param, remedy = "max_tokens", f"lower maxTokens to at most {fitting}, or ask for less in one operation"
    message = (
        f"the chat's tokens, {most.tokens_in} in and at most {most.tokens_out} out, cost {plain(units)},"
        f" more than the {plain(left)} that is left of the {plain(limit)} that one operation may cost; {remedy}"
    )
    return RequestError(Code.REQUEST_TOO_LARGE, message, param=param)
