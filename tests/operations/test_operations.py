"""Settings of the fleet: kept, audited, told to others, applied again; and nothing half done."""

import asyncio
import json
import signal
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from citadel_edge.config.shape import UpstreamConfig
from citadel_edge.errors import Code, PostgresUnavailable, RequestError
from citadel_edge.fleet.breaker import BreakerState
from citadel_edge.fleet.table import RowState, Verdict
from citadel_edge.operations.settings import BreakerOrder, SettingKind, UpstreamPatch
from citadel_edge.storage.migrate import migrate
from instances import config, opened

DRAIN = UpstreamPatch(state=RowState.DRAINING)


@asynccontextmanager
async def working(instance):
    """The worker runs inside."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(instance.operations.run())
        yield
        task.cancel()


async def until(fact, within_s=10):
    async with asyncio.timeout(within_s):
        while not fact():
            await asyncio.sleep(0.01)


async def test_a_patch_holds_at_once_and_after_a_restart(instance):
    async with instance() as first:
        setting = await first.operations.patch_upstream(
            "a", UpstreamPatch(weight=2.5, state=RowState.DRAINING), by=first.by
        )
        assert (setting.version, setting.set_by) == (1, "usr_admin")
        assert (first.row().weight, first.row().state, first.row().source) == (2.5, RowState.DRAINING, "api")
        assert (first.row("b").weight, first.row("b").source) == (None, "config")
    async with instance() as again:
        await again.operations.look_first(within_s=5)
        assert (again.row().weight, again.row().state, again.row().source) == (2.5, RowState.DRAINING, "api")
        assert again.operations.setting(SettingKind.UPSTREAM, "a") == setting


async def test_a_field_that_is_not_named_stays_and_a_null_weight_is_the_configuration_s(instance):
    async with instance() as first:
        await first.operations.patch_upstream("a", UpstreamPatch(weight=2), by=first.by)
        await first.operations.patch_upstream("a", DRAIN, by=first.by)
        assert (first.row().weight, first.row().state) == (2, RowState.DRAINING)
        await first.operations.patch_upstream("a", UpstreamPatch(weight=None), by=first.by)
        assert (first.row().weight, first.row().state, first.row().source) == (None, RowState.DRAINING, "api")
        back = await first.operations.patch_upstream("a", UpstreamPatch(state=RowState.ACTIVE), by=first.by)
        assert (first.row().state, first.row().source, back.version) == (RowState.ACTIVE, "config", 4)


async def test_every_change_stands_in_the_audit_trail(instance):
    async with instance() as first:
        await first.operations.patch_upstream("a", DRAIN, by=first.by)
        await first.operations.trip("a", BreakerOrder(reason="smoke"), by=first.by)
        await first.operations.reset("a", BreakerOrder(), by=first.by)
        rows = await first.postgres.fetch("SELECT * FROM audit ORDER BY id")
        assert [(row["action"], row["subject"], row["who"], row["request_id"]) for row in rows] == [
            (action, "a", "usr_admin", "req_1") for action in ("patch_upstream", "trip_breaker", "reset_breaker")
        ]
        patched, tripped, reset = ((row["before"], json.loads(row["after"])) for row in rows)
        assert (patched[0], patched[1]["state"]) == (None, "draining")
        assert (tripped[0], tripped[1]["reason"], tripped[1]["tripped"]) == (None, "smoke", True)
        assert (json.loads(reset[0])["tripped"], reset[1]["tripped"]) == (True, False)


async def test_a_stale_version_changes_nothing(instance):
    async with instance() as first:
        await first.operations.patch_upstream("a", UpstreamPatch(weight=2), by=first.by, version=0)
        for version in (0, 2):
            with pytest.raises(RequestError) as refused:
                await first.operations.patch_upstream("a", UpstreamPatch(weight=3), by=first.by, version=version)
            assert refused.value.code is Code.STALE
        with pytest.raises(RequestError):
            await first.operations.trip("b", BreakerOrder(), by=first.by, version=1)
        assert first.row().weight == 2
        assert await first.postgres.fetchval("SELECT count(*) FROM audit") == 1
        assert await first.postgres.fetchval("SELECT count(*) FROM fleet_settings") == 1


async def test_of_two_who_have_seen_the_same_one_is_told_to_read_again(instance):
    async with instance() as first:
        done = await asyncio.gather(
            *(
                first.operations.patch_upstream("a", UpstreamPatch(weight=w), by=first.by, version=0)
                for w in (2, 3, 4, 5)
            ),
            return_exceptions=True,
        )
        assert sum(isinstance(each, RequestError) and each.code is Code.STALE for each in done) == 3
        assert first.row().weight == await first.postgres.fetchval("SELECT weight FROM fleet_settings")


async def test_what_is_not_there_is_not_found(instance):
    async with instance() as first:
        for change in (
            first.operations.patch_upstream("nobody", DRAIN, by=first.by),
            first.operations.trip("nobody", BreakerOrder(), by=first.by),
            first.operations.reset("a:one", BreakerOrder(), by=first.by),  # one model there: no breaker of its own
        ):
            with pytest.raises(RequestError) as refused:
                await change
            assert refused.value.code is Code.NOT_FOUND


async def test_a_tripped_breaker_stays_open_over_a_restart_until_it_is_reset(instance):
    async with instance() as first:
        await first.operations.trip("a", BreakerOrder(reason="fan"), by=first.by)
        assert first.breaker().state is BreakerState.OPEN
    async with instance() as again:
        await again.operations.look_first(within_s=5)
        assert (again.breaker().state, again.breaker().held) == (BreakerState.OPEN, True)
        assert again.operations.setting(SettingKind.BREAKER, "a").reason == "fan"
        await again.operations.reset("a", BreakerOrder(), by=again.by)
        assert again.breaker().state is BreakerState.CLOSED
    async with instance() as third:
        await third.operations.look_first(within_s=5)
        assert third.breaker().state is BreakerState.CLOSED


async def test_a_model_s_own_breaker_is_tripped_alone(instance):
    async with instance("a", "b", second_model=True) as first:
        await first.operations.trip("a:org/two:7b", BreakerOrder(), by=first.by)
        assert first.breaker("a:org/two:7b").state is BreakerState.OPEN
        assert first.breaker("a").state is BreakerState.CLOSED
        assert first.breaker("a:one").state is BreakerState.CLOSED


async def test_a_model_stays_cut_off_when_it_is_left_alone_on_its_upstream(instance):
    name = "a:one"
    async with instance("a", "b", second_model=True) as first:
        await first.operations.trip(name, BreakerOrder(), by=first.by)
        for _ in range(2):
            first.live.replace(config("a", "b"))
            assert (first.breaker(name).state, first.breaker(name).held) == (BreakerState.OPEN, True)
            place, other = first.fleet.table.deployments("one")
            assert (place.breaker, other.breaker) == (first.breaker(name), None)
            assert (place.admits(0.0), place.row.breaker.admits(0.0)) == (False, True)
    async with instance("a", "b") as again:  # a start with one model there
        await again.operations.look_first(within_s=5)
        assert again.breaker(name).held
        await again.operations.reset(name, BreakerOrder(), by=again.by)
        assert again.fleet.table.deployments("one")[0].admits(0.0)
        again.live.replace(config("a", "b"))
        assert name not in again.fleet.table.breakers
        again.live.replace(config("b"))
        assert again.fleet.guard(name) is False


async def test_an_old_reset_does_not_close_what_calls_opened_in_this_process(instance):
    async with instance() as first:
        await first.operations.reset("a", BreakerOrder(), by=first.by)
    async with instance() as again:
        for _ in range(5):
            ticket = again.fleet.take(again.fleet.table.deployments("one")[0])
            again.fleet.give_back(ticket, Verdict.FAULT)
        assert again.breaker().state is BreakerState.OPEN
        await again.operations.look_first(within_s=5)
        assert again.breaker().state is BreakerState.OPEN


async def test_other_instances_hear_of_it_within_a_second(instance):
    async with instance() as first, instance() as second, working(second):
        await until(lambda: second.operations._read_once)
        await asyncio.sleep(0.2)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await first.operations.patch_upstream("b", DRAIN, by=first.by)
        await until(lambda: second.row("b").state is RowState.DRAINING)
        assert loop.time() - began < 1 * 5  # the promise is a second; this machine is shared
        await first.operations.trip("a", BreakerOrder(), by=first.by)
        await until(lambda: second.breaker().held)
        await first.operations.reset("a", BreakerOrder(), by=first.by)
        await until(lambda: not second.breaker().held)


async def test_a_first_reset_elsewhere_closes_here_what_calls_opened(instance):
    async with instance() as first, instance() as second, working(second):
        await until(lambda: second.operations._read_once)
        await asyncio.sleep(0.2)
        for _ in range(5):
            ticket = second.fleet.take(second.fleet.table.deployments("one")[0])
            second.fleet.give_back(ticket, Verdict.FAULT)
        assert second.breaker().state is BreakerState.OPEN
        await first.operations.reset("a", BreakerOrder(), by=first.by)
        await until(lambda: second.breaker().state is BreakerState.CLOSED)


async def test_a_reload_keeps_what_was_set_also_for_rows_that_begin_anew(instance):
    async with instance("a", "b", second_model=True) as first:
        await first.operations.patch_upstream("a", UpstreamPatch(weight=3, state=RowState.DISABLED), by=first.by)
        await first.operations.trip("a", BreakerOrder(), by=first.by)
        moved = config("a", "b", second_model=True)
        moved = replace(moved, upstreams=(UpstreamConfig(id="a", url="http://127.0.0.1:2"), moved.upstreams[1]))
        old = first.row()
        first.live.replace(moved)
        assert first.row() is not old
        assert (first.row().weight, first.row().state, first.row().source) == (3, RowState.DISABLED, "api")
        assert (first.breaker().state, first.breaker().held) == (BreakerState.OPEN, True)


async def test_settings_of_an_upstream_that_left_wait_for_it(instance):
    async with instance() as first:
        await first.operations.patch_upstream("b", DRAIN, by=first.by)
        await first.operations.trip("b", BreakerOrder(), by=first.by)
        first.live.replace(config("a"))
        with pytest.raises(RequestError) as refused:
            await first.operations.patch_upstream("b", DRAIN, by=first.by)
        assert refused.value.code is Code.NOT_FOUND
        first.live.replace(config("a", "b"))
        assert first.row("b").state is RowState.DRAINING
        assert first.breaker("b").held


async def test_a_start_without_the_database_goes_on_and_catches_up(own_postgres, redis_url):
    dsn = own_postgres.dsn()
    async with opened(dsn, redis_url) as first:
        await first.postgres.wait_until_up()
        await migrate(first.postgres)
        await first.operations.patch_upstream("a", DRAIN, by=first.by)
    own_postgres.stop(signal.SIGINT)  # it writes all down first: nothing is durable here
    async with opened(dsn, redis_url) as again, working(again):
        await again.operations.look_first(within_s=1)
        assert again.row().state is RowState.ACTIVE
        with pytest.raises(PostgresUnavailable):
            await again.operations.patch_upstream("b", DRAIN, by=again.by)
        assert again.row("b").state is RowState.ACTIVE
        own_postgres.start()
        await until(lambda: again.row().state is RowState.DRAINING, within_s=30)


async def test_a_frozen_database_holds_a_start_up_for_a_moment_only(own_postgres, redis_url):
    async with opened(own_postgres.dsn(), redis_url) as first:
        await first.postgres.wait_until_up()
        own_postgres.freeze()
        loop = asyncio.get_running_loop()
        began = loop.time()
        await first.operations.look_first(within_s=0.2)
        assert loop.time() - began < 0.2 * 5 + 1
        own_postgres.thaw()


async def test_before_the_migrations_ran_there_is_nothing_to_apply(postgres_dsn, redis_url):
    async with opened(postgres_dsn, redis_url) as first, working(first):
        await first.postgres.wait_until_up()
        await first.operations.look_first(within_s=2)
        with pytest.raises(PostgresUnavailable):
            await first.operations.patch_upstream("a", DRAIN, by=first.by)
        await migrate(first.postgres)
        await first.operations.patch_upstream("a", DRAIN, by=first.by)
        await until(lambda: first.operations._read_once)
        assert first.row().state is RowState.DRAINING


async def test_without_redis_the_database_alone_tells_the_others(migrated_dsn, own_valkey):
    url = own_valkey.url
    async with opened(migrated_dsn, url) as first, opened(migrated_dsn, url) as second, working(second):
        await until(lambda: second.operations._read_once)
        own_valkey.stop()
        await first.operations.patch_upstream("a", DRAIN, by=first.by)
        assert first.row().state is RowState.DRAINING
        await until(lambda: second.row().state is RowState.DRAINING)


async def test_a_draining_row_finishes_what_it_has(instance):
    async with instance() as first:
        place = first.fleet.table.deployments("one")[0]
        ticket = first.fleet.take(place)
        await first.operations.patch_upstream("a", DRAIN, by=first.by)
        assert (first.row().in_flight, first.row().available(0.0)) == (1, False)
        first.fleet.give_back(ticket, Verdict.OK)
        assert first.row().in_flight == 0
