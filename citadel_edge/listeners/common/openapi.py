"""`/openapi.json`: OpenAPI 3.1, made from the same routes that the router serves, so that it cannot drift."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web

import citadel_edge
from citadel_edge.config.shape import ListenerName
from citadel_edge.listeners.common.routes import Admission, Route

_PARAMETER = re.compile(r"\{(\w+)(?::[^{}]*)?\}")
_EVERY_METHOD = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_TICKET = {"ticket": "from POST /v1/tickets, in the place of a key"}
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "param": {"type": "string"},
        "retry_after_s": {"type": "number"},
    },
}
_OPENAI_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "code", "param"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "code": {"type": ["string", "null"]},
                "param": {"type": ["string", "null"]},
            },
        }
    },
}


def openapi_routes(name: ListenerName, routes: Sequence[Route]) -> list[Route]:
    """The one route that describes the others."""
    body = msgspec.json.encode(document(name, routes))

    async def openapi(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type="application/json", charset="utf-8")

    return [
        Route(
            method="GET",
            path="/openapi.json",
            handler=openapi,
            summary="This document",
            role=None,
            admission=Admission.EXEMPT,
        )
    ]


def document(name: ListenerName, routes: Sequence[Route]) -> dict[str, Any]:
    """The OpenAPI document of a listener."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operations = paths.setdefault(_template(route.path), {})
        operations.update({method: _operation(route, method) for method in _methods(route)})
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Citadel Edge {name.value}", "version": citadel_edge.__version__},
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Problem": _PROBLEM, "OpenAIError": _OPENAI_ERROR},
        },
    }


def _template(path: str) -> str:
    """A path as OpenAPI writes it: a parameter is its name alone."""
    return _PARAMETER.sub(r"{\1}", path)


def _methods(route: Route) -> Sequence[str]:
    """As OpenAPI writes them; it has no word for whichever a client uses."""
    return _EVERY_METHOD if route.method == "*" else (route.method.lower(),)


def _operation(route: Route, method: str) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": re.sub(r"\W+", "_", f"{method}{_template(route.path)}").strip("_"),
        "responses": _responses(route),
        "security": [{"key": []}] if route.role is not None else [],
    }
    parameters = _parameters(route)
    if parameters:
        operation["parameters"] = parameters
    if route.json_body:
        schema = route.request or {"type": "object"}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if route.role is not None:
        operation["x-role"] = route.role.value
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(route.path)
    ]
    in_query = [
        {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
        for name, text in {**route.query, **(_TICKET if route.tickets else {})}.items()
    ]
    return in_path + in_query


def _responses(route: Route) -> dict[str, Any]:
    kind, reference = (
        ("application/json", "OpenAIError") if route.openai_errors else ("application/problem+json", "Problem")
    )
    failed = {"description": "Failed", "content": {kind: {"schema": {"$ref": f"#/components/schemas/{reference}"}}}}
    content = {"application/json": {"schema": route.response}} if route.response is not None else {}
    later = {"202": {"description": "Accepted, carried out later", "content": content}} if route.may_wait else {}
    return {str(route.status): {"description": "Done", "content": content}, **later, "default": failed}
