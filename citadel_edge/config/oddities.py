"""What is legal but probably not meant: the warnings of a configuration. Pure."""

from collections.abc import Iterator
from typing import Final

from citadel_edge.config.shape import Config
from citadel_edge.config.urls import EMBEDDED

_DEFAULTS: Final = Config()


def oddities(config: Config) -> tuple[str, ...]:
    """A sentence for each thing to look at."""
    return (
        *_production(config),
        *_credentials(config),
        *_upstreams(config),
        *_tiers(config),
        *_timeouts(config),
        *_without_effect(config),
    )


def _production(config: Config) -> Iterator[str]:
    if config.environment != "production":
        return
    for path, value in (("redis.url", config.redis.url), ("postgres.dsn", config.postgres.dsn)):
        if value == EMBEDDED:
            yield f"{path}: embedded in production; it serves this one process and is backed up by nobody"
    if not config.upstreams:
        yield "upstreams: none in production; the embedded model is a demonstration"


def _credentials(config: Config) -> Iterator[str]:
    if config.redis.url == EMBEDDED and (config.redis.username or config.redis.password):
        yield "redis: username and password are not used by the embedded Redis"
    if config.postgres.dsn == EMBEDDED and (config.postgres.user or config.postgres.password):
        yield "postgres: user and password are not used by the embedded PostgreSQL"


def _upstreams(config: Config) -> Iterator[str]:
    used = {deployment.upstream for model in config.models for deployment in model.deployments}
    urls: dict[str, str] = {}
    for index, upstream in enumerate(config.upstreams):
        if upstream.id not in used:
            yield f"upstreams[{index}].id: no model is deployed on '{upstream.id}'; it will get no requests"
        if upstream.url.endswith("/v1"):
            yield f"upstreams[{index}].url: '/v1' is added to it; leave it out"
        if upstream.url in urls:
            yield f"upstreams[{index}].url: the same server as '{urls[upstream.url]}'; its slots are counted twice"
        urls.setdefault(upstream.url, upstream.id)


def _tiers(config: Config) -> Iterator[str]:
    names = {"*", *(name for model in config.models for name in (model.name, *model.aliases))}
    if not config.models:
        return
    for index, tier in enumerate(config.tiers):
        for at, name in enumerate(tier.models):
            if name not in names:
                yield f"tiers[{index}].models[{at}]: no model '{name}' here; the tier cannot use it"


def _timeouts(config: Config) -> Iterator[str]:
    timeouts = config.routing.timeouts
    for name in ("connect_s", "first_token_s", "idle_s"):
        if getattr(timeouts, name) > timeouts.total_s:
            yield f"routing.timeouts.{name}: longer than total_s, which ends the request before"


def _without_effect(config: Config) -> Iterator[str]:
    """What nothing in this version reads, set to something else than its default. One sentence a setting."""
    if config.logs.prompts != _DEFAULTS.logs.prompts:
        yield "logs.prompts: accepted, has no effect in this version"
