"""What the simulated model says: tokens, and answers that are a pure function of seed, voice and prompt.

Decides the words of an answer, where it ends, and how it goes on after any part of it. Pure: the same arguments give
the same text in every process and Python version. Refuses to know requests, engines and time.

A continued answer is exactly the rest of the uninterrupted one, wherever it was cut. This holds because an answer has
an *origin*: the earliest place in the text given so far (of a prompt, or of a started assistant message) from which
on that text is the beginning of what this model says there. A text extended by a piece of its own answer keeps its
origin, for a still earlier one would have been one before, too.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Final

TOKEN: Final = re.compile(r"\n?<\|\w{1,32}\|>\n?|\s?\S{1,16}|\s")
GAP: Final = re.compile(r"\s")
SEPARATOR: Final = b"\0"

PLAIN: Final = (  # noqa: SIM905 - words read better than a list of them
    "the a of and to in is it that for on with as at by from this be are was or an not which but all when they more"
    " can has have its their will one would there what up out if about into than them some could time these two may"
    " then do first any my now such like our over even most me after also made many must before through back years"
    " where much your way well down should because each just those people how too little state good very make world"
    " still own see men work long get here between both life being under never day same another know while last might"
    " us great old year off come since against go came right used take three states himself few house use during"
    " without again place around however home small found thought went say part once general high upon school every"
    " does got united left number course war until always away something fact water less public put thing almost hand"
    " enough far took head yet government system better set told nothing night end why called eyes find going look"
    " asked later knew point next program city business"
).split()
FOREIGN: Final = (  # noqa: SIM905 - the same
    "na\u00efve Stra\u00dfe caf\u00e9 \u0433\u043e\u0440\u043e\u0434 \u03bb\u03cc\u03b3\u03bf\u03c2 \u65e5\u672c\u8a9e"
    " \u6f22\u5b57 \ud55c\uad6d\uc5b4 \u0639\u0631\u0628\u064a \u05e9\u05dc\u05d5\u05dd \u0e44\u0e17\u0e22"
    " \u0939\u093f\u0928\u094d\u0926\u0940 \u20ac42 e\u0301t\u00e9 \U0001f680 \U0001f9ea\U0001f525"
    " \U0001f469\u200d\U0001f680 \U0001f1fa\U0001f1f3 \U00020bb7\u91ce \U0001d4d0\U0001d4d1"
).split()


def _vocabulary() -> tuple[str, ...]:
    """256 words, one for each value of a byte; each is one token, its own space included. An eighth is not ASCII."""
    words = [*FOREIGN, *FOREIGN, *PLAIN][:200]
    closed = [word + mark for word, mark in zip(PLAIN, ".,.;.?.,:.!," * 5, strict=False)]
    return tuple(f" {word}" for word in [*words, *closed][:256])


VOCABULARY: Final = _vocabulary()


def tokens(text: str) -> list[str]:
    """The tokens of a text, in order; joined they are the text.

    A token is up to 16 letters with the white space before them, or a mark between two messages with its line ends:
    so what is said after such a mark has the same tokens as when it was said.
    """
    return TOKEN.findall(text)


def count_tokens(text: str) -> int:
    """How many tokens a text has."""
    return len(TOKEN.findall(text))


@dataclass(frozen=True, slots=True)
class Speech:
    """What a model says at one place: words without end, of which `length` are the answer."""

    key: bytes
    glued: bool  # after nothing or white space: the first word has no space of its own
    length: int

    def words(self) -> Iterator[str]:
        """The words, each one token, without end."""
        glued = self.glued
        for block in count():
            for byte in hashlib.blake2b(block.to_bytes(8, "big"), key=self.key).digest():
                yield VOCABULARY[byte][1:] if glued else VOCABULARY[byte]
                glued = False

    def after(self, said: str, *, limit: int, endless: bool) -> list[str] | None:
        """At most `limit` tokens that follow `said`, or None when this speech does not begin with `said`."""
        words = self.words() if endless else islice(self.words(), self.length)
        torn = _skip(words, said)
        if torn is None:
            return None
        head = [torn] if torn else []
        return [*head, *islice(words, limit - len(head))]


@dataclass(frozen=True, slots=True)
class Voice:
    """A model's way of speaking.

    Attributes:
        seed: simulators with the same seed and name say the same.
        name: the model, or whatever several simulators shall have in common.
        shortest: tokens of the shortest answer.
        longest: tokens of the longest answer.
    """

    seed: int
    name: str
    shortest: int = 24
    longest: int = 96

    def answer(self, prompt: str, said: str = "", *, limit: int, endless: bool = False) -> list[str]:
        """At most `limit` (1 or more) tokens that follow `said`; fewer when the answer ends before.

        Args:
            prompt: the conversation before the answer; nothing for a raw text.
            said: the started assistant message, or the whole of a raw text.
            limit: how many tokens are wanted.
            endless: never end by itself (`ignore_eos`).
        """
        ground = hashlib.blake2b(self._ground(prompt))
        done = 0
        for place in _places(said):
            ground.update(said[done:place].encode("utf-8", "surrogatepass"))
            done = place
            rest = self._speech(ground.digest(), glued=place == 0 or said[place - 1].isspace()).after(
                said[place:], limit=limit, endless=endless
            )
            if rest is not None:
                return rest
        raise AssertionError("after the last place nothing was said, which every speech begins with")

    def _ground(self, prompt: str) -> bytes:
        parts = (str(self.seed), self.name, prompt)
        return b"".join(part.encode("utf-8", "surrogatepass") + SEPARATOR for part in parts)

    def _speech(self, key: bytes, *, glued: bool) -> Speech:
        spread = self.longest - self.shortest + 1
        return Speech(key=key, glued=glued, length=self.shortest + int.from_bytes(key[:4], "big") % spread)


def _places(said: str) -> Iterator[int]:
    """Where an answer may have begun, earliest first: around white space, and at both ends."""
    last = 0
    yield 0
    for gap in GAP.finditer(said):
        for place in gap.span():
            if place > last:
                yield place
                last = place
    if last < len(said):
        yield len(said)


def _skip(words: Iterator[str], said: str) -> str | None:
    """Go past `said`; the rest of a word cut in two, or None when the words go otherwise or end before."""
    at = 0
    while at < len(said):
        word = next(words, None)
        if word is None:
            return None
        if not said.startswith(word, at):
            return word[len(said) - at :] if word.startswith(said[at:]) else None
        at += len(word)
    return ""
