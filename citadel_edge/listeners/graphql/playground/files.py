"""The playground's page and files: GraphiQL's, from the wheel that carries them, and our own.

Decides the address that they are found under: it changes with any of them, so that browsers may keep them for good.
Refuses to know how they are served.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

import msgspec

from citadel_edge.errors import StartError

FOLDER: Final = "/playground"
CARRIER: Final = "graphene_django_graphiql_static"
_HERE: Final = "citadel_edge.listeners.graphql.playground"
_CARRIED: Final = (
    "react.production.min.js",
    "react-dom.production.min.js",
    "graphiql.min.js",
    "graphiql.min.css",
    "graphql-ws.min.js",
    "graphiql-plugin-explorer.umd.js",
    "style.css",  # the explorer's
)
_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class File:
    """One file: its media type, and what is in it."""

    type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Playground:
    """The page, and the files that it is made of, by name, in a folder named after what is in all of them."""

    page: bytes
    folder: str
    files: Mapping[str, File]


def read_playground() -> Playground:
    """Blocks on the disk: call it in a thread. Raises StartError when GraphiQL's files are not installed."""
    found = {path.name: File(_TYPES[path.name[path.name.rindex(".") :]], path.read_bytes()) for path in _paths()}
    folder = f"{FOLDER}/{_digest(found)}"
    return Playground(_page(folder), folder, found)


def read_examples() -> list[str]:
    """The documents in the page's first tabs, in their order."""
    folder = files(_HERE).joinpath("examples")
    return [path.read_text(encoding="utf-8") for path in sorted(folder.iterdir(), key=lambda path: path.name)]


def _paths() -> Iterator[Traversable]:
    try:
        carrier = files(CARRIER).joinpath("static", CARRIER)
    except ModuleNotFoundError as error:
        package = CARRIER.replace("_", "-")
        raise StartError(
            f"the playground needs the package {package}: install it, or set graphql.playground to false"
        ) from error
    yield from (carrier.joinpath(name) for name in _CARRIED)
    yield from files(_HERE).joinpath("assets").iterdir()


def _digest(found: Mapping[str, File]) -> str:
    total = sha256()
    for name, file in sorted(found.items()):
        total.update(b"%s %d " % (name.encode(), len(file.content)))
        total.update(file.content)
    return total.hexdigest()[:16]


def _page(folder: str) -> bytes:
    """The page with its addresses and examples filled in. Addresses are relative: a gateway may put us anywhere."""
    text = files(_HERE).joinpath("page.html").read_text(encoding="utf-8")
    examples = msgspec.json.encode([{"query": each} for each in read_examples()]).decode()
    filled = text.replace("{folder}", folder.lstrip("/")).replace("{examples}", examples.replace("<", "\\u003c"))
    return filled.encode()
