"""What a client asks for: the parameters of one GraphQL request, the same on every transport."""

from typing import Any

import msgspec


class Wanted(msgspec.Struct, frozen=True, rename="camel"):
    """One request, as GraphQL over HTTP, graphql-transport-ws and graphql-sse spell it (`operationName`).

    `document_id` names a trusted document; `extensions.persistedQuery` one that was sent before.
    """

    query: str | None = None
    variables: dict[str, Any] | None = None
    operation_name: str | None = None
    extensions: dict[str, Any] | None = None
    document_id: str | None = None
