"""What the limiter is made of, put together once. Decides nothing."""

from typing import Protocol

from structlog.typing import FilteringBoundLogger

from citadel_edge.limits.asking import Asking
from citadel_edge.limits.by_id import ById
from citadel_edge.limits.comeback import Comeback
from citadel_edge.limits.deciding import Deciding
from citadel_edge.limits.denials import Denials
from citadel_edge.limits.elsewhere import Elsewhere
from citadel_edge.limits.endings import Endings
from citadel_edge.limits.known import Known
from citadel_edge.limits.lifeline import Lifeline
from citadel_edge.limits.local_store import LocalStore
from citadel_edge.limits.metrics import LimitsMetrics
from citadel_edge.limits.news import News
from citadel_edge.limits.open_reservations import OpenReservations
from citadel_edge.limits.owed import Owed
from citadel_edge.limits.plan import Plans
from citadel_edge.limits.redis_store import RedisStore
from citadel_edge.limits.renewals import Renewals
from citadel_edge.limits.restoring import LedgerUsage, Restoring
from citadel_edge.limits.server_time import ServerTime
from citadel_edge.limits.settling import Settling
from citadel_edge.limits.sweeper import Sweeper
from citadel_edge.storage.instances import Instances
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.hub import Hub


class Worker(Protocol):
    """Something that runs until it is cancelled."""

    async def run(self) -> None:
        """Run."""


class Parts:
    """Each has one subject; see their modules."""

    def __init__(
        self,
        redis: RedisPool,
        *,
        deadline_s: float,
        instances: Instances,
        clock: Clock,
        hub: Hub,
        log: FilteringBoundLogger,
        metrics: LimitsMetrics,
        ledger_usage: LedgerUsage | None,
    ) -> None:
        self.news = news = News(hub=hub, log=log, metrics=metrics, clock=clock)
        self.time = time = ServerTime(clock)
        self.lifeline = lifeline = Lifeline(
            on_failed=metrics.failures.inc,
            on_failed_alone=news.failed_alone,
            on_away=lambda reason: news.away(reason, instances.last_known),
            on_back=news.back,
        )
        self.plans = Plans()
        self.known = Known()
        self.denials = Denials()
        self.owed = Owed()
        self.open_ = OpenReservations()
        self.store = store = RedisStore(redis)
        self.local = LocalStore(self.known, instances=lambda: instances.last_known, held=lambda: self.open_)
        self.restoring = Restoring(store, ledger_usage, lifeline=lifeline, clock=clock, news=news, log=log)
        self.settling = Settling(
            store,
            lifeline=lifeline,
            time=time,
            clock=clock,
            log=log,
            metrics=metrics,
            denials=self.denials,
            on_loss=self.restoring.lost,
        )
        self.endings = Endings(
            self.open_,
            self.settling,
            self.owed,
            local=self.local,
            known=self.known,
            denials=self.denials,
            lifeline=lifeline,
            time=time,
            news=news,
        )
        self.asking = Asking(plans=self.plans, lifeline=lifeline, time=time, clock=clock, deadline_s=deadline_s)
        self.deciding = Deciding(
            store,
            self.local,
            asking=self.asking,
            lifeline=lifeline,
            settling=self.settling,
            restoring=self.restoring,
            known=self.known,
            denials=self.denials,
            plans=self.plans,
            time=time,
            metrics=metrics,
        )
        self.comeback = Comeback(
            redis,
            store,
            lifeline=lifeline,
            open_=self.open_,
            owed=self.owed,
            local=self.local,
            settling=self.settling,
            restoring=self.restoring,
            time=time,
            clock=clock,
            news=news,
            metrics=metrics,
        )
        self.renewals = Renewals(
            store,
            self.local,
            self.open_,
            self.owed,
            lifeline=lifeline,
            time=time,
            clock=clock,
            adopt=self.comeback.adopt,
            on_loss=self.restoring.lost,
        )
        self.sweeper = Sweeper(redis, store, lifeline=lifeline, time=time, clock=clock, news=news, log=log)
        self.elsewhere = Elsewhere(store, lifeline=lifeline, clock=clock, news=news, log=log, metrics=metrics)
        self.by_id = ById(
            store,
            self.local,
            self.open_,
            settling=self.settling,
            elsewhere=self.elsewhere,
            sweeper=self.sweeper,
            lifeline=lifeline,
            time=time,
            clock=clock,
            endings=self.endings,
        )
        self.workers: tuple[Worker, ...] = (
            self.settling,
            self.elsewhere,
            self.comeback,
            self.renewals,
            self.sweeper,
            self.restoring,
        )
        metrics.follow(
            degraded=lambda: not lifeline.serves,
            queue=lambda: len(self.settling) + len(self.elsewhere),
            reservations=lambda: len(self.open_),
        )
