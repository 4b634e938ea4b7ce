"""Makes a listener's aiohttp application from its routes. One factory for the four."""

from collections.abc import Sequence

from aiohttp import web

from citadel_edge.config.shape import ListenerName
from citadel_edge.edge import EDGE, Edge
from citadel_edge.listeners.common.health import health_routes
from citadel_edge.listeners.common.metrics import metrics_routes
from citadel_edge.listeners.common.middlewares import LISTENER, LOG, MIDDLEWARES, SUBSCRIPTIONS, stamp
from citadel_edge.listeners.common.openapi import openapi_routes
from citadel_edge.listeners.common.routes import ROUTES, Route
from citadel_edge.listeners.common.subscriptions import Subscriptions


def build_app(name: ListenerName, edge: Edge, routes: Sequence[Route]) -> web.Application:
    """The application: the common routes, then the listener's own, behind the one list of middlewares."""
    app = web.Application(middlewares=MIDDLEWARES)
    every = [*health_routes(), *metrics_routes(), *routes]
    if name is not ListenerName.GRAPHQL:
        every += openapi_routes(name, every)
    app[EDGE] = edge
    app[LISTENER] = name
    app[SUBSCRIPTIONS] = Subscriptions(name)
    app[LOG] = edge.logs.logger(name.value)
    app[ROUTES] = {route.handler: route for route in every}
    app.on_response_prepare.append(stamp)
    app.router.add_routes([web.route(route.method, route.path, route.handler) for route in every])
    return app
