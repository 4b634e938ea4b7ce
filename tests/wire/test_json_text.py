"""What a text that is no JSON is said to be."""

import msgspec
import pytest

from citadel_edge.wire.json_text import flaw


def said(body, shape=None):
    with pytest.raises(msgspec.DecodeError) as caught:
        msgspec.json.decode(body, type=shape or dict)
    return flaw(body, caught.value)


@pytest.mark.parametrize(
    "text",
    [r"\ud800", r"\ud800x", r"\udc00", r"\uDBFF and more", r"\ud83d\n\ude00", r"\ud83d\ud83d\ude00", r"a\\\ud800"],
)
def test_half_a_character_is_named(text):
    assert "lone surrogate" in said(b'{"a": "%b"}' % text.encode())


@pytest.mark.parametrize("text", ["{", '{"a', r'{"a": "\ud83d\ude00', r'{"a": "\\ud800', '{"a": "\\'])
def test_what_ends_too_early_is_told_from_it(text):
    assert said(text.encode()) == f"it ends too early (byte {len(text)})"


def test_other_flaws_are_said_as_the_parser_says_them():
    assert "byte 1" in said(b"{x: 1}")
    assert said(rb'{"a": "\ud83d\ude00"}', dict[str, int]) == "Expected `int`, got `str` - at `$[...]`"
