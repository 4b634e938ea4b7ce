"""Limiters on real servers, as instances of one edge: each with a pool, a hub, metrics and a worker of its own."""

import asyncio
import contextlib

import structlog
from prometheus_client import CollectorRegistry

from citadel_edge.accounts.entitlement import Entitlement, LimitSheet
from citadel_edge.config.shape import RedisConfig
from citadel_edge.limits.claims import Claim
from citadel_edge.limits.limiter import Limiter
from citadel_edge.limits.metrics import LimitsMetrics
from citadel_edge.limits.plan import Who
from citadel_edge.limits.values import NOTHING, Spent
from citadel_edge.storage.instances import Instances
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.hub import Hub, Topic

PATIENT_MS = 2000.0
"""A deadline that only a server that is away runs into, on a busy machine too."""
ORGANISATION = "org_test"


class Instance:
    """A limiter and what a test looks at."""

    def __init__(self, limiter, hub, registry, instances, pool):
        self.limiter = limiter
        self.hub = hub
        self.registry = registry
        self.instances = instances
        self.pool = pool

    @property
    def parts(self):
        return self.limiter._parts

    def metric(self, name, **labels):
        return self.registry.get_sample_value(f"citadel_limits_{name}", labels) or 0

    def events(self, kind):
        return [one.payload for one in self.hub.last(Topic.LIMITS, 256) if one.payload["event"] == kind]

    async def reserve(self, entitlement, **fields):
        return await self.limiter.reserve(claim(entitlement, **fields))

    async def levels(self, entitlement, **fields):
        """What Redis has counted, by limit: remaining units."""
        decision = await self.limiter.look(claim(entitlement, **fields))
        assert not decision.degraded
        return {one.name.value: one.remaining for one in decision.standings}

    async def settled(self):
        """Return when nothing waits for Redis."""
        await until(lambda: not len(self.parts.settling) and not len(self.parts.elsewhere))


class Bill:
    """So much was spent, whatever the claim carried. `told`: what the claims carried that were settled with it."""

    def __init__(self, spent, model=""):
        self.spent = spent
        self.model = model
        self.told = []

    def charge(self, _):
        return self.spent, self.model

    def settled(self, meta):
        self.told.append(meta)


@contextlib.asynccontextmanager
async def instance(
    url, *, share_of=1, deadline_ms=PATIENT_MS, worker=True, ledger_usage=None, renew_s=1.0, sweep_s=3.0
):
    """One of `share_of` instances."""
    clock, registry, log = Clock(), CollectorRegistry(), structlog.get_logger()
    hub = Hub(clock)
    async with RedisPool.open(RedisConfig(url=url, deadline_ms=deadline_ms), clock=clock, log=log) as pool:
        instances = Instances(pool)
        instances.last_known = share_of
        limiter = Limiter(
            pool,
            deadline_s=deadline_ms / 1000,
            instances=instances,
            clock=clock,
            hub=hub,
            log=log,
            metrics=LimitsMetrics(registry),
            ledger_usage=ledger_usage,
        )
        limiter._parts.renewals._look_s, limiter._parts.sweeper._sweep_s = renew_s, sweep_s
        one = Instance(limiter, hub, registry, instances, pool)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(limiter.run()) if worker else None
            try:
                yield one
            finally:
                if task is not None:
                    task.cancel()


def entitlement(*, organisation=None, burst=0.2, requests_when_away=True, spend_when_away=False, **limits):
    """A user's limits, by name; and those of the organisation."""
    return Entitlement(
        tier=LimitSheet(values=limits),
        organisation=LimitSheet(values=organisation or {}),
        burst=burst,
        requests_when_away=requests_when_away,
        spend_when_away=spend_when_away,
    )


def claim(entitled, *, user="usr_1", organisation=ORGANISATION, requests=1, tokens=0, nano_usd=0, **fields):
    who = Who(
        organisation_id=organisation,
        user_id=user,
        entitlement=entitled,
        model=fields.pop("model", ""),
        endpoint=fields.pop("endpoint", ""),
    )
    fields.setdefault("kept", NOTHING)
    return Claim(who=who, cost=Spent(requests, tokens, nano_usd), tier="test", **fields)


async def until(fact, within_s=20.0):
    """Return when it is so."""
    async with asyncio.timeout(within_s):
        while not fact():
            await asyncio.sleep(0.005)
