"""Who is next, and what was each served: the properties of virtual token counters."""

import math
import random
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from citadel_edge.budgets.fair_queue import FairQueue, share_of
from citadel_edge.budgets.queue import State, Ticket, WaitingRoom

COSTS = st.integers(1, 1000)


@dataclass(slots=True, eq=False)
class Payer:
    user: str
    cost: float = 1.0
    share: float = 1.0


def ticket(user, cost=1.0, share=1.0):
    return Ticket(1, Payer(user, cost, share))


def waiting(*payers, queue=None):
    """A queue with a ticket for each (user, cost, share), pushed in order."""
    queue = FairQueue() if queue is None else queue
    tickets = [ticket(*payer) for payer in payers]
    for each in tickets:
        queue.push(each)
    return queue, tickets


def serve(queue):
    """The head is served; who it was."""
    head = queue.head()
    queue.take(head)
    return head.held.user


def served(queue, count):
    return [serve(queue) for _ in range(count)]


def serve_and_note(queue):
    """The head is served; who paid, and where it stood."""
    head = queue.head()
    return head.held, queue.take(head)


def test_one_users_requests_are_served_in_order():
    queue, tickets = waiting(*[("a", cost) for cost in (9, 1, 5)])
    assert [queue.head() is one and queue.take(one) > 0 for one in tickets] == [True] * 3


def test_an_empty_queue_has_no_head():
    assert FairQueue().head() is None
    assert len(FairQueue()) == 0


def test_users_take_turns_by_what_they_are_served_and_not_by_requests():
    queue, _ = waiting(*[("h", 100)] * 3, *[("l", 50)] * 6)
    assert served(queue, 9) == [*"hllhllhll"]


def test_weights_are_shares_of_the_tokens():
    queue, _ = waiting(*[("a", 10, share_of(0))] * 40, *[("b", 10, share_of(3))] * 40)
    assert Counter(served(queue, 40)) == {"a": 8, "b": 32}


def test_every_priority_has_a_share():
    assert [share_of(priority) for priority in (0, 1, 100)] == [1, 2, 101]


def test_a_light_user_passes_the_row_of_a_heavy_one():
    queue, _ = waiting(*[("h", 1000)] * 500)
    assert served(queue, 1) == [*"h"]
    waiting(("l", 10), queue=queue)
    assert served(queue, 2) == [*"hl"]


def test_idleness_saves_nothing():
    queue, _ = waiting(("idle", 1), *[("busy", 100)] * 50)
    served(queue, 40)
    waiting(*[("idle", 100)] * 10, queue=queue)
    assert Counter(served(queue, 8)) == {"idle": 4, "busy": 4}


def test_idleness_saves_nothing_while_nobody_waits_either():
    queue, _ = waiting(("idle", 1), *[("busy", 100)] * 50)
    served(queue, 51)
    waiting(*[("busy", 100)] * 4, *[("idle", 100)] * 4, queue=queue)
    assert Counter(served(queue, 4)) == {"idle": 2, "busy": 2}


def test_to_leave_and_come_back_wipes_no_debt():
    queue, _ = waiting(("rest", 100), ("greedy", 1000), *[("rest", 100)] * 50)
    assert served(queue, 3) == ["rest", "greedy", "rest"]
    waiting(("greedy", 10), queue=queue)
    assert served(queue, 8) == ["rest"] * 8


def test_settling_corrects_what_was_charged():
    queue, _ = waiting(*[("a", 100)] * 10, *[("b", 100)] * 10)
    (payer_a, stood_a), (payer_b, stood_b) = serve_and_note(queue), serve_and_note(queue)
    queue.settle(payer_a, 300, stood_at=stood_a)
    assert served(queue, 3) == [*"bbb"]
    queue.settle(payer_b, -200, stood_at=stood_b)
    assert served(queue, 2) == [*"bb"]


def test_settling_weighs_by_the_share():
    queue, _ = waiting(*[("a", 100, 2.0)] * 10, *[("b", 100)] * 10)
    payer, stood_at = serve_and_note(queue)
    assert served(queue, 2) == [*"ba"]
    queue.settle(payer, 200, stood_at=stood_at)
    assert served(queue, 1) == [*"b"]


def test_a_credit_from_before_a_pause_is_none_after_it():
    queue, _ = waiting(("a", 1000), *[("b", 100)] * 60)
    payer, stood_at = serve_and_note(queue)
    assert served(queue, 40) == [*"b"] * 40
    waiting(*[("a", 100)] * 10, queue=queue)
    queue.settle(payer, -1000, stood_at=stood_at)
    assert Counter(served(queue, 6)) == {"a": 3, "b": 3}


def test_a_forgotten_user_that_cost_more_is_remembered_from_where_it_stood():
    queue, _ = waiting(("a", 1), *[("b", 100)] * 20)
    payer, stood_at = serve_and_note(queue)
    served(queue, 3)
    assert queue.users == 1
    queue.settle(payer, 600, stood_at=stood_at)
    waiting(*[("a", 100)] * 5, queue=queue)
    assert served(queue, 6) == [*"bbbbab"]


