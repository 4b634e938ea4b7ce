"""What is seen of a request."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.config.shape import Capability
from citadel_edge.routing.features import LONG_TOKENS, Features, Sample, cheap, full, language_of
from routing.labelled import labelled


def seen(question: str, *, system: str = "", recent: str = "", **more: object) -> Features:
    sample = Sample(system=system, recent=recent, question=question)
    return full(sample, **{"tokens_in": 10, "tokens_out": 10, **more})  # type: ignore[arg-type]


def test_tasks_and_languages_of_labelled_prompts() -> None:
    rows = labelled()
    right_tasks = Counter(seen(row.text).task == row.task for row in rows)
    right_languages = Counter(seen(row.text).language == row.language for row in rows)
    assert len(rows) >= 200
    assert right_tasks[True] / len(rows) >= 0.94
    assert right_languages[True] / len(rows) >= 0.94


def test_prompts_that_nothing_was_tuned_on_are_told_apart_too() -> None:
    rows = labelled("fresh")
    assert sum(seen(row.text).task == row.task for row in rows) / len(rows) >= 0.8
    assert sum(seen(row.text).language == row.language for row in rows) / len(rows) >= 0.85


def test_what_is_not_told_apart_is_taken_for_chat_rather_than_for_another_task() -> None:
    rows = labelled() + labelled("fresh")
    mistaken = [row for row in rows if seen(row.text).task not in (row.task, "chat")]
    assert len(mistaken) / len(rows) <= 0.03


@pytest.mark.parametrize("task", ["chat", "code", "math", "reasoning"])
def test_no_task_is_mostly_mistaken(task: str) -> None:
    rows = [row for row in labelled() if row.task == task]
    assert sum(seen(row.text).task == task for row in rows) / len(rows) >= 0.85


def test_a_short_follow_up_is_understood_by_what_came_before() -> None:
    before = "Write a SQL query that joins orders and customers.\n```sql\nSELECT * FROM orders\n```"
    assert seen("and now sorted").task == "chat"
    assert seen("and now sorted", recent=before).task == "code"
    assert (
        seen("and now?", system="You are a senior Python developer. Reply with code and unit tests only.").task
        == "code"
    )


def test_effort_asked_of_the_model_is_reasoning() -> None:
    plain, asked = seen("Is it?"), seen("Is it?", needs=frozenset({Capability.REASONING}))
    assert plain.tasks["reasoning"] == 0
    assert asked.task == "reasoning"


def test_source_code_full_of_sums_is_code() -> None:
    assert seen("```c\nfor (int i = 0; i < 10; i++) { x += 2 * i - 1; y = x / 3; }\n```").task == "code"


def test_an_empty_prompt_is_chat_in_no_language() -> None:
    empty = seen("")
    assert (empty.task, empty.language) == ("chat", "und")


def test_a_language_is_told_by_what_most_of_it_is() -> None:
    assert language_of("Translate 你好 to English for me, please") == "en"
    assert language_of("请把 hello world 翻译成中文") == "zh"
    assert language_of("東京は日本の首都です") == "ja"
    assert language_of("123 + 456") == "und"


def test_without_a_look_at_the_text_it_is_chat() -> None:
    features = cheap(tokens_in=5, tokens_out=6, max_tokens=7, needs=frozenset({Capability.TOOLS}), stream=True)
    assert features.tasks == {"chat": 1.0, "code": 0.0, "math": 0.0, "reasoning": 0.0}
    assert (features.context_tokens, features.language, features.stream) == (5, "und", True)


def test_long_is_beyond_a_bound() -> None:
    assert not cheap(tokens_in=LONG_TOKENS, tokens_out=1).long_context
    assert seen("x", tokens_in=LONG_TOKENS + 1).long_context


@given(question=st.text(max_size=400), recent=st.text(max_size=100), system=st.text(max_size=100))
def test_any_text_has_shares_that_sum_to_one(question: str, recent: str, system: str) -> None:
    features = seen(question, recent=recent, system=system)
    assert sum(features.tasks.values()) == pytest.approx(1, abs=1e-3)
    assert min(features.tasks.values()) >= 0
    assert features.task in features.tasks
    assert seen(question, recent=recent, system=system) == features


@pytest.mark.parametrize("letter", ["a", "(", "\\", "$", "é", "文", "🙂", "_", "\n", "1 ", "$ ", "<a"])
def test_no_text_takes_long(letter: str) -> None:
    """Patterns that backtrack would take minutes, not milliseconds."""
    assert seen(letter * 100_000).tasks
