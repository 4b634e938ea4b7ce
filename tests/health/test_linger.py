from citadel_edge.health.linger import SHOWN_FOR_S, Lingering
from citadel_edge.health.verdict import Condition
from citadel_edge.storage.state import DependencyState, Status


class Time:
    def __init__(self):
        self.now_s = 100.0

    def monotonic_s(self):
        return self.now_s


def probe_over(states, time):
    async def check():
        return states.pop(0)

    return Lingering(check, time)


UP = DependencyState(Status.UP, "connected", 0.5)


async def test_an_outage_that_no_look_met_is_shown_all_the_same_and_for_a_second():
    time = Time()
    blinked = DependencyState(Status.UP, "connected", 0.5, outages=1)
    probe = probe_over([UP, blinked, blinked, blinked], time)
    assert (await probe()).condition is Condition.UP
    seen = await probe()
    assert (seen.condition, seen.detail) == (Condition.DOWN, "was away a moment ago; now connected")
    time.now_s += SHOWN_FOR_S * 0.9
    assert (await probe()).condition is Condition.DOWN
    time.now_s += SHOWN_FOR_S * 0.2
    assert (await probe()).condition is Condition.UP


async def test_down_and_unknown_are_shown_as_they_are():
    down, unknown = DependencyState(Status.DOWN, "refused", outages=1), DependencyState(Status.UNKNOWN, "not yet")
    probe = probe_over([down, unknown], Time())
    assert ((await probe()).condition, (await probe()).condition) == (Condition.DOWN, Condition.UNKNOWN)
