"""Where streaming-api's handlers find the series they feed. The figures themselves are `streams.metrics`."""

from aiohttp import web

from citadel_edge.streams.metrics import DoorMetrics

STREAMING_METRICS = web.AppKey("streaming_metrics", DoorMetrics)
