"""`/metrics`: this listener's families, Prometheus text or OpenMetrics."""

from aiohttp import web

from citadel_edge.edge import EDGE
from citadel_edge.listeners.common.middlewares import LISTENER
from citadel_edge.listeners.common.routes import Admission, Route


async def metrics(request: web.Request) -> web.StreamResponse:
    """The registry of this listener, rendered off the loop."""
    accept = request.headers.get("Accept", "")
    body, content_type = await request.app[EDGE].registries.render(request.app[LISTENER], accept)
    return web.Response(body=body, headers={"Content-Type": content_type})


def metrics_routes() -> list[Route]:
    """Open to everybody and never queued."""
    return [
        Route(
            method="GET",
            path="/metrics",
            handler=metrics,
            summary="Prometheus metrics",
            role=None,
            admission=Admission.EXEMPT,
        )
    ]