def test_a_forgotten_user_that_cost_little_more_stays_forgotten():
    queue, _ = waiting(("a", 1), *[("b", 100)] * 20)
    payer, stood_at = serve_and_note(queue)
    served(queue, 3)
    queue.settle(payer, 200, stood_at=stood_at)
    queue.settle(payer, -1, stood_at=stood_at)
    assert queue.users == 1


def test_one_set_aside_is_passed_over_and_keeps_place_and_counter():
    queue, (first, second, other) = waiting(("a", 10), ("a", 10), ("b", 10))
    queue.set_aside(first)
    assert queue.head() is second
    queue.set_aside(second)
    assert (queue.head(), len(queue), queue.aside) == (other, 3, 2)
    queue.take(other)
    assert queue.head() is None
    queue.bring_back()
    assert (queue.head(), queue.aside) == (first, 0)
    assert served(queue, 2) == [*"aa"]


def test_one_set_aside_may_leave():
    queue, (first, second) = waiting(("a", 10), ("a", 10))
    queue.set_aside(first)
    queue.remove(first)
    queue.bring_back()
    assert (queue.head(), len(queue)) == (second, 1)


def test_one_who_is_not_there_cannot_be_removed():
    queue, (first, _) = waiting(("a", 1), ("a", 1))
    queue.remove(first)
    with pytest.raises(KeyError):
        queue.remove(first)


def test_it_takes_the_place_of_the_fifo():
    room = WaitingRoom(1, 5, FairQueue())
    seated, *row = [Ticket(1, Payer(user)) for user in ("a", "a", "a", "b")]
    for each in (seated, *row):
        room.enter(each)
    assert room.leave(seated) == (row[0],)
    room.leave(row[1])
    assert room.leave(row[0]) == (row[2],)
    assert row[2].state is State.SEATED


def test_users_that_are_gone_are_forgotten():
    queue = FairQueue()
    for number in range(2000):
        waiting((f"user {number}", 10), ("steady", 10), queue=queue)
        served(queue, 2)
    assert queue.users <= 2


def test_too_many_debts_are_forgiven_the_smallest_first():
    queue = FairQueue(max_debts=3)
    waiting(*[("steady", 1)] * 100, queue=queue)
    for number in range(10):
        each = ticket(f"user {number}", 1000 + number)
        queue.push(each)
        queue.take(each)
    assert queue.users == 4
    assert set(queue._users) == {"steady", "user 7", "user 8", "user 9"}


def test_entries_that_are_overtaken_are_not_kept():
    queue, _ = waiting(*[("a", 10)] * 2, *[("b", 10)] * 2)
    (payer_a, stood_a), (payer_b, stood_b) = serve_and_note(queue), serve_and_note(queue)
    for _ in range(10_000):
        queue.settle(payer_a, 1, stood_at=stood_a)
        queue.settle(payer_b, 2, stood_at=stood_b)
    assert len(queue._active._heap) < 100


class Queues(RuleBasedStateMachine):
    """Against a model that keeps lists and looks through all of them."""

    def __init__(self):
        super().__init__()
        self.queue = FairQueue()
        self.row: list[Ticket] = []
        self.aside: list[Ticket] = []
        self.taken: list[tuple[Payer, float]] = []
        self.counters: dict[str, float] = {}
        self.bases: dict[str, float] = {}
        self.floor = 0.0

    def lowest(self):
        here = [self.counters[one.held.user] for one in self.row if one not in self.aside]
        return min(here, default=self.floor)

    def waits(self, user):
        return any(one.held.user == user for one in self.row)

    def forget(self):
        lowest = self.lowest()
        for user in [user for user in self.counters if not self.waits(user) and not self.aside]:
            if self.counters[user] <= lowest:
                del self.counters[user]

    def expected_head(self):
        oldest = {}
        for one in self.row:
            if one not in self.aside:
                oldest.setdefault(one.held.user, one)
        order = lambda one: (self.counters[one.held.user], self.row.index(one))  # noqa: E731
        return min(oldest.values(), key=order, default=None)

    @rule(user=st.sampled_from("abcd"), cost=COSTS, share=st.sampled_from((1.0, 2.0, 4.0)))
    def push(self, user, cost, share):
        one, lowest = ticket(user, cost, share), self.lowest()
        if not self.waits(user) and self.counters.get(user, -math.inf) <= lowest:
            self.counters[user] = self.bases[user] = lowest
        self.row.append(one)
        self.queue.push(one)
        self.forget()

    @precondition(lambda self: self.row)
    @rule(data=st.data(), served=st.booleans())
    def leave(self, data, served):
        one = data.draw(st.sampled_from(self.row))
        payer = one.held
        self.row.remove(one)
        if one in self.aside:
            self.aside.remove(one)
        if served:
            self.counters[payer.user] += payer.cost / payer.share
            self.taken.append((payer, self.counters[payer.user]))
        if not self.row:
            self.floor = max(self.floor, self.counters[payer.user])
        if served:
            assert self.queue.take(one) == self.counters[payer.user]
        else:
            self.queue.remove(one)
        self.forget()

    @precondition(lambda self: self.expected_head())
    @rule()
    def set_aside(self):
        one = self.expected_head()
        self.aside.append(one)
        self.queue.set_aside(one)

    @rule()
    def bring_back(self):
        self.aside.clear()
        self.queue.bring_back()
        self.forget()

    @precondition(lambda self: self.taken)
    @rule(data=st.data(), tokens=st.integers(-500, 500))
    def settle(self, data, tokens):
        payer, stood_at = data.draw(st.sampled_from(self.taken))
        user, extra = payer.user, tokens / payer.share
        if user in self.counters:
            self.counters[user] = max(self.counters[user] + extra, self.bases[user])
        elif stood_at + extra > self.lowest():
            self.counters[user], self.bases[user] = stood_at + extra, self.lowest()
        self.queue.settle(payer, tokens, stood_at=stood_at)
        self.forget()

    @invariant()
    def the_next_one_is_the_models(self):
        assert self.queue.head() is self.expected_head()

    @invariant()
    def the_numbers_agree(self):
        assert (len(self.queue), self.queue.aside) == (len(self.row), len(self.aside))
        assert set(self.queue._users) == set(self.counters)


