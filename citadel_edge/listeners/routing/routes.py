"""The routes of routing-api."""

from citadel_edge.listeners.common.routes import Route
from citadel_edge.listeners.routing.decisions import decision_routes
from citadel_edge.listeners.routing.feedback import feedback_routes
from citadel_edge.listeners.routing.fleet import fleet_routes
from citadel_edge.listeners.routing.openai import openai_routes
from citadel_edge.listeners.routing.route import route_routes


def routing_routes() -> list[Route]:
    """All of them."""
    return [*openai_routes(), *route_routes(), *decision_routes(), *feedback_routes(), *fleet_routes()]
