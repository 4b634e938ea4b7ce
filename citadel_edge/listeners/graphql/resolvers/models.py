"""Models, as clients name them, and where they are served."""

from collections.abc import Iterator, Mapping
from typing import Any

from citadel_edge.config.shape import ModelConfig
from citadel_edge.fleet.table import Deployment
from citadel_edge.listeners.graphql.binding import Type
from citadel_edge.listeners.graphql.context import Context
from citadel_edge.listeners.graphql.resolvers.connections import Connection, of_memory, wanted_page
from citadel_edge.listeners.graphql.resolvers.ids import global_id
from citadel_edge.listeners.graphql.resolvers.told import Info
from citadel_edge.routing.outlook import may_use_model


def models(_: None, info: Info, *, first: int | None, after: str | None = None) -> Connection:
    """What the caller may use, by name."""
    return of_memory(usable(info.context), wanted_page("Model", first, after), key=lambda model: model.name)


def model(_: None, info: Info, name: str) -> ModelConfig | None:
    """One of them, by name or alias."""
    return next((one for one in usable(info.context) if name == one.name or name in one.aliases), None)


def usable(context: Context) -> Iterator[ModelConfig]:
    """A tier that lists a model by its name or an alias may use it."""
    may_use = context.principal.may_use
    return (one.config for one in context.edge.pipeline.catalogue if may_use_model(one, may_use))


def skills(shares: Mapping[str, float]) -> list[dict[str, Any]]:
    """Numbers by task, as a list."""
    return [{"task": task, "score": score} for task, score in shares.items()]


def _available(source: ModelConfig, info: Info) -> bool:
    edge = info.context.edge
    now = edge.clock.monotonic_s()
    places = edge.fleet.table.deployments(source.name)
    return any(place.admits(now) and place.row.usable(now) for place in places)


def _deployments(source: ModelConfig, info: Info) -> tuple[Deployment, ...]:
    return info.context.edge.fleet.table.deployments(source.name)


TYPES = {
    "Model": Type(
        ModelConfig,
        {
            "id": lambda source, _: global_id("Model", source.name),
            "skills": lambda source, _: skills(source.skills),
            "inputUsdPerMtok": "price.input_per_mtok_usd",
            "outputUsdPerMtok": "price.output_per_mtok_usd",
            "available": _available,
            "deployments": _deployments,
        },
    ),
    "Deployment": Type(Deployment, {"model": "name", "upstream": "row", "engineModel": "model", "weight": "share"}),
    "Skill": Type(Mapping),
}