TestQueues = Queues.TestCase
TestQueues.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(st.sampled_from("abcde"), st.integers(0, 100), min_size=2, max_size=5),
    st.randoms(use_true_random=False),
)
def test_shares_of_users_that_always_wait_differ_by_one_largest_request_at_most(priorities, chance):
    queue, tokens, largest = FairQueue(), Counter(), Counter()
    for user, priority in priorities.items():
        for _ in range(2):
            queue.push(ticket(user, chance.randint(1, 1000), share_of(priority)))
    for _ in range(400):
        head = queue.head()
        payer = head.held
        queue.take(head)
        tokens[payer.user] += payer.cost
        largest[payer.user] = max(largest[payer.user], payer.cost)
        queue.push(ticket(payer.user, chance.randint(1, 1000), payer.share))
    for one in priorities:
        for other in priorities:
            gap = tokens[one] / share_of(priorities[one]) - tokens[other] / share_of(priorities[other])
            assert gap <= largest[one] / share_of(priorities[one]) + 1e-6


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), COSTS), min_size=1, max_size=40), st.integers(0, 100), COSTS)
def test_nobody_starves_whatever_the_others_push(others, priority, cost):
    """Six users of any weight that push again as soon as they are served: the one request is served all the same."""
    queue, mine = FairQueue(), ticket("me", cost, share_of(0))
    for user, price in others:
        queue.push(ticket(user, price, share_of(priority)))
    queue.push(mine)
    bound = 6 + len(others)
    for _ in range(bound):
        head = queue.head()
        queue.take(head)
        if head is mine:
            return
        queue.push(ticket(head.held.user, head.held.cost, head.held.share))
    pytest.fail(f"not served within {bound} turns")


@settings(deadline=None, max_examples=80)
@given(st.integers(1, 4), st.integers(1, 5), st.randoms(use_true_random=False))
def test_a_light_user_waits_for_one_request_a_server_and_one_of_each_heavy_user(servers, heavy_users, chance):
    queue, in_service = FairQueue(), []
    for user in range(heavy_users):
        for _ in range(50):
            queue.push(ticket(f"heavy {user}", chance.randint(500, 1000)))
    for _ in range(servers + chance.randint(0, 30)):
        in_service.append(queue.head())
        queue.take(in_service[-1])
    light = ticket("light", 10)
    queue.push(light)
    started = 0
    while queue.head() is not light:
        serve(queue)
        started += 1
    assert started <= heavy_users


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5)), max_size=30))
def test_the_same_pushes_are_served_in_the_same_order(pushes):
    one, _ = waiting(*pushes)
    other, _ = waiting(*pushes)
    assert served(one, len(pushes)) == served(other, len(pushes))


def test_a_long_life_of_random_users_keeps_memory_and_order():
    chance, queue = random.Random(7), FairQueue(max_debts=50)
    row = []
    for _ in range(20_000):
        if row and (len(row) > 100 or chance.random() < 0.5):
            head = queue.head()
            row.remove(head)
            queue.take(head)
        else:
            one = ticket(f"user {chance.randrange(10_000)}", chance.randint(1, 500), share_of(chance.randrange(101)))
            row.append(one)
            queue.push(one)
    assert len(queue) == len(row)
    assert queue.users <= len(row) + 50
    assert len(queue._active._heap) <= 2 * len(row) + 100
    assert len(queue._debtors._heap) <= 2 * 50 + 100
