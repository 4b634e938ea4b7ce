"""A value that is replaced while others hold it."""

from citadel_edge.config.live import Live


def test_the_new_value_stands_before_anybody_is_told():
    live = Live(1)
    heard: list[tuple[str, int, int]] = []
    live.watch(lambda new: heard.append(("first", new, live.value)))
    live.watch(lambda new: heard.append(("second", new, live.value)))
    live.replace(2)
    assert heard == [("first", 2, 2), ("second", 2, 2)]
    assert live.value == 2
