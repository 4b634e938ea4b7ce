"""On a cluster, and on the other program that speaks so, streams are logged, read and taken over as elsewhere."""

import asyncio
import shutil

import pytest

from citadel_edge.streams.names import SLOTS, slot_of
from citadel_edge.streams.values import Once
from clusters import cluster_server  # noqa: F401
from logs import DONE, FINISH, OWNER, QUICK, events, instance, origin, until
from servers import Valkey, short_directory
from streams import test_ownership, test_reading

pytestmark = pytest.mark.usefixtures("full_speed")
test_stop = test_reading.test_a_stop_reaches_the_producer_wherever_it_is_asked
test_once = test_reading.test_a_start_under_a_key_happens_once_in_all_processes
test_elsewhere = test_reading.test_a_reader_elsewhere_is_told_at_once_and_counts_for_the_producer
test_orphan_refused = test_ownership.test_an_orphan_that_one_instance_refuses_is_offered_again
test_takeover = test_ownership.test_a_stream_whose_producer_died_is_gone_on_with_elsewhere
test_discarded = test_reading.test_a_start_that_was_discarded_never_was
test_fence = test_ownership.test_of_two_owners_the_log_hears_the_second_alone


class Redis(Valkey):
    """The other program that speaks so."""

    def __init__(self, directory, program):
        super().__init__(directory)
        self._command[0] = program


@pytest.fixture(scope="session")
def redis_server():
    """The session's Redis 7."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("the stream log's scripts were not tried on Redis: apt-get install redis-server")
    with short_directory() as directory:
        server = Redis(directory, program)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session", params=["cluster", "redis"])
def each_server(request):
    """The session's server of each kind."""
    return request.getfixturevalue(f"{request.param}_server")


@pytest.fixture
def redis_url(each_server):
    """The URL of an empty server of each kind."""
    if isinstance(each_server, Redis):
        each_server.say("FLUSHALL")
    else:
        each_server.wait_until_sound()
        each_server.flush()
    return each_server.url


async def test_streams_of_every_slot_are_kept_at_their_nodes(redis_url):
    async with instance(redis_url, timing=QUICK) as one, instance(redis_url) as other:
        slots = set()
        for number in range(200):
            if len(slots) == SLOTS:
                break
            once = Once(key=f"key {number}", body_hash=b"h")
            live = (await one.streams.create(origin(), OWNER, FINISH, once=once, hold=one.hold)).live
            if slot_of(live.id) in slots:
                live.discard()
                continue
            slots.add(slot_of(live.id))
            await one.say(live, 1, 3)
            live.end(DONE)
            told = await other.read(live.id)
            assert (told.payloads, told.terminal) == (events(1, 3), DONE)
        assert slots == set(range(SLOTS))
        await asyncio.sleep(2 * QUICK.tend_s)
        await until(lambda: one.held == 0)
        assert one.streams.state().durable
