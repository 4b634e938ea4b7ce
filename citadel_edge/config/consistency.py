"""What must agree across fields: names that are given once, names that are referred to, files that exist. Pure.

Decides which combinations are mistakes. Refuses to know types (`shape`), files (they are asked through `is_file`) and
what is merely odd (`oddities`).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from citadel_edge.config.outline import Door, ModelOutline, Named, Outline
from citadel_edge.config.paths import Steps
from citadel_edge.config.schema import suggestion

Mistake = tuple[Steps, str]
_ANY_HOST = ("0.0.0.0", "::", "::0")  # noqa: S104 - compared with, not bound
_RESERVED = "auto"


def check(outline: Outline, *, is_file: Callable[[Named], bool]) -> list[Mistake]:
    """Every mistake across fields: where, and the sentence."""
    return [
        *_ports(outline.doors),
        *_files(outline.doors, is_file),
        *_twice(outline.upstreams, "upstream", "id"),
        *_halves(outline),
        *_model_names(outline.models),
        *_deployments(outline),
        *_fallbacks(outline.models),
        *_twice(outline.tiers, "tier", "name"),
    ]


def _ports(doors: Iterable[Door]) -> Iterator[Mistake]:
    seen: list[Door] = []
    for door in doors:
        taken = next((other for other in seen if other.port == door.port and _meet(other.host, door.host)), None)
        if door.port and taken:
            yield (*door.steps, "port"), f"{door.port} is also the port of {taken.name}; give each listener its own"
        seen.append(door)


def _meet(one: str, other: str) -> bool:
    return one == other or one in _ANY_HOST or other in _ANY_HOST


def _files(doors: Iterable[Door], is_file: Callable[[Named], bool]) -> Iterator[Mistake]:
    for file in (file for door in doors for file in door.files):
        if not is_file(file):
            yield file.steps, f"no readable file {file.name!r}; give the path of a PEM file"


def _twice(names: Iterable[Named], what: str, key: str) -> Iterator[Mistake]:
    seen: set[str] = set()
    for named in names:
        if named.name in seen:
            yield named.steps, f"'{named.name}' stands twice; give each {what} its own {key}"
        seen.add(named.name)


def _halves(outline: Outline) -> Iterator[Mistake]:
    if outline.has_upstreams and not outline.has_models:
        yield ("models",), "upstreams are given but no models; add models with deployments on them, or remove upstreams"
    if outline.has_models and not outline.has_upstreams:
        yield (
            ("upstreams",),
            "models are given but no upstreams; add those they are deployed on, or remove models",
        )


def _model_names(models: tuple[ModelOutline, ...]) -> Iterator[Mistake]:
    names = [Named((*model.steps, "name"), model.name) for model in models if model.name]
    yield from _twice(names, "model", "name")
    owners: dict[str, str] = {named.name: f"the name of model '{named.name}'" for named in names}
    for model in models:
        for alias in model.aliases:
            if alias.name in owners:
                yield alias.steps, f"'{alias.name}' is already {owners[alias.name]}; give each alias once"
            owners.setdefault(alias.name, f"an alias of model '{model.name or '?'}'")
    for named in [*names, *(alias for model in models for alias in model.aliases)]:
        if named.name == _RESERVED or named.name.startswith(f"{_RESERVED}:"):
            yield named.steps, f"'{named.name}' is reserved for choosing a model automatically; take another name"


def _deployments(outline: Outline) -> Iterator[Mistake]:
    known = tuple(upstream.name for upstream in outline.upstreams)
    for deployment in (deployment for model in outline.models for deployment in model.deployments):
        if known and deployment.name not in known:
            yield deployment.steps, f"no upstream '{deployment.name}'; {suggestion(deployment.name, known)}"


def _fallbacks(models: tuple[ModelOutline, ...]) -> Iterator[Mistake]:
    known = tuple(model.name for model in models if model.name)
    aliases: dict[str, list[str | None]] = defaultdict(list)
    for model in models:
        for alias in model.aliases:
            aliases[alias.name].append(model.name)
    for model in models:
        for fallback in model.fallbacks:
            if fallback.name == model.name:
                yield fallback.steps, f"'{fallback.name}' falls back to itself; name another model"
            elif fallback.name in aliases and fallback.name not in known:
                yield fallback.steps, f"'{fallback.name}' is an alias; name its model, '{aliases[fallback.name][0]}'"
            elif fallback.name not in known:
                others = tuple(name for name in known if name != model.name)
                yield fallback.steps, f"no model '{fallback.name}'; {suggestion(fallback.name, others)}"
