"""Where a command's key stands, and who serves it."""

import pytest

from citadel_edge.config.addresses import Address
from citadel_edge.storage.redis_shape import is_sound, shape_of
from citadel_edge.storage.redis_slots import SLOTS, slot_of, slot_of_key

KEY = slot_of_key("key")


def test_keys_are_hashed_as_the_specification_says():
    """The check value of its CRC16, and its examples of hash tags."""
    assert slot_of_key("123456789") == 0x31C3 % SLOTS
    assert slot_of_key("{user1000}.following") == slot_of_key(b"{user1000}.followers") == slot_of_key("user1000")
    assert slot_of_key("foo{{bar}}zap") == slot_of_key("{bar")
    assert slot_of_key("foo{bar}{zap}") == slot_of_key("bar")
    assert slot_of_key("foo{}{bar}") != slot_of_key("bar")


@pytest.mark.parametrize(
    ("args", "slot"),
    [
        (("GET", "key"), KEY),
        (("HGET", b"key", "field"), KEY),
        (("EVALSHA", b"0" * 40, 2, "key", "key", "more"), KEY),
        (("EVAL", "return 1", 1, "key"), KEY),
        (("EVAL", "return 1", 0, "no key"), None),
        (("XREAD", "COUNT", 10, "STREAMS", "key", "0-0"), KEY),
        (("XREADGROUP", "GROUP", "g", "c", "STREAMS", "key", ">"), KEY),
        (("PING",), None),
        (("PUBLISH", "key", "news"), None),
        (("INFO", "server"), None),
        (("DBSIZE",), None),
    ],
)
def test_the_first_key_decides(args, slot):
    assert slot_of(args) == slot


def test_a_shape_is_read_from_what_a_node_says():
    asked = Address("10.0.0.9", 7000)
    reply = [
        [5461, 10922, [b"10.0.0.2", 7002, b"id2", []], [b"10.0.0.5", 7005, b"id5", []]],
        [0, 5459, [None, 7001, b"id1", {}]],
        [5460, 5460, [b"10.0.0.2", 7002, b"id2"]],
        [10923, 16383, [b"node.internal", 7003, b"id3", []]],
    ]
    assert shape_of(reply, asked) == {
        Address("10.0.0.9", 7001): ((0, 5459),),
        Address("10.0.0.2", 7002): ((5460, 5460), (5461, 10922)),
        Address("node.internal", 7003): ((10923, 16383),),
    }


def test_a_node_that_has_lost_the_others_is_not_sound():
    assert is_sound(b"cluster_state:ok\r\ncluster_slots_assigned:16384\r\n")
    assert not is_sound(b"cluster_state:fail\r\ncluster_slots_assigned:16384\r\n")
