"""The one of a model's replicas that takes a request.

Decides in three steps: who may be asked (`candidates`), what each would cost (`strategies`), and the cheapest. All are
looked at while they are few and one router sees them all; two drawn by chance and whoever holds the prompt or the
session otherwise, for many eyes on one minimum make a crowd (Mitzenmacher, 2001). They are drawn by their weights: a
heavy one among many light ones would hardly be seen else. Who is asked in turn is asked in turn, however many look.
Refuses to take the replica: whoever
asks does so in the same turn of the loop, as `fleet.table` demands.
"""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Final

from msgspec import Struct

from citadel_edge.config.shape import StrategyName
from citadel_edge.fleet.table import Deployment
from citadel_edge.routing.affinity import PrefixIndex, Sessions
from citadel_edge.routing.ask import Ask
from citadel_edge.routing.candidates import (
    NO_WAITING,
    PARTS,
    TRIED,
    Candidate,
    Excluded,
    Exclusion,
    Waiting,
    obstacle,
    past_breakers,
    roomy,
    tight,
    waiting,
)
from citadel_edge.routing.lots import Lots, Rng
from citadel_edge.routing.scores import Look, new_tokens
from citadel_edge.routing.strategies import KNOWS_PREFIXES, KNOWS_SESSIONS, PART_NAMES, SCORES, Turns

MOST_SCANNED: Final = 100
MOST_SHOWN: Final = 32
"""Where two are drawn, all are looked at and shown up to so many."""
_DRAWS: Final = 8


class Choice(Struct, frozen=True, kw_only=True):
    """The replica, if any was left, and all that were looked at.

    Attributes:
        panic: so few are admitted by their breakers that breakers are passed: tell `Table.take` so.
        new_tokens: the prompt's tokens that have to be prefilled there; what `Table.take` is told as `tokens_in`.
        predicted_ttft_s, predicted_total_s: None while nothing is known of it or its like.
        waiting: without a deployment, whether one may come.
    """

    deployment: Deployment | None
    candidates: tuple[Candidate, ...]
    strategy: StrategyName
    panic: bool = False
    new_tokens: int = 0
    predicted_ttft_s: float | None = None
    predicted_total_s: float | None = None
    waiting: Waiting = NO_WAITING

    @property
    def too_long(self) -> bool:
        """Whether the prompt is too long for every replica, and nothing else stands in its way."""
        codes = {one.excluded.code if one.excluded is not None else None for one in self.candidates}
        return codes == {Exclusion.CONTEXT}

    def expected_s(self, *, stream: bool) -> float:
        """Seconds to the first byte that shows life, for `Table.take`; infinite while nothing is known."""
        seconds = self.predicted_ttft_s if stream else self.predicted_total_s
        return inf if seconds is None else seconds


class _Seen(Struct):
    """Who was looked at, and who of them is out. `panic`: breakers were passed. `owner`: the session's."""

    places: Sequence[Deployment]
    out: list[Excluded | None]
    panic: bool = False
    owner: str | None = None

    def free(self) -> list[Deployment]:
        return [place for place, excluded in zip(self.places, self.out, strict=True) if excluded is None]


