"""Where a continued answer meets what was said before: what of its head is passed on. Pure.

An engine that goes on with a started answer may begin in one of four ways: with the next words; with the white space
at the end of what was said, where it was trimmed on the way; with all that was said once more; or with another answer,
because it took the started one for history. The first bytes decide, so they are held back until they do, which is
nearly always one chunk. Refuses to know chunks, engines' names and what is done about a replica that begins anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

HOLD: Final = 2048
LONGEST_END: Final = 256
_RESTARTED: Final = 64  # characters in common with the answer's beginning that are no chance
_TELLING: Final = 24  # a text of this length has a shape of its own; a shorter one may well be said twice
_SHORTEST: Final = 3
_CLOSING: Final = frozenset(".,;:!?)]}'\"\u2019\u201d\u2026%/-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What of a text is given to an engine to go on with.

    Attributes:
        text: the part that is given.
        end: the white space at the end of the whole text; the engine says it again where it was trimmed.
        again: the part of `end` that is not given, so that it is said again in any case.
        tokens: how many chunks that part was.
    """

    text: str
    end: str = ""
    again: str = ""
    tokens: int = 0


def cut(parts: Sequence[str], *, keeps_end: bool) -> Cut:
    """Cut a text that came in `parts` where it can be continued.

    Always between two parts: elsewhere the engine would read other tokens than were generated. An engine that may trim
    the end gets a text that ends in none of the parts that are white space alone, so that trimming changes nothing.
    """
    whole = "".join(parts)
    end = whole[len(whole.rstrip()) :]
    if keeps_end or not end or len(end) > LONGEST_END:
        return Cut(text=whole)
    count = next((number for number, part in enumerate(reversed(parts)) if part and not part.isspace()), len(parts))
    again = "".join(parts[len(parts) - count :])
    blanks = sum(1 for part in parts[len(parts) - count :] if part)
    return Cut(text=whole[: len(whole) - len(again)], end=end, again=again, tokens=blanks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What becomes of the head.

    Attributes:
        skip: so many characters of it were said before.
        stop: after so many further characters a stop string is complete that began in what was said; None: none is.
        restarted: it is the beginning of another answer, in words; nothing of it may pass.
    """

    skip: int = 0
    stop: int | None = None
    restarted: str | None = None


class Seam:
    """The seam of one continuation.

    Args:
        said: the answer so far.
        given: the started answer as the engine was given it, the client's own beginning included.
        end, again: see `Cut`.
        sure: the engine is known to go on; otherwise the head must show that it does.
        stops: the client's stop strings. An engine looks for them only in what it generates itself.
        keeps_stop: a stop string belongs to the answer.
    """

    __slots__ = ("_again", "_end", "_keeps_stop", "_needs", "_repeats", "_said", "_sure")

    def __init__(
        self,
        *,
        said: str,
        given: str,
        end: str = "",
        again: str = "",
        sure: bool = True,
        stops: Sequence[str] = (),
        keeps_stop: bool = False,
    ) -> None:
        self._said = said
        self._end = end
        self._again = again
        self._sure = sure
        self._needs = _open_stops(said, stops)
        self._keeps_stop = keeps_stop
        self._repeats = tuple(whole for whole in dict.fromkeys((said, given)) if _tells(whole))

    def judge(self, head: str, *, final: bool) -> Ruling | None:
        """Decide by the first characters of the continuation; None: more of them must come.

        Args:
            head: all of it so far.
            final: nothing follows.
        """
        for whole in self._repeats:
            common = _common(whole, head)
            if common == len(whole):
                return Ruling(skip=common)
            if common >= _RESTARTED and (common < len(head) or final or common > HOLD):
                return Ruling(restarted="it begins the answer anew")
            if common == len(head) and not final:
                return None
        return self._judge_words(head, final=final)

    def _judge_words(self, head: str, *, final: bool) -> Ruling | None:
        """Of a head that does not say again what was said, but for the white space at its end."""
        if not final and self._awaits_end(head):
            return None
        repeated = next((len(end) for end in (self._end, self._again) if end and head.startswith(end)), 0)
        if head and not (self._sure or repeated or self._shows(head)):
            return Ruling(restarted="it does not show that it goes on with what was said")
        # White space that an engine says where it was not given any stands for the one that was said.
        skip = repeated or (len(head) - len(head.lstrip()) if self._again else 0)
        return self._judge_stops(head[skip:], skip, final=final)

    def _awaits_end(self, head: str) -> bool:
        """Whether the white space that is expected may still be coming."""
        if any(len(head) < len(end) and end.startswith(head) for end in (self._end, self._again)):
            return True
        met = head.startswith((self._end, self._again))
        return bool(self._again) and not met and head.isspace() and len(head) < LONGEST_END

    def _shows(self, head: str) -> bool:
        """Whether no other answer would begin like this: with a space or a mark that only the middle of a text has."""
        if not self._said or self._said[0].isspace() or self._said[0] in _CLOSING or self._said[-1].isspace():
            return False
        return head[0].isspace() or head[0] in _CLOSING

    def _judge_stops(self, rest: str, skip: int, *, final: bool) -> Ruling | None:
        for need in self._needs:
            if rest.startswith(need):
                return Ruling(skip=skip, stop=len(need) if self._keeps_stop else 0)
        if not final and any(need.startswith(rest) for need in self._needs):
            return None
        return Ruling(skip=skip)


def _tells(whole: str) -> bool:
    """Whether this text said again can only be a repetition.

    A short one may be said twice, unless the two would grow together into no word; and an answer that repeats its own
    beginning already may go on doing so.
    """
    if len(whole) >= _TELLING:
        return whole.find(whole[:_TELLING], 1) < 0
    joined = len(whole) >= _SHORTEST and whole[0].isalpha() and whole[-1].isalpha()
    return joined and whole not in (whole + whole)[1:-1]


def _common(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    if one.startswith(other) or other.startswith(one):
        return min(len(one), len(other))
    return next(place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)


def _open_stops(said: str, stops: Sequence[str]) -> tuple[str, ...]:
    """What is missing of each stop string that may have begun at the end of what was said."""
    sizes = ((stop, size) for stop in stops for size in range(min(len(stop) - 1, len(said)), 0, -1))
    return tuple(stop[size:] for stop, size in sizes if said.endswith(stop[:size]))
