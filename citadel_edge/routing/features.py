"""What a request asks of a model, from features that cost microseconds.

Decides by words, symbols and scripts how much of a prompt is conversation, code, mathematics and reasoning, which
language it is in, and whether it is long. It guesses, cheaply and always the same way: whoever knows better names the
model. Two levels: `cheap` reads no text, for requests that name their model; `full` is for those that leave the choice
to us. Refuses to know models, tokenizers and the shape of a body: estimates and texts come in as values.
"""

# ruff: noqa: RUF001 - signs and letters of many languages
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from itertools import chain, islice
from typing import Final

from msgspec import Struct

from citadel_edge.config.shape import Capability
from citadel_edge.routing.vocabulary import (
    CHAT,
    CODE,
    LETTERS,
    MATH,
    PHRASES,
    REASONING,
    SIGNS,
    STEMS,
    STOP_WORDS,
    TASKS,
    WEAK,
    WORDS,
)

LONG_TOKENS: Final = 8192
UNKNOWN: Final = "und"


_PLAIN: Final = {CHAT: 1.0, CODE: 0.0, MATH: 0.0, REASONING: 0.0}
_CHAT_PRIOR: Final = 0.6
_RECENT, _SYSTEM = 0.4, 0.4
_WORD_POINTS, _WEAK_POINTS, _STEM_POINTS, _SIGN_POINTS = 1.0, 0.5, 0.6, 1.2
_PHRASE_POINTS: Final = {CHAT: 0.5, CODE: 1.0, MATH: 0.5, REASONING: 1.0}
_MOST_POINTS: Final = 6.0
_EFFORT_POINTS: Final = 3.0
_STEM: Final = 5
_SOURCE: Final = 1.0
_NUMBERS, _NUMBERS_POINTS = 2, 0.5

_BREAKS: Final = str.maketrans(dict.fromkeys(".,;:!?()[]{}<>\"'`/\\|=+-*&^%$#@~", " "))
_GLUE: Final = re.compile(r"['’(\-]")
_EDGES: Final = '.,;:!?¿¡()[]{}<>"«»„“”…-–—`/\\|=+*。，、？！؟،'
_ASCII_WORD: Final = re.compile(r"[a-z][a-z0-9]+")
_CODE_LINE: Final = re.compile(
    r"^[ \t]*(?:def |class |import |from [\w.]+ import|function |const |let |var |public |private |static |#include|"
    r"#!/|SELECT |INSERT |UPDATE |CREATE |fn |func |package |use [\w:]+;|\$ \w|@\w+|return |if ?\(|for ?\(|while ?\(|"
    r"Traceback|\}|</?\w+>)",
    re.MULTILINE,
)
_CODE_MARK: Final = re.compile(r"\(\)|_\w|;\n|\{|=>|->|::|&&|==|!=|</|\+=")
_FAILURES: Final = ("Error:", "Exception", "Traceback")
_FILE: Final = re.compile(r"\.(?:py|js|ts|tsx|go|rs|java|cpp|c|h|cs|rb|php|sh|sql|ya?ml|json|toml|html|css)\b")
_SUM: Final = re.compile(r"[-+*/×÷^=<>≤≥]\s*\(?-?[\dxyzn]|%")
_LATEX: Final = re.compile(r"\\(?:frac|int|sum|sqrt|begin|lim|cdot|alpha|theta|pi|le|ge|in)\b|\$[^$\n]{2,60}\$")
_MATH_LETTERS: Final = frozenset("∫∑√π≤≥≠∞∂∈∀∃²³×÷∪∩")
_SCRIPTS: Final = (
    ("ja", re.compile("[\u3041-\u30ff]")),
    ("ko", re.compile("[\uac00-\ud7a3\u1100-\u11ff]")),
    ("zh", re.compile("[\u4e00-\u9fff]")),
    ("ru", re.compile("[\u0400-\u04ff]")),
    ("ar", re.compile("[\u0600-\u06ff]")),
)
_LATIN: Final = re.compile("[a-z\u00df-\u024f]")
_SPACELESS: Final = frozenset(("ja", "ko", "zh"))

