"""`${VAR}` and `${VAR:-default}` in values, and `$${` for a literal `${`. Pure.

Decides how a reference is written and what it stands for. References are cut out of the text before YAML sees it (its
braces would end a `{…}`), and stand in the parsed values as templates until the variables are known. Refuses to know
where variables come from.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_REFERENCE = re.compile(r"\$\$\{[^}\n]*\}?|\$\{[^}\n]*\}?")
_INSIDE = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?")
# Characters of the private use area, which YAML takes for letters and nobody writes.
_START, _END = "\ue000", "\ue001"
_CUT = re.compile(f"{_START}([0-9]+){_END}")


class FromText(str):
    """Text that came from outside a file, so that `8000` may be meant as a number."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Cut:
    """A text without its references, and the references in their order."""

    text: str
    references: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """One `${…}` or `$${…}` as it is written."""

    written: str

    @property
    def is_escape(self) -> bool:
        """Whether it stands for a literal `${`."""
        return self.written.startswith("$$")

    def value(self, variables: Mapping[str, str]) -> str:
        """What it stands for.

        Raises:
            ValueError: it is malformed, or its variable is not set and has no default. What is written is not quoted:
                it may be a piece of a password.
        """
        if self.is_escape:
            return self.written[1:]
        match = _INSIDE.fullmatch(self.written[2:-1]) if self.written.endswith("}") else None
        if match is None:
            raise ValueError(
                "'${' starts no reference here; write ${NAME} or ${NAME:-default}, and '$${' for a plain '${'"
            )
        return _looked_up(match["name"], match["default"], variables)


@dataclass(frozen=True, slots=True)
class Template:
    """A value with references in it, between pieces of literal text."""

    parts: tuple[str | Reference, ...]

    def fill(self, variables: Mapping[str, str]) -> FromText | None:
        """The value; None where it is one reference that stands for nothing. Raises like `Reference.value`."""
        filled = "".join(part if isinstance(part, str) else part.value(variables) for part in self.parts)
        return None if not filled and len(self.parts) == 1 else FromText(filled)


def cut(text: str) -> Cut:
    """Put a mark in place of each reference.

    Raises:
        ValueError: the text holds one of the marks' own characters.
    """
    if _START in text or _END in text:
        raise ValueError("the characters U+E000 and U+E001 cannot be used here; remove them")
    references: list[str] = []

    def mark(match: re.Match[str]) -> str:
        references.append(match[0])
        return f"{_START}{len(references) - 1}{_END}"

    return Cut(_REFERENCE.sub(mark, text), tuple(references))


def restored(text: str, references: Sequence[str]) -> str:
    """The text as it was written."""
    return _CUT.sub(lambda match: references[int(match[1])], text)


def template(text: str, references: Sequence[str]) -> Template | None:
    """A scalar's text as a template; None where there is no reference in it."""
    pieces = _CUT.split(text)
    if len(pieces) == 1:
        return None
    parts = (Reference(references[int(piece)]) if odd % 2 else piece for odd, piece in enumerate(pieces))
    return Template(tuple(part for part in parts if part))


def _looked_up(name: str, default: str | None, variables: Mapping[str, str]) -> str:
    """Shell's rule: a default also replaces what is set but empty."""
    if default is not None:
        return variables.get(name) or default
    if name not in variables:
        raise ValueError(
            f"${{{name}}} is not set; set {name} in the environment or in .env, or write ${{{name}:-default}}"
        )
    return variables[name]
