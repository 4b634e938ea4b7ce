"""The operator's own documents, read from a folder: files of operations, and manifests of ids and texts.

A `.graphql` file goes by its name and by the SHA-256 of its text; one without operations (a schema, fragments) is
passed over. A `.json` file is a map of ids to texts, as build tools write it, or Apollo's persisted query manifest.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from graphql import GraphQLError, OperationDefinitionNode, parse

from citadel_edge.errors import StartError


class Trust(StrEnum):
    """OFF: the folder is not read. PREFER: its documents run without bounds, others within them. ONLY: no others."""

    OFF = "off"
    PREFER = "prefer"
    ONLY = "only"


def digest(text: str) -> str:
    """What clients name a text by: the SHA-256 of its UTF-8, in hex."""
    return sha256(text.encode()).hexdigest()


def read_trusted(folder: Path) -> dict[str, str]:
    """Texts by their ids; none when there is no folder. Blocks. Raises StartError for a file that is no such thing."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*")):
        for name, text in _read(path):
            if found.setdefault(name, text) != text:
                raise StartError(f"{path}: the id {name} is another document's already")
    return found


def _read(path: Path) -> Iterator[tuple[str, str]]:
    if path.suffix not in {".graphql", ".json"}:
        return
    try:
        text = path.read_text(encoding="utf-8")
        yield from _manifest(msgspec.json.decode(text)) if path.suffix == ".json" else _file(path.stem, text)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError, GraphQLError, TypeError, KeyError) as error:
        raise StartError(f"{path}: no trusted document: {error}") from error


def _file(name: str, text: str) -> Iterator[tuple[str, str]]:
    if any(isinstance(definition, OperationDefinitionNode) for definition in parse(text).definitions):
        yield name, text
        yield digest(text), text


def _manifest(content: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(content, Mapping):
        raise TypeError("a manifest is a JSON object")
    listed = content.get("operations")
    pairs = [(each["id"], each["body"]) for each in listed] if isinstance(listed, list) else list(content.items())
    if not all(isinstance(text, str) for _, text in pairs):
        raise TypeError("a manifest maps ids to texts")
    yield from pairs