_KNOWN: Final = frozenset(chain.from_iterable(WORDS.values()))
_KNOWN_STEMS: Final = frozenset(chain.from_iterable(STEMS.values()))
_POINTS: Final = {
    word: tuple(task for task in TASKS if word in WORDS[task]) for word in chain.from_iterable(WORDS.values())
}
_STEM_TASKS: Final = {
    stem: tuple(task for task in TASKS if stem in STEMS[task]) for stem in chain.from_iterable(STEMS.values())
}
_PHRASES: Final = tuple(
    (phrase, tuple(re.findall(r"\w+", phrase)), task) for task, phrases in PHRASES.items() for phrase in phrases
)
_STARTS: Final = {
    start: tuple((phrase, frozenset(words), task) for phrase, words, task in _PHRASES if words[0] == start)
    for start in {words[0] for _, words, _ in _PHRASES}
}
_KNOWN_STARTS: Final = frozenset(_STARTS)
_SIGN: Final = re.compile("|".join(f"(?P<{task}>{SIGNS[task]})" for task in (CODE, MATH, REASONING, CHAT)))


class Sample(Struct, frozen=True, gc=False):
    """A bounded part of a conversation's text: how it begins, what was said last, the user's last message."""

    system: str = ""
    recent: str = ""
    question: str = ""


class Features(Struct, frozen=True, kw_only=True, gc=False):
    """What is known of a request before a model is chosen.

    Attributes:
        tokens_in: estimated size of the prompt.
        tokens_out: expected size of the answer.
        max_tokens: the bound the client set on the answer, if any.
        context_tokens: estimated size of what a model reads at once: the largest of several prompts.
        tasks: shares of `chat`, `code`, `math` and `reasoning`; they sum to 1.
        needs: what a model must be able to do.
        language: ISO 639-1, or `und`.
        long_context: the prompt has more than 8,192 tokens or so.
    """

    tokens_in: int
    tokens_out: int
    max_tokens: int | None = None
    context_tokens: int = 0
    tasks: Mapping[str, float]
    needs: frozenset[Capability] = frozenset()
    language: str = UNKNOWN
    long_context: bool = False
    stream: bool = False

    @property
    def task(self) -> str:
        """The one with the largest share."""
        return max(self.tasks, key=lambda task: self.tasks[task])


def cheap(
    *,
    tokens_in: int,
    tokens_out: int,
    max_tokens: int | None = None,
    context_tokens: int | None = None,
    needs: frozenset[Capability] = frozenset(),
    stream: bool = False,
) -> Features:
    """Features without a look at the text."""
    return Features(
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        max_tokens=max_tokens,
        context_tokens=tokens_in if context_tokens is None else context_tokens,
        tasks=_PLAIN,
        needs=needs,
        long_context=tokens_in > LONG_TOKENS,
        stream=stream,
    )


def full(
    sample: Sample,
    *,
    tokens_in: int,
    tokens_out: int,
    max_tokens: int | None = None,
    context_tokens: int | None = None,
    needs: frozenset[Capability] = frozenset(),
    stream: bool = False,
) -> Features:
    """Features by the text too."""
    question = _read(sample.question or sample.recent)
    language = _language(question)
    return Features(
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        max_tokens=max_tokens,
        context_tokens=tokens_in if context_tokens is None else context_tokens,
        tasks=_tasks(question, sample, language=language, effort=Capability.REASONING in needs),
        needs=needs,
        language=language,
        long_context=tokens_in > LONG_TOKENS,
        stream=stream,
    )


class _Text(Struct, frozen=True, gc=False):
    """A text, the same in lower case, its words, each once, and its letters where not all are ASCII."""

    text: str
    lower: str
    words: AbstractSet[str]
    letters: AbstractSet[str]


def _read(text: str) -> _Text:
    lower = text.lower()
    if text.isascii():
        return _Text(text, lower, frozenset(lower.translate(_BREAKS).split()), frozenset())
    words = _GLUE.sub(" ", lower).split()  # translating these takes five times as long
    return _Text(text, lower, {word.strip(_EDGES) for word in set(words)}, set(lower))