class Chooser:
    """One a process. `index` holds what replicas have in their caches."""

    def __init__(self, *, rng: Rng, index: PrefixIndex | None = None) -> None:
        self._lots = Lots(rng)
        self._turns = Turns()
        self._sessions = Sessions()
        self.index = PrefixIndex() if index is None else index

    def learned(self, deployment: Deployment, ask: Ask) -> None:
        """The replica took the prompt in: to be called with its first token, or its whole answer."""
        self.index.put(deployment.row, ask.prefix)

    def choose(
        self,
        deployments: Sequence[Deployment],
        ask: Ask,
        *,
        strategy: StrategyName,
        now: float,
        tried: Mapping[str, bool],
        instances: int = 1,
        explain: bool = False,
    ) -> Choice:
        """The replica with the smallest score; among equals the one that waited longest.

        Args:
            deployments: where the model is served.
            ask: what the request needs.
            strategy: how they are compared.
            now: monotonic seconds.
            tried: replicas that failed this very request, and whether they may be asked again when no other is left.
            instances: how many processes share the fleet.
            explain: look at all of them and compare all, however many, and take nobody's turn.
        """
        crowd = len(deployments) > MOST_SCANNED or instances > 1 or strategy is StrategyName.PEAK_EWMA
        pair = crowd and not explain and strategy is not StrategyName.ROUND_ROBIN
        seen = None
        if pair and len(deployments) > MOST_SHOWN:
            seen = self._draw(deployments, ask, strategy, now, tried)
        drawn = seen is not None
        if seen is None:
            seen = _survey(deployments, ask, now, tried)
        free = seen.free()
        if not free:
            return _nobody(seen, strategy)
        look = Look(ask, now=now, index=self.index, peers=seen.places)
        if drawn:
            look.owner = seen.owner
        elif ask.session is not None and strategy in KNOWS_SESSIONS:
            look.owner = free[self._sessions.owner(ask.session, free)].row.id
        compared = self._pair(free, ask, strategy, look) if pair and not drawn else free
        return self._best(seen, compared, look, strategy, peek=explain)

    def _best(
        self, seen: _Seen, compared: Sequence[Deployment], look: Look, strategy: StrategyName, *, peek: bool
    ) -> Choice:
        """Score those that are compared, and write down what was seen of all."""
        ask, score_of, names = look.ask, SCORES[strategy], PART_NAMES.get(strategy, PARTS)
        forced = self._forced(compared, look, strategy, peek=peek)
        looked_at = None if len(compared) == len(seen.places) else set(map(id, compared))
        best, least, turn, candidates = None, inf, 0, []
        for place, excluded in zip(seen.places, seen.out, strict=True):
            row = place.row
            if excluded is not None or (looked_at is not None and id(place) not in looked_at):
                candidates.append(Candidate(row.id, place.model, place.share, row.in_flight, excluded))
                continue
            score, numbers = score_of(place, look)
            candidates.append(Candidate(row.id, place.model, place.share, row.in_flight, None, score, numbers, names))
            if forced is None and (best is None or score < least or (score == least and row.turn < turn)):
                best, least, turn = place, score, row.turn
        chosen = best if forced is None else forced
        if chosen is None:
            return _nobody(seen, strategy)
        tokens = new_tokens(chosen.row, look)
        ttft_s, total_s = _predict(chosen, tokens, ask, seen.places)
        return Choice(
            deployment=chosen,
            candidates=tuple(candidates),
            strategy=strategy,
            panic=seen.panic,
            new_tokens=tokens,
            predicted_ttft_s=ttft_s,
            predicted_total_s=total_s if ask.tokens_out else ttft_s,
        )

    def _forced(
        self, free: Sequence[Deployment], look: Look, strategy: StrategyName, *, peek: bool
    ) -> Deployment | None:
        """Whom a strategy takes whatever the scores."""
        if strategy is StrategyName.ROUND_ROBIN:
            return self._turns.peek(free) if peek else self._turns.take(free)
        if strategy is StrategyName.SESSION and look.owner is not None:
            return next((one for one in free if one.row.id == look.owner), None)
        return None

    def _draw(
        self, deployments: Sequence[Deployment], ask: Ask, strategy: StrategyName, now: float, tried: Mapping[str, bool]
    ) -> _Seen | None:
        """Two by chance that may be asked, and whoever has an affinity.

        None when a session's replica is out, or a breaker, a tight context or bad luck asks for a look at all.
        """
        places = self._holders(deployments, ask) if ask.prefix and strategy in KNOWS_PREFIXES else {}
        owner = None
        if ask.session is not None and strategy in KNOWS_SESSIONS:
            at = self._sessions.owner(ask.session, deployments)
            places[at] = deployments[at]
            owner = deployments[at].row.id
        out = {at: _out(place, ask, now, tried) for at, place in places.items()}
        if owner is not None and out[at] is not None:
            return None
        wanted = len(places) + 2
        for _ in range(_DRAWS):
            at = self._lots.one(deployments)
            if at in places:
                continue
            places[at] = deployments[at]
            out[at] = excluded = _out(deployments[at], ask, now, tried)
            if excluded is not None:
                if excluded.code is Exclusion.BREAKER:
                    return None
                wanted += 1
            if len(places) == wanted:
                if any(tight(place, ask.context_tokens) for place in places.values()):
                    return None
                return _Seen(tuple(places.values()), list(out.values()), owner=owner)
        return None

    def _pair(self, free: Sequence[Deployment], ask: Ask, strategy: StrategyName, look: Look) -> Sequence[Deployment]:
        """Two by chance, and whoever has an affinity."""
        if len(free) <= 2:  # noqa: PLR2004 - two
            return free
        drawn = {at: free[at] for at in self._lots.two(free)}
        if ask.prefix and strategy in KNOWS_PREFIXES:
            drawn |= self._holders(free, ask)
        if look.owner is not None:
            drawn |= {at: place for at, place in enumerate(free) if place.row.id == look.owner}
        return tuple(drawn.values())

    def _holders(self, free: Sequence[Deployment], ask: Ask) -> dict[int, Deployment]:
        """The one that probably holds most of the prompt."""
        most, found = 0, {}
        for at, place in enumerate(free):
            matched = self.index.matched(place.row, ask.prefix)
            if matched > most:
                most, found = matched, {at: place}
        return found


