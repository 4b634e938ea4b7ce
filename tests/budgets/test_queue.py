from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from citadel_edge.budgets.queue import Fifo, State, Ticket, WaitingRoom


class Rooms(RuleBasedStateMachine):
    """Against a model that is two lists and no cleverness."""

    def __init__(self):
        super().__init__()
        self.room = WaitingRoom(3, 4)
        self.seated: list[Ticket] = []
        self.waiting: list[Ticket] = []
        self.gone: list[Ticket] = []

    def taken(self):
        return sum(ticket.seats for ticket in self.seated)

    def expect_called(self):
        """Who must be seated now, in order: the head and on, as long as it fits."""
        called, taken = [], self.taken()
        for ticket in self.waiting:
            need = min(ticket.weight, self.room.seats)
            if taken + need > self.room.seats:
                break
            called.append(ticket)
            taken += need
        return tuple(called)

    def move(self, called):
        for ticket in called:
            self.waiting.remove(ticket)
            self.seated.append(ticket)

    @rule(weight=st.integers(1, 6))
    def enter(self, weight):
        ticket = Ticket(weight, None)
        fits = not self.waiting and self.taken() + min(weight, self.room.seats) <= self.room.seats
        welcome = fits or len(self.waiting) < self.room.places
        assert self.room.enter(ticket) == welcome
        (self.seated if fits else self.waiting if welcome else self.gone).append(ticket)

    @precondition(lambda self: self.seated or self.waiting)
    @rule(data=st.data())
    def leave(self, data):
        ticket = data.draw(st.sampled_from(self.seated + self.waiting))
        (self.seated if ticket in self.seated else self.waiting).remove(ticket)
        expected = self.expect_called()
        assert self.room.leave(ticket) == expected
        self.move(expected)
        self.gone.append(ticket)

    @precondition(lambda self: self.gone)
    @rule(data=st.data())
    def leave_again(self, data):
        assert self.room.leave(data.draw(st.sampled_from(self.gone))) == ()

    @rule(seats=st.integers(1, 6), places=st.integers(0, 5))
    def resize(self, seats, places):
        called = self.room.resize(seats, places)
        assert called == self.expect_called()
        self.move(called)

    @invariant()
    def the_room_agrees_with_the_lists(self):
        assert self.room.taken == self.taken()
        assert self.room.waiting == len(self.waiting)
        assert all(ticket.state is State.SEATED and ticket.seats >= 1 for ticket in self.seated)
        assert all(ticket.state is State.WAITING and ticket.seats == 0 for ticket in self.waiting)
        assert all(ticket.state is State.GONE and ticket.seats == 0 for ticket in self.gone)

    @invariant()
    def nobody_waits_for_a_seat_that_is_free(self):
        assert self.expect_called() == ()

    def teardown(self):
        for ticket in [*self.waiting, *self.seated]:
            self.room.leave(ticket)
        assert (self.room.taken, self.room.waiting) == (0, 0)


TestRooms = Rooms.TestCase
TestRooms.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def enter(room, count, weight=1):
    tickets = [Ticket(weight, None) for _ in range(count)]
    return tickets, [room.enter(ticket) for ticket in tickets]


def test_fifty_seats_and_a_hundred_places_take_exactly_150_of_300():
    room = WaitingRoom(50, 100)
    tickets, welcome = enter(room, 300)
    assert welcome == [True] * 150 + [False] * 150
    assert [ticket.state for ticket in tickets[:150]] == [State.SEATED] * 50 + [State.WAITING] * 100


def test_a_light_one_does_not_overtake_a_heavy_one():
    room = WaitingRoom(2, 5)
    (first,), _ = enter(room, 1)
    (heavy,), _ = enter(room, 1, weight=2)
    (light,), _ = enter(room, 1)
    assert light.state is State.WAITING
    assert room.leave(first) == (heavy,)
    assert room.leave(heavy) == (light,)


def test_a_heavy_head_that_gives_up_lets_the_light_ones_in():
    room = WaitingRoom(2, 5)
    (first,), _ = enter(room, 1)
    (heavy,), _ = enter(room, 1, weight=2)
    (light,), _ = enter(room, 1)
    assert room.leave(heavy) == (light,)
    assert room.taken == 2
    assert first.state is State.SEATED


def test_without_places_nobody_waits():
    assert enter(WaitingRoom(1, 0), 2)[1] == [True, False]


def test_another_order_takes_the_place_of_the_fifo():
    class LastFirst(Fifo):
        def head(self):
            return next(reversed(self._tickets.values()), None)

    room = WaitingRoom(1, 5, LastFirst())
    (first, second, third), _ = enter(room, 3)
    assert room.leave(first) == (third,)
    assert room.leave(third) == (second,)