def _tasks(question: _Text, sample: Sample, *, language: str, effort: bool) -> dict[str, float]:
    """Shares of the tasks: conversation is what is left where nothing points elsewhere."""
    spaceless = language in _SPACELESS
    points = _points(question, spaceless=spaceless)
    for text, weight in ((sample.recent, _RECENT), (sample.system, _SYSTEM)):
        if text:
            for task, found in _points(_read(text), spaceless=spaceless).items():
                points[task] += weight * found
    points[CHAT] += _CHAT_PRIOR
    points[REASONING] += _EFFORT_POINTS * effort
    squares = {task: found * found for task, found in points.items()}  # most requests are mostly one thing
    total = sum(squares.values())
    return {task: round(square / total, 4) for task, square in squares.items()}


def _points(read: _Text, *, spaceless: bool) -> dict[str, float]:
    """What points to each task, at most 6 a task."""
    points = dict.fromkeys(TASKS, 0.0)
    found = read.words | set(_ASCII_WORD.findall(read.lower)) if spaceless else read.words
    known = found & _KNOWN
    for words, worth in ((known - WEAK, _WORD_POINTS), (known & WEAK, _WEAK_POINTS)):
        for task in chain.from_iterable(_POINTS[word] for word in words):
            points[task] += worth
    stems = {word[:_STEM] for word in found - known} & _KNOWN_STEMS
    for task in chain.from_iterable(_STEM_TASKS[stem] for stem in stems):
        points[task] += _STEM_POINTS
    for phrase, needed, task in chain.from_iterable(_STARTS[word] for word in read.words & _KNOWN_STARTS):
        if needed <= read.words and phrase in read.lower:
            points[task] += _PHRASE_POINTS[task]
    if spaceless:
        for task, _ in {(match.lastgroup or CHAT, match[0]) for match in _SIGN.finditer(read.text)}:
            points[task] += _SIGN_POINTS
    code = _code_points(read.text)
    points[CODE] += code
    points[MATH] += _math_points(read) * (0.3 if code > _SOURCE else 1.0)
    return {task: min(_MOST_POINTS, found) for task, found in points.items()}


def _code_points(text: str) -> float:
    """What looks like source, whatever its words mean."""
    points = min(2.0, 0.8 * _count(_CODE_LINE, text, 3)) + 0.4 * _count(_CODE_MARK, text, 5)
    points += 1.0 if any(mark in text for mark in _FAILURES) else 0.0
    return points + (2.5 if "```" in text else 0.0) + (1.0 if _FILE.search(text) else 0.0)


def _math_points(read: _Text) -> float:
    points = min(2.5, 1.0 * _count(_SUM, read.text, 3))
    if "\\" in read.text or "$" in read.text:
        points += 1.5 if _LATEX.search(read.text) else 0.0
    if not _MATH_LETTERS.isdisjoint(read.letters):
        points += 1.5
    return points + (_NUMBERS_POINTS if sum(map(str.isdigit, read.words)) >= _NUMBERS else 0.0)


def _count(pattern: re.Pattern[str], text: str, most: int) -> int:
    return sum(1 for _ in islice(pattern.finditer(text), most))


def language_of(text: str) -> str:
    """The language by its script, and of Latin ones by their commonest words; `und` when nothing tells."""
    return _language(_read(text))


def _language(read: _Text) -> str:
    if not read.letters:
        return _latin(read.words, read.letters)
    rare = "".join(read.letters)
    counts = {language: len(pattern.findall(rare)) for language, pattern in _SCRIPTS}
    if counts["ja"] * 4 >= counts["zh"]:
        counts["ja"] += counts["zh"] if counts["ja"] else 0
    language = max(counts, key=lambda one: counts[one])
    if counts[language] and counts[language] * 2 >= len(_LATIN.findall(rare)):
        return language
    return _latin(read.words, read.letters)


def _latin(words: AbstractSet[str], letters: AbstractSet[str]) -> str:
    scores = {language: float(len(words & stops)) for language, stops in STOP_WORDS.items()}
    for language, hints in LETTERS.items() if letters else ():
        scores[language] += 1.5 * len(letters & hints)
    best = max(scores, key=lambda one: scores[one])
    return best if scores[best] else UNKNOWN
