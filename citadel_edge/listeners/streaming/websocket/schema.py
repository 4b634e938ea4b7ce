"""`GET /v1/ws/schema`: the messages of `citadel.v1` as JSON Schema, made from the types that are read and written.

`#/$defs/FromClient` is any message of a client, `#/$defs/FromServer` any of this side. Descriptions are the types' own.
"""

import inspect
import re
from typing import Any, Final

import msgspec
from aiohttp import web

from citadel_edge.listeners.streaming.websocket.closing import Close
from citadel_edge.listeners.streaming.websocket.messages import ASKED, PROTOCOL, SAID

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_RULES: Final = (
    "One JSON object a text frame, each way. The client names each operation by an id of its own, many run at once. "
    "An operation ends with exactly one `done`, or one `error` that carries an `outcome`; an `error` without `outcome` "
    "refuses the message of that id, and nothing has begun by it. Whatever a message is, the connection lives on."
)
_ATTRIBUTES: Final = "Attributes:\n"
_ATTRIBUTE: Final = re.compile(r"^    (\w+): (.+(?:\n     .+)*)", re.MULTILINE)


def document() -> dict[str, Any]:
    """The whole of it."""
    _, components = msgspec.json.schema_components((*ASKED, *SAID), ref_template="#/$defs/{name}")
    for each in (*ASKED, *SAID):
        _describe(components[each.__name__])
    return {
        "$schema": _DIALECT,
        "title": PROTOCOL,
        "description": _RULES,
        "anyOf": [{"$ref": "#/$defs/FromClient"}, {"$ref": "#/$defs/FromServer"}],
        "$defs": {**components, "FromClient": _any_of(ASKED), "FromServer": _any_of(SAID)},
        "x-close-codes": {str(int(code)): code.meaning for code in Close},
    }


async def schema(_request: web.Request) -> web.StreamResponse:
    """`GET /v1/ws/schema`."""
    return web.Response(body=_TEXT, content_type="application/schema+json")


def _any_of(types: tuple[type[msgspec.Struct], ...]) -> dict[str, Any]:
    return {"anyOf": [{"$ref": f"#/$defs/{each.__name__}"} for each in types]}


def _describe(component: dict[str, Any]) -> None:
    """What the docstring says of attributes stands with them."""
    text, _, attributes = inspect.cleandoc(component["description"]).partition(_ATTRIBUTES)
    component["description"] = text.strip()
    for name, words in _ATTRIBUTE.findall(attributes):
        component["properties"][name]["description"] = " ".join(words.split())


_TEXT: Final = msgspec.json.format(msgspec.json.encode(document()), indent=2)
