"""How good a model is at a task, by the operator's word and by what users thought of its answers.

A Bayesian mean: the configured skill counts as 20 opinions, every score from 0 to 1 as one, shared among the tasks of
its request. Old opinions fade: each new one of a model's task makes those before it count 1/200 less, so that at most
200 are ever remembered and a model that was exchanged behind its name is judged anew. Needs no clock.

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
MOST_MODELS: Final = 1024


class LearnedSkills:
    """What was learned. `skill` is what `Catalogue.select` asks."""

    def __init__(self) -> None:
        self._learned: dict[tuple[str, str], tuple[float, float]] = {}

    def observe(self, model: str, *, tasks: Mapping[str, float], score: float, replaces: float | None = None) -> None:
        """An answer of the model, to a request of these tasks, was found so good.

        Args:
            model: its own name.
            tasks: shares by task; unknown tasks teach nothing, and without any the request was chat.
            score: 0 to 1; anything else teaches nothing.
            replaces: what the same person said of the same answer before.
        """
        if not 0.0 <= score <= 1.0:
            return
        shares = {task: tasks[task] for task in TASKS if 0.0 < tasks.get(task, 0.0) <= 1.0}
        for task, share in (shares or {TASKS[0]: 1.0}).items():
            self._add(model, task, score, share, replaces)

    def skill(self, model: Model, task: str) -> float:
        """0 to 1."""
        configured = configured_skill(model, task)
        learned = self._learned.get((model.name, task))
        if learned is None:
            return configured
        weight, total = learned
        return (PRIOR_OPINIONS * configured + total) / (PRIOR_OPINIONS + weight)

    def opinions(self, model: str, task: str) -> float:
        """How many opinions count at present."""
        return self._learned.get((model, task), (0.0, 0.0))[0]

    def _add(self, model: str, task: str, score: float, share: float, replaces: float | None) -> None:
        weight, total = self._learned.pop((model, task), (0.0, 0.0))
        if replaces is not None and weight >= share:
            total = min(weight, max(0.0, total + share * (score - replaces)))
        else:
            fading = 1.0 - share / MEMORY
            weight, total = weight * fading + share, total * fading + share * score
        self._learned[model, task] = weight, total
        if len(self._learned) > MOST_MODELS * len(TASKS):
            del self._learned[next(iter(self._learned))]
