"""How good a model is at a task, by the operator's word and by what users thought of its answers.

A Bayesian mean: the configured skill counts as 20 opinions, every score from 0 to 1 as one, shared among the tasks of
its request. Old opinions fade: each new one of a model's task makes those before it count 1/200 less, so that at most
200 are ever remembered and a model that was exchanged behind its name is judged anew. One user's count at most as 10:
past that a user's new opinions take the place of the same user's old ones and push out nobody else's, so that no one
steers the choice for everybody. Needs no clock.

Decides what is learned from a score. Refuses to know who gave it and where it is kept: whoever does, tells it again at
the start, oldest first.
"""

from collections.abc import Mapping
from typing import Final

from citadel_edge.routing.cost import Model
from citadel_edge.routing.selection import configured_skill
from citadel_edge.routing.vocabulary import TASKS

PRIOR_OPINIONS: Final = 20.0
MEMORY: Final = 200.0
MOST_OF_ONE: Final = 10.0
MOST_MODELS: Final = 1024
MOST_USERS: Final = 256
_LARGEST_SCALE: Final = 1e9


class LearnedSkills:
    """What was learned. `skill` is what `Catalogue.select` asks."""

    def __init__(self) -> None:
        self._learned: dict[tuple[str, str], _Opinions] = {}

    def observe(
        self, model: str, *, user: str, tasks: Mapping[str, float], score: float, replaces: float | None = None
    ) -> None:
        """An answer of the model, to a request of these tasks, was found so good.

        Args:
            model: its own name.
            user: whose opinion it is.
            tasks: shares by task; unknown tasks teach nothing, and without any the request was chat.
            score: 0 to 1; anything else teaches nothing.
            replaces: what the same person said of the same answer before.
        """
        if not 0.0 <= score <= 1.0:
            return
        shares = {task: tasks[task] for task in TASKS if 0.0 < tasks.get(task, 0.0) <= 1.0}
        for task, share in (shares or {TASKS[0]: 1.0}).items():
            self._add((model, task), user, score, share, replaces)

    def skill(self, model: Model, task: str) -> float:
        """0 to 1."""
        configured = configured_skill(model, task)
        learned = self._learned.get((model.name, task))
        if learned is None:
            return configured
        return (PRIOR_OPINIONS * configured + learned.total) / (PRIOR_OPINIONS + learned.weight)

    def opinions(self, model: str, task: str) -> float:
        """How many opinions count at present."""
        learned = self._learned.get((model, task))
        return 0.0 if learned is None else learned.weight

    def _add(self, where: tuple[str, str], user: str, score: float, share: float, replaces: float | None) -> None:
        opinions = self._learned.pop(where, None) or _Opinions()
        if replaces is None or not opinions.change(user, share=share, by=score - replaces):
            opinions.add(user, share=share, score=score)
        self._learned[where] = opinions
        if len(self._learned) > MOST_MODELS * len(TASKS):
            del self._learned[next(iter(self._learned))]


class _Opinions:
    """What is thought of a model at one task.

    Attributes:
        weight: how many opinions count.
        total: their scores' sum, each by its weight.
    """

    __slots__ = ("_scale", "_users", "total", "weight")

    def __init__(self) -> None:
        self.weight = self.total = 0.0
        self._scale = 1.0  # all fade at once: what is kept of a user is divided by it
        self._users: dict[str, tuple[float, float]] = {}  # weight and total, who spoke last is last

    def add(self, user: str, *, share: float, score: float) -> None:
        """One more opinion, that counts as `share`."""
        weight, total = self._of(user)
        room = MOST_OF_ONE - share
        kept = 1.0 if weight <= room else room / weight
        fading = 1.0 - (weight * kept + share - weight) / MEMORY
        own_weight, own_total = weight * kept * fading + share, total * kept * fading + share * score
        self.weight = (self.weight - weight) * fading + own_weight
        self.total = (self.total - total) * fading + own_total
        self._scale /= fading
        self._keep(user, own_weight, own_total)

    def change(self, user: str, *, share: float, by: float) -> bool:
        """Somebody thinks better or worse of what was judged before; False when that is forgotten."""
        weight, total = self._of(user)
        if weight < share:
            return False
        changed = min(weight, max(0.0, total + share * by))
        self.total = max(0.0, self.total + changed - total)
        self._keep(user, weight, changed)
        return True

    def _of(self, user: str) -> tuple[float, float]:
        weight, total = self._users.get(user, (0.0, 0.0))
        return weight / self._scale, total / self._scale

    def _keep(self, user: str, weight: float, total: float) -> None:
        self._users.pop(user, None)
        self._users[user] = weight * self._scale, total * self._scale
        if len(self._users) > MOST_USERS:
            del self._users[next(iter(self._users))]  # what that one said fades with the rest
        if self._scale > _LARGEST_SCALE:
            self._users = {name: (w / self._scale, t / self._scale) for name, (w, t) in self._users.items()}
            self._scale = 1.0
