"""Reservations that were handed out by id are forgotten when they expire, and cost nothing until then."""

from citadel_edge.limits.claims import Home, Reservation
from citadel_edge.limits.open_reservations import SETTLED_ON_TOP, OpenReservations
from limits.asked import order


def lent(name, expires_s, home=Home.REDIS):
    made = order(reservation=name)
    return Reservation(id=name, order=made, began_s=0.0, expires_s=expires_s, held=False, home=home)


def test_those_that_expired_are_forgotten_unless_they_were_renewed_or_redis_does_not_know_them():
    open_ = OpenReservations()
    gone, renewed, unknown, later = lent("a", 5), lent("b", 5), lent("c", 5, Home.UNCERTAIN), lent("d", 9)
    for one in (gone, renewed, unknown, later):
        open_.add(one)
    renewed.expires_s = 20.0
    open_.forget_expired(5)
    assert len(open_) == 4
    for now_s in (6, 7):
        open_.forget_expired(now_s)
        assert list(open_) == [renewed, unknown, later]
    open_.confirmed(unknown)
    open_.forget_expired(10)
    assert list(open_) == [renewed]
    open_.forget_expired(21)
    assert not len(open_)


def test_what_was_settled_is_not_remembered_for_long():
    open_ = OpenReservations()
    kept = lent("kept", 3600)
    open_.add(kept)
    for number in range(3 * SETTLED_ON_TOP):
        open_.add(one := lent(f"{number}", 3600))
        open_.remove(one)
        open_.forget_expired(1)
    assert len(open_._expiries) <= SETTLED_ON_TOP + 3
    open_.forget_expired(3601)
    assert not len(open_)
