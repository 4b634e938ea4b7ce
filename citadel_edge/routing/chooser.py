"""The one of a model's replicas that takes a request.

Decides in three steps: who may be asked (`candidates`), what each would cost (`strategies`), and the cheapest. All are
looked at while they are few and one router sees them all; two drawn by chance and whoever holds the prompt or the
session otherwise, for many eyes on one minimum make a crowd (Mitzenmacher, 2001). They are drawn by their weights: a
heavy one among many light ones would hardly be seen else. Who is asked in turn is asked in turn, however many look.
Refuses to take the replica: whoever asks does so in the same turn of the loop, as `fleet.table` demands.
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
    TRIED,
    Candidate,
    Excluded,
    Exclusion,
    Waiting,
    narrow,
    obstacle,
    obstacles,
    past_breakers,
    roomy,
    waiting,
)
from citadel_edge.routing.lots import Lots, Rng
from citadel_edge.routing.scores import Look, mean_s, new_tokens
from citadel_edge.routing.strategies import WAYS, Turns, Way

MOST_SCANNED: Final = 100
MOST_SHOWN: Final = 32
"""Where two are drawn, all are looked at and shown up to so many."""
_DRAWS: Final = 8
_PEAK_EWMA: Final = StrategyName.PEAK_EWMA
_ROUND_ROBIN: Final = StrategyName.ROUND_ROBIN
_SESSION: Final = StrategyName.SESSION


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

    def free(self) -> Sequence[Deployment]:
        if self.out.count(None) == len(self.out):
            return self.places
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
        way = WAYS[strategy]
        crowd = len(deployments) > MOST_SCANNED or instances > 1 or strategy is _PEAK_EWMA
        pair = crowd and not explain and strategy is not _ROUND_ROBIN
        drawn = self._draw(deployments, ask, way, now, tried) if pair and len(deployments) > MOST_SHOWN else None
        seen = _survey(deployments, ask, now, tried) if drawn is None else drawn
        free, owner = seen.free(), seen.owner
        if not free:
            return _nobody(seen, way)
        if drawn is None and ask.session is not None and way.sessions:
            owner = free[self._sessions.owner(ask.session, free)].row.id
        compared = self._pair(free, ask, way, owner) if pair and drawn is None else free
        held = self.index.holders(compared, ask.prefix) if way.prefixes else {}
        look = Look(ask, now=now, held=held, peers=seen.places, owner=owner)
        return self._best(seen, compared, look, way, peek=explain)

    def _best(self, seen: _Seen, compared: Sequence[Deployment], look: Look, way: Way, *, peek: bool) -> Choice:
        """Score those that are compared, and write down what was seen of all."""
        ask, score_of, names = look.ask, way.score, way.parts
        forced = self._forced(compared, look, way, peek=peek)
        looked_at = None if len(compared) == len(seen.places) else set(map(id, compared))
        best, least, turn, candidates = None, inf, 0, []
        for place, excluded in zip(seen.places, seen.out, strict=True):
            row, share = place.row, place.share
            if excluded is not None or (looked_at is not None and id(place) not in looked_at):
                candidates.append(Candidate(row.id, place.model, share, row.in_flight, excluded))
                continue
            score, numbers = score_of(place, share, look)
            candidates.append(Candidate(row.id, place.model, share, row.in_flight, None, score, numbers, names))
            if forced is None and (best is None or score < least or (score == least and row.turn < turn)):
                best, least, turn = place, score, row.turn
        chosen = best if forced is None else forced
        if chosen is None:
            return _nobody(seen, way)
        tokens = new_tokens(ask, self.index.matched(chosen.row, ask.prefix))
        ttft_s, total_s = _predict(chosen, tokens, ask, seen.places)
        return Choice(
            deployment=chosen,
            candidates=tuple(candidates),
            strategy=way.name,
            panic=seen.panic,
            new_tokens=tokens,
            predicted_ttft_s=ttft_s,
            predicted_total_s=total_s if ask.tokens_out else ttft_s,
        )

    def _forced(self, free: Sequence[Deployment], look: Look, way: Way, *, peek: bool) -> Deployment | None:
        """Whom a strategy takes whatever the scores."""
        if way.name is _ROUND_ROBIN:
            return self._turns.peek(free) if peek else self._turns.take(free)
        if way.name is _SESSION and look.owner is not None:
            return next((one for one in free if one.row.id == look.owner), None)
        return None

    def _draw(
        self, deployments: Sequence[Deployment], ask: Ask, way: Way, now: float, tried: Mapping[str, bool]
    ) -> _Seen | None:
        """Two by chance that may be asked, and whoever has an affinity.

        None when a session's replica is out, or a breaker, a tight context or bad luck asks for a look at all.
        """
        places = self._holder(deployments, ask) if way.prefixes else {}
        owner = None
        if ask.session is not None and way.sessions:
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
                if True in narrow(places.values(), ask.context_tokens):
                    return None
                return _Seen(tuple(places.values()), list(out.values()), owner=owner)
        return None

    def _pair(self, free: Sequence[Deployment], ask: Ask, way: Way, owner: str | None) -> Sequence[Deployment]:
        """Two by chance, and whoever has an affinity."""
        if len(free) <= 2:  # noqa: PLR2004 - two
            return free
        drawn = {at: free[at] for at in self._lots.two(free)}
        if way.prefixes:
            drawn |= self._holder(free, ask)
        if owner is not None:
            drawn |= {at: place for at, place in enumerate(free) if place.row.id == owner}
        return tuple(drawn.values())

    def _holder(self, free: Sequence[Deployment], ask: Ask) -> dict[int, Deployment]:
        """The one that probably holds most of the prompt, if any does, by its position."""
        held = self.index.holders(free, ask.prefix)
        if not held:
            return {}
        most = max(held, key=held.__getitem__)
        return next({at: place} for at, place in enumerate(free) if place.row.id == most)


def _out(place: Deployment, ask: Ask, now: float, tried: Mapping[str, bool]) -> Excluded | None:
    excluded = obstacle(place, now, context_tokens=ask.context_tokens)
    if excluded is None and (place.row.id in tried or place.row.id == ask.hedge_of):
        return TRIED
    return excluded


def _survey(deployments: Sequence[Deployment], ask: Ask, now: float, tried: Mapping[str, bool]) -> _Seen:
    """All of them. Without another left, one that failed this request may be asked again where that makes sense."""
    tokens = ask.context_tokens
    out = obstacles(deployments, now, context_tokens=tokens)
    panic = False
    if out.count(None) < len(out):
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


def _nobody(seen: _Seen, way: Way) -> Choice:
    candidates = tuple(
        Candidate(place.row.id, place.model, place.share, place.row.in_flight, excluded)
        for place, excluded in zip(seen.places, seen.out, strict=True)
    )
    return Choice(deployment=None, candidates=candidates, strategy=way.name, waiting=waiting(seen.out))


def _predict(
    place: Deployment, tokens: int, ask: Ask, peers: Sequence[Deployment]
) -> tuple[float | None, float | None]:
    """Seconds to the first token and to the last; of a replica not known yet what its like would take in its place."""
    row = place.row
    ahead, load = tokens + row.prefilling_tokens, row.in_flight + 1.0
    expected = row.signals.expected(ahead, ask.tokens_out, load)
    typical = mean_s(peers, ahead, ask.tokens_out, load) if expected is None else expected[:2]
    if typical is None:
        return None, None
    prefill, decode = typical
    return prefill, prefill + decode
