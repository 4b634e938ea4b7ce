"""Settings from outside the files: the customer's variable names, and `--set path=value`. Pure.

Decides which variable stands for which setting. An empty variable is an unset one. Refuses to know what the settings
mean: the values stay text, and their fields decide what to make of it.
"""

from collections.abc import Mapping
from typing import Any

from citadel_edge.config.documents import ITEM_KEYS, Document, Origin, Source
from citadel_edge.config.paths import Steps, read
from citadel_edge.config.references import FromText
from citadel_edge.config.yaml_text import parse
from citadel_edge.errors import Problem

VARIABLES: Mapping[str, Steps] = {
    "CITADEL_ENV": ("environment",),
    "SERVER_IP": ("server_ip",),
    "SERVER_HOSTNAME": ("server_hostname",),
    "GRAPHQL_API_PORT": ("listeners", "graphql-api", "port"),
    "STREAMING_API_PORT": ("listeners", "streaming-api", "port"),
    "ROUTING_API_PORT": ("listeners", "routing-api", "port"),
    "RATE_LIMITING_API_PORT": ("listeners", "rate-limiting-api", "port"),
    "API_GATEWAY_ENDPOINT": ("api_gateway", "url"),
    "SQL_DATABASE_ENDPOINT": ("postgres", "dsn"),
    "REDIS_ENDPOINT": ("redis", "url"),
    "METRICS_SERVER_ENDPOINT": ("metrics_server", "url"),
}


def from_variables(variables: Mapping[str, str]) -> list[Document]:
    """One document for each known variable that is set."""
    return [
        Document(Source(Origin.ENVIRONMENT, name), _nested(steps, FromText(variables[name].strip())))
        for name, steps in VARIABLES.items()
        if variables.get(name, "").strip()
    ]


def from_flags(flags: Mapping[str, str]) -> tuple[list[Document], list[Problem]]:
    """One document for each flag, and what is wrong with the others."""
    documents: list[Document] = []
    problems: list[Problem] = []
    for path, text in flags.items():
        try:
            documents.append(Document(Source(Origin.FLAG, "--set"), _nested(_steps(path), _flag_value(text))))
        except ValueError as error:
            problems.append(Problem(f"--set {path}", str(error)))
    return documents, problems


def _steps(path: str) -> Steps:
    """The steps, with items by their names: a flag's document holds one item, which merges by name."""
    steps = read(path)
    if any(isinstance(step, int) for step in steps):
        raise ValueError("an item is named, not counted: upstreams[gpu-a].slots")
    return steps


def _flag_value(text: str) -> Any:
    if text in ("null", "~"):
        return None
    if not text.startswith(("[", "{")):
        return FromText(text)
    parsed = parse(f"value: {text}")
    if parsed.flaws:
        raise ValueError("expected text, a number, or a list or mapping written as YAML in one line")
    return parsed.data["value"]


def _nested(steps: Steps, value: Any) -> dict[str, Any]:
    first, *rest = steps
    if not rest:
        return {str(first): value}
    key = ITEM_KEYS.get(str(first))
    if key is None:
        return {str(first): _nested(tuple(rest), value)}
    name, *inside = rest
    return {str(first): [{key: name, **(_nested(tuple(inside), value) if inside else {})}]}
