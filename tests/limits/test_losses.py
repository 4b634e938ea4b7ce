"""How much another Redis process may have missed, at most."""

from dataclasses import replace

from citadel_edge.limits.losses import Looks, Loss
from citadel_edge.storage.redis_roll_call import Primary

NONE = b"0" * 40


def primary(name, *, offset=0, inherited=NONE, until=-2):
    return Primary(
        run_id=name.encode(), history=b"h " + name.encode(), offset=offset, inherited=inherited, inherited_offset=until
    )


A = primary("a")


def heir(name="b", *, of=A, until):
    return primary(name, inherited=of.history, until=until)


def looked(*times):
    """After looks at `A`, each at `(writes, now_s, offset)`."""
    looks = Looks()
    for writes, now_s, offset in times:
        assert looks.look([replace(A, offset=offset)], writes=writes, now_s=now_s) is None
    return looks


def test_what_was_answered_before_the_last_look_that_the_heir_covers_is_there():
    looks = looked((10, 1.0, 100), (20, 2.0, 200), (30, 3.0, 300))
    assert looks.look([heir(until=250)], writes=35, now_s=5.0) == Loss(15, 3.0)


def test_all_up_to_the_last_look_may_be_there():
    looks = looked((10, 1.0, 100), (20, 2.0, 200))
    assert looks.look([heir(until=200)], writes=20, now_s=4.0) == Loss(0, 2.0)


def test_an_heir_that_covers_no_look_may_have_missed_anything():
    assert looked((10, 1.0, 100)).look([heir(until=99)], writes=11, now_s=2.0) == Loss(None, None)


def test_a_server_that_inherited_nothing_may_have_missed_anything():
    assert looked((10, 1.0, 100)).look([primary("b")], writes=11, now_s=2.0) == Loss(None, None)
    other = heir(of=primary("c"), until=10**6)
    assert looked((10, 1.0, 100)).look([other], writes=11, now_s=2.0) == Loss(None, None)


def test_offsets_of_an_earlier_history_do_not_count():
    """A primary begins a new one when its first replica comes."""
    looks = Looks()
    looks.look([replace(A, history=b"before", offset=1)], writes=5, now_s=1.0)
    looks.look([replace(A, offset=50)], writes=9, now_s=2.0)
    assert looks.look([heir(until=60)], writes=10, now_s=3.0) == Loss(1, 1.0)


def test_the_same_servers_lose_nothing():
    looks = looked((10, 1.0, 100), (20, 2.0, 200))
    assert looks.look([replace(A, offset=1)], writes=30, now_s=3.0) is None


def test_a_cluster_that_grows_or_shrinks_loses_nothing():
    looks = Looks()
    b, c = primary("b"), primary("c")
    for present in ([A, b], [A, b, c], [A, c], [A]):
        assert looks.look(present, writes=1, now_s=1.0) is None


def test_of_several_that_changed_the_longest_loss_is_told():
    looks = Looks()
    b = primary("b")
    looks.look([A, b], writes=10, now_s=1.0)
    looks.look([replace(A, offset=10), replace(b, offset=10)], writes=20, now_s=2.0)
    changed = [heir("c", until=10), heir("d", of=b, until=5)]
    assert looks.look(changed, writes=25, now_s=3.0) == Loss(15, 2.0)
    assert looks.look([changed[0], primary("e")], writes=30, now_s=4.0) == Loss(None, None)


def test_where_one_does_not_say_who_it_is_the_next_look_compares():
    looks = looked((10, 1.0, 100))
    assert looks.look([replace(A, run_id=b"")], writes=20, now_s=2.0) is None
    assert looks.look([heir(until=100)], writes=30, now_s=3.0) == Loss(20, 2.0)
