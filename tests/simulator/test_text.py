"""What the model says is a function of seed, voice and prompt, and goes on where it was cut."""

from hypothesis import example, given
from hypothesis import strategies as st

from citadel_edge.simulator.text import VOCABULARY, Voice, count_tokens, tokens

ENOUGH = 1000
prompts = st.text(max_size=40)
voices = st.builds(Voice, seed=st.integers(0, 99), name=st.sampled_from(["a", "b"]), shortest=st.just(1))


def say(voice, prompt, said="", **options):
    return "".join(voice.answer(prompt, said, limit=ENOUGH, **options))


def test_the_vocabulary_has_a_word_for_each_byte_and_each_is_one_token():
    assert len(VOCABULARY) == 256
    assert all(count_tokens(word) == 1 and word.startswith(" ") for word in VOCABULARY)


def test_the_vocabulary_has_characters_of_two_three_and_four_bytes():
    assert {len(char.encode()) for word in VOCABULARY for char in word} == {1, 2, 3, 4}


@given(st.text())
def test_tokens_joined_are_the_text(text):
    assert "".join(tokens(text)) == text
    assert count_tokens(text) == len(tokens(text))


@given(voice=voices, prompt=prompts, cut=st.integers(0, 10_000))
def test_a_chat_continued_at_any_character_says_the_rest(voice, prompt, cut):
    whole = say(voice, prompt)
    place = cut % (len(whole) + 1)
    assert say(voice, prompt, whole[:place]) == whole[place:]


@given(voice=voices, prompt=prompts, start=prompts, cut=st.integers(0, 10_000))
@example(voice=Voice(seed=1, name="a"), prompt="", start="the state ", cut=9)
@example(voice=Voice(seed=1, name="a"), prompt="", start="ends in space \n", cut=30)
def test_a_started_or_raw_text_continued_at_any_character_says_the_rest(voice, prompt, start, cut):
    whole = say(voice, prompt, start)
    place = cut % (len(whole) + 1)
    assert say(voice, prompt, start + whole[:place]) == whole[place:]


@given(voice=voices, prompt=prompts, start=prompts, cuts=st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_an_answer_broken_many_times_is_the_same_answer(voice, prompt, start, cuts):
    whole, text = say(voice, prompt, start), start
    for cut in cuts:
        text += say(voice, prompt, text)[:cut]
    assert (text + say(voice, prompt, text)) == start + whole


@given(voice=voices, prompt=prompts, tokens_before=st.integers(0, 60))
def test_tokens_before_and_after_a_cut_between_tokens_add_up(voice, prompt, tokens_before):
    whole = voice.answer(prompt, limit=ENOUGH)
    before = whole[:tokens_before]
    after = voice.answer(prompt, "".join(before), limit=ENOUGH)
    assert len(before) + len(after) == len(whole) == count_tokens("".join(whole))


@given(voice=voices, prompt=prompts, cut=st.integers(0, 2_000))
def test_an_endless_answer_goes_on_past_its_end_also_when_it_is_continued(voice, prompt, cut):
    whole = say(voice, prompt, endless=True)
    assert whole.startswith(say(voice, prompt))
    rest = say(voice, prompt, whole[:cut], endless=True)
    assert rest.startswith(whole[cut:])


@given(voice=voices, prompt=prompts)
def test_the_length_is_within_its_bounds(voice, prompt):
    assert voice.shortest <= len(voice.answer(prompt, limit=ENOUGH)) <= voice.longest


def test_seed_voice_prompt_and_foreign_beginning_each_change_the_answer():
    base = say(Voice(seed=1, name="a"), "x")
    others = [say(Voice(seed=2, name="a"), "x"), say(Voice(seed=1, name="b"), "x"), say(Voice(seed=1, name="a"), "y")]
    others.append(say(Voice(seed=1, name="a"), "x", "something else"))
    assert len({base, *others}) == 5


def test_the_words_are_the_same_in_every_process_and_version():
    assert (
        say(Voice(seed=7, name="m", shortest=8, longest=8), "hi")
        == "after the. do made be \U0001f1fa\U0001f1f3 there, \U0001f469\u200d\U0001f680"
    )


def test_a_lone_surrogate_in_a_prompt_is_no_error():
    assert say(Voice(seed=1, name="a"), "\ud800", "\udc00")
