"""`/health` and its three sisters. They read cached checks and do no I/O."""

from typing import Any

from aiohttp import web

import citadel_edge
from citadel_edge.config.shape import ListenerName
from citadel_edge.edge import EDGE
from citadel_edge.health.verdict import Status, as_json
from citadel_edge.listeners.common.middlewares import LISTENER
from citadel_edge.listeners.common.routes import Admission, Route


async def health(request: web.Request) -> web.StreamResponse:
    """This service, whole."""
    body, status = _one(request, request.app[LISTENER])
    return web.json_response(body, status=status)


async def live(request: web.Request) -> web.StreamResponse:
    """The loop answers."""
    return web.json_response({"status": "live", "service": request.app[LISTENER].value})


async def ready(request: web.Request) -> web.StreamResponse:
    """503 while draining, stopped or unhealthy."""
    verdict = request.app[EDGE].board.verdict(request.app[LISTENER])
    word = "not_ready" if verdict.status is Status.UNHEALTHY else "ready"
    return web.json_response(
        {"status": word, "service": verdict.service.value, "message": verdict.message}, status=verdict.http_status
    )


async def health_all(request: web.Request) -> web.StreamResponse:
    """The four services together."""
    answers = {name.value: _one(request, name) for name in ListenerName}
    states = {body["status"] for body, _ in answers.values()}
    worst = next((s for s in (Status.UNHEALTHY, Status.DEGRADED) if s.value in states), Status.HEALTHY)
    services = {name: body for name, (body, _) in answers.items()}
    status = max(code for _, code in answers.values())
    return web.json_response({"status": worst.value, "services": services}, status=status)


def health_routes() -> list[Route]:
    """Open to everybody and never queued."""
    shown = {"type": "object", "properties": {"status": {"type": "string"}, "message": {"type": "string"}}}
    described = (
        ("/health", health, "How this service is"),
        ("/health/live", live, "Whether the process answers"),
        ("/health/ready", ready, "Whether this service takes work"),
        ("/health/all", health_all, "How the four services are"),
    )
    return [
        Route(
            method="GET",
            path=path,
            handler=handler,
            summary=summary,
            role=None,
            admission=Admission.EXEMPT,
            response=shown,
        )
        for path, handler, summary in described
    ]


def _one(request: web.Request, name: ListenerName) -> tuple[dict[str, Any], int]:
    board = request.app[EDGE].board
    verdict = board.verdict(name)
    return as_json(verdict, version=citadel_edge.__version__, uptime_s=board.uptime_s()), verdict.http_status