def _out(place: Deployment, ask: Ask, now: float, tried: Mapping[str, bool]) -> Excluded | None:
    excluded = obstacle(place, now, context_tokens=ask.context_tokens)
    if excluded is None and (place.row.id in tried or place.row.id == ask.hedge_of):
        return TRIED
    return excluded


def _survey(deployments: Sequence[Deployment], ask: Ask, now: float, tried: Mapping[str, bool]) -> _Seen:
    """All of them. Without another left, one that failed this request may be asked again where that makes sense."""
    tokens = ask.context_tokens
    out = [obstacle(place, now, context_tokens=tokens) for place in deployments]
    panic = False
    if any(excluded is not None and excluded.code is Exclusion.BREAKER for excluded in out):
        passed = past_breakers(deployments, out, now, context_tokens=tokens)
        if passed is not None:
            out, panic = passed, True
    if tried or ask.hedge_of is not None:
        open_ = out
        out = [
            TRIED if excluded is None and (place.row.id in tried or place.row.id == ask.hedge_of) else excluded
            for place, excluded in zip(deployments, open_, strict=True)
        ]
        if None not in out and any(tried.values()):
            again = [tried.get(place.row.id, False) for place in deployments]
            out = [None if may and was is None else now_ for may, was, now_ in zip(again, open_, out, strict=True)]
    return _Seen(deployments, roomy(deployments, out, context_tokens=tokens) if tokens else out, panic)


def _nobody(seen: _Seen, strategy: StrategyName) -> Choice:
    candidates = tuple(
        Candidate(place.row.id, place.model, place.share, place.row.in_flight, excluded)
        for place, excluded in zip(seen.places, seen.out, strict=True)
    )
    return Choice(deployment=None, candidates=candidates, strategy=strategy, waiting=waiting(seen.out))


def _predict(
    place: Deployment, tokens: int, ask: Ask, peers: Sequence[Deployment]
) -> tuple[float | None, float | None]:
    """Seconds to the first token and to the last; of a replica not known yet what its like would take in its place."""
    row = place.row
    known = [row.signals] if row.signals.known else [one.row.signals for one in peers if one.row.signals.known]
    if not known:
        return None, None
    ahead, load = tokens + row.prefilling_tokens, row.in_flight + 1.0
    splits = [one.split_s(ahead, ask.tokens_out, load) for one in known]
    prefill = sum(first for first, _ in splits) / len(splits)
    return prefill, prefill + sum(rest for _, rest in splits) / len(splits)
