"""Where a continued answer meets what was said: nothing doubled, nothing lost, no other answer joined on."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from citadel_edge.completions.seam import HOLD, LONGEST_END, Cut, Ruling, Seam, cut

SAID = "The capital of France is Paris, and its river"
REST = " is the Seine."


def judged(seam: Seam, text: str, *, size: int = 1) -> tuple[Ruling, int]:
    """The ruling on a text that comes in pieces of this size, and how much of it had come."""
    for end in range(size, len(text) + size, size):
        ruling = seam.judge(text[:end], final=end >= len(text))
        if ruling is not None:
            return ruling, min(end, len(text))
    ruling = seam.judge(text, final=True)
    assert ruling is not None, "the end of the text decides"
    return ruling, len(text)


def seam_of(said: str, part: Cut | None = None, **more: object) -> Seam:
    part = part or Cut(text=said)
    return Seam(said=said, given=said, end=part.end, again=part.again, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, 2, 5, 50])
def test_what_goes_on_passes_at_once(size: int) -> None:
    ruling, seen = judged(seam_of(SAID), REST, size=size)
    assert ruling == Ruling()
    assert seen == min(size, len(REST))


@pytest.mark.parametrize("size", [1, 3, 7, 500])
def test_what_was_said_is_not_said_again(size: int) -> None:
    ruling, seen = judged(seam_of(SAID), SAID + REST, size=size)
    assert (ruling.skip, ruling.restarted) == (len(SAID), None)
    assert seen >= len(SAID)


@pytest.mark.parametrize("said", ["The", "Zoë", "Sure"])
def test_a_word_is_not_doubled(said: str) -> None:
    assert judged(seam_of(said), said + REST)[0].skip == len(said)


@pytest.mark.parametrize("said", ["1", "11", "ha", "- ", " no", "\n", "...", "哈哈哈", "hahaha"])
def test_what_may_well_be_said_twice_is(said: str) -> None:
    assert judged(seam_of(said), said + "!")[0] == Ruling()


def test_an_answer_that_repeats_itself_may_go_on_doing_so() -> None:
    said = "I am not sure what it is. " * 3
    assert judged(seam_of(said), said + "I am")[0] == Ruling()


@pytest.mark.parametrize("size", [1, 9, 100])
def test_an_answer_that_begins_anew_and_then_differs_is_refused(size: int) -> None:
    said = "It was a bright cold day in April, and the clocks were striking thirteen. Winston Smith went in."
    ruling, _ = judged(seam_of(said), said[:80] + "twelve. Nobody went in.", size=size)
    assert ruling.restarted


def test_an_answer_that_begins_anew_and_ends_is_refused() -> None:
    said = "".join(f"word{n} " for n in range(40))
    assert judged(seam_of(said), said[:100])[0].restarted


def test_no_more_than_so_much_is_held_back() -> None:
    said = "".join(f"word{n} " for n in range(HOLD))
    ruling, seen = judged(seam_of(said), said, size=64)
    assert ruling.restarted
    assert seen <= HOLD + 64


def test_an_echo_in_one_piece_is_taken_off_whatever_its_length() -> None:
    said = "".join(f"word{n} " for n in range(HOLD))
    ruling = seam_of(said).judge(said + "and on", final=False)
    assert ruling == Ruling(skip=len(said))


def test_a_few_words_in_common_are_chance() -> None:
    assert judged(seam_of("The dog sleeps. "), "The cat does not.")[0] == Ruling()


@pytest.mark.parametrize(
    ("parts", "keeps_end", "text", "end", "again", "tokens"),
    [
        (["a", " b"], False, "a b", "", "", 0),
        (["a", " b", "\n\n"], False, "a b", "\n\n", "\n\n", 1),
        (["a", " b", "\n", " ", " "], False, "a b", "\n  ", "\n  ", 3),
        (["a", ".\n\n"], False, "a.\n\n", "\n\n", "", 0),
        (["a", ".\n", "\n"], False, "a.\n", "\n\n", "\n", 1),
        (["a", "\n"], True, "a\n", "", "", 0),
        (["\n", " "], False, "", "\n ", "\n ", 2),
        ([], False, "", "", "", 0),
        (["a", " " * (LONGEST_END + 1)], False, "a" + " " * (LONGEST_END + 1), "", "", 0),
    ],
)
def test_a_text_is_cut_between_tokens_before_the_white_space_that_may_be_trimmed(
    parts: list[str], *, keeps_end: bool, text: str, end: str, again: str, tokens: int
) -> None:
    assert cut(parts, keeps_end=keeps_end) == Cut(text=text, end=end, again=again, tokens=tokens)


TOKEN = st.text(st.sampled_from("ab .\n\N{ROCKET}é"), min_size=1, max_size=4)


@given(
    tokens=st.lists(TOKEN, min_size=1, max_size=12),
    place=st.integers(1, 12),
    size=st.integers(1, 5),
    trims=st.booleans(),
)
def test_an_engine_that_trims_or_not_joins_without_a_seam(
    tokens: list[str], place: int, size: int, *, trims: bool
) -> None:
    """The one engine reads what it is given as it stands, the other without the white space at its end."""
    place = min(place, len(tokens))
    whole, said = "".join(tokens), "".join(tokens[:place])
    part = cut(tokens[:place], keeps_end=False)
    read = part.text.rstrip() if trims else part.text
    kept_inside = part.end.removesuffix(part.again)
    assume(trims or not kept_inside or not whole[len(part.text) :].startswith(part.end))
    assume(not whole[len(read) :].startswith(said) or not said.strip())
    ruling, _ = judged(seam_of(said, part), whole[len(read) :], size=size)
    assume(ruling.restarted is None)
    assert said + whole[len(read) :][ruling.skip :] == whole


def test_white_space_of_another_kind_gives_way_to_what_was_said() -> None:
    seam = Seam(said="word\n\n", given="word\n\n", end="\n\n", again="\n\n")
    assert seam.judge(" ", final=False) is None
    assert seam.judge(" Next", final=False) == Ruling(skip=1)


@pytest.mark.parametrize(
    ("said", "head", "goes_on"),
    [
        ("The capital", " of France", True),
        ("The capital", ", that is", True),
        ("The capital", "The city", False),
        ("The capital", "city", False),
        (" The capital", " of France", False),
        ("The capital is ", "Paris", False),
        ("The capital", "", True),
        ("The capital of France is Paris", "The capital of France is Paris.", True),
    ],
)
def test_who_is_not_known_to_go_on_must_show_it(said: str, head: str, *, goes_on: bool) -> None:
    ruling, _ = judged(seam_of(said, sure=False), head, size=100)
    assert (ruling.restarted is None) is goes_on


def test_white_space_said_again_shows_it_too() -> None:
    seam = Seam(said="word\n", given="word\n", end="\n", again="\n", sure=False)
    assert seam.judge("\nNext", final=False) == Ruling(skip=1)


@pytest.mark.parametrize("size", [1, 2, 20])
@pytest.mark.parametrize(
    ("said", "text", "stop"),
    [
        ("one\nQues", "tion: two", 0),
        ("one\n", "Question: two", 0),
        ("one", "\nQuestion: two", None),
        ("one\nQues", "ts go on", None),
        ("one\nQues", "tio", None),
    ],
)
def test_a_stop_string_across_the_seam_is_seen(said: str, text: str, stop: int | None, size: int) -> None:
    ruling, _ = judged(seam_of(said, stops=("\nQuestion:",)), text, size=size)
    assert (ruling.stop, ruling.skip) == (stop, 0)


def test_a_stop_string_that_belongs_to_the_answer_is_kept() -> None:
    seam = seam_of("so it ENDS_", stops=("ENDS_HERE",), keeps_stop=True)
    assert seam.judge("HERE and not here", final=False) == Ruling(stop=4)


def test_of_two_stop_strings_either_holds() -> None:
    seam = seam_of("a<", stops=("<end>", "<"))
    assert seam.judge("en", final=False) is None
    assert seam.judge("end>", final=False) == Ruling(stop=0)


@given(said=st.text(max_size=80), head=st.text(max_size=80), sure=st.booleans(), stops=st.lists(st.text(max_size=4)))
def test_the_end_always_decides_and_within_the_head(said: str, head: str, stops: list[str], *, sure: bool) -> None:
    part = cut([said], keeps_end=False)
    seam = seam_of(said, part, sure=sure, stops=tuple(filter(None, stops)))
    ruling = seam.judge(head, final=True)
    assert ruling is not None
    assert 0 <= ruling.skip <= len(head)
