"""The Python that completes one selection, written out.

Every field becomes a handful of lines: read or resolve the value, look whether it is surely what its type asks for, and
leave it to its tail otherwise. Of the request there is nothing in the text but names that the lexer has read; all else
is reached through constants of the function's namespace, numbered by the field: `f3` resolves field 3, `t3` is its
tail, `x3` takes its error.
"""

import keyword
from typing import Any

from graphql import TypeNameMetaFieldDef, get_named_type, get_nullable_type, is_leaf_type, is_list_type, is_object_type

from citadel_edge.graph.compiled.arguments import asked_arguments, constant_arguments
from citadel_edge.graph.compiled.completers import Types
from citadel_edge.graph.compiled.completing import Tail
from citadel_edge.graph.compiled.leaf_code import Lines, indented, is_nullable, leaf_lines, list_lines, noted, on_value
from citadel_edge.graph.compiled.namespace import common_names
from citadel_edge.graph.compiled.selections import Complete, Field, Selection
from citadel_edge.graph.compiled.sources import Access


class Scribe:
    """Writes the functions of an operation's selections."""

    def __init__(self, types: Types, *, hide_suggestions: bool) -> None:
        self.types = types
        self.hide_suggestions = hide_suggestions

    def build(self, selection: Selection, access: Access) -> Complete:
        """The function that completes a selection on sources that are read this way."""
        page = _Page(self, selection, access)
        text = "\n".join(page.lines())
        exec(compile(text, f"<{selection.parent.name}>", "exec"), page.names)  # noqa: S102 - our own text, see above
        made: Complete = page.names["complete"]
        return made


class _Page:
    """One function's text, and the namespace it needs."""

    def __init__(self, scribe: Scribe, selection: Selection, access: Access) -> None:
        self.names = common_names()
        self._scribe = scribe
        self._selection = selection
        self._access = access
        self._simple = all(_is_simple(field) for field in selection.fields)
        """Whether nothing below asks for the object's own place, unless something goes wrong."""
        self._at = "p, i, r" if self._simple else "p, None, r"

    def lines(self) -> Lines:
        """The whole function."""
        fields = list(enumerate(self._selection.fields))
        body = [line for n, field in fields if not _is_typename(field) for line in self._field(n, field)]
        asks = self._selection.asks
        answer = "{" + ", ".join(f"{field.key!r}: {_value(n, field)}" for n, field in fields) + "}"
        return [
            "def complete(s, p, i, r):",
            *indented(
                [
                    *([] if self._simple else [f"if i is not None: p = {_place('(p, i, None)', path=asks)}"]),
                    "w = None",
                    "try:",
                    *indented(body or ["pass"]),
                    "except Exception:",
                    "    abandon(r, w)",
                    "    raise",
                    f"if w is None: return {answer}",
                    f"return gathered(r, {answer}, w)",
                    *(["yield"] if self._selection.sliced else []),
                ]
            ),
        ]

    def _field(self, n: int, field: Field) -> Lines:
        types = self._scribe.types
        tail = Tail(
            field,
            types.completer(field, field.type),
            sliced=types.is_sliced(field, field.type),
            asks=types.asks(field),
        )
        self.names |= {f"t{n}": tail.in_slices if tail.sliced else tail.finish, f"x{n}": tail.fail, f"g{n}": tail.guard}
        before = self._resolved(n, field) if field.resolve else self._read(n, field)
        return [*before, *self._completed(n, field, tail)]

    def _resolved(self, n: int, field: Field) -> Lines:
        self.names |= {f"f{n}": field.resolve, f"k{n}": field.told}
        path = _place(f"(p, {field.key!r}, {field.parent.name!r})", path=True)
        call = f"f{n}(s, new(Info, k{n} + ({path},) + r.tail){self._arguments(n, field)})"
        return ["try:", f"    v{n} = {call}", *self._failing(n)]

    def _arguments(self, n: int, field: Field) -> str:
        if not field.definition.args:
            return ""
        constant = constant_arguments(field)
        if constant is not None:
            self.names[f"a{n}"] = constant
            return f", **a{n}"
        self.names[f"a{n}"] = asked_arguments(field, hide_suggestions=self._scribe.hide_suggestions)
        return f", **a{n}(r)"

    def _read(self, n: int, field: Field) -> Lines:
        name = field.name
        match self._access:
            case Access.ITEM if is_nullable(field):
                return [f"v{n} = s.get({name!r})"]
            case Access.ITEM:
                return ["try:", f"    v{n} = s[{name!r}]", "except KeyError:", f"    v{n} = None"]
            case Access.ATTRIBUTE if not keyword.iskeyword(name):
                missing = ["except AttributeError:", f"    v{n} = None"]
                return ["try:", f"    v{n} = s.{name}", *missing, *self._failing(n)]
            case Access.GET:
                return ["try:", f"    v{n} = s.get({name!r})", *self._failing(n)]
        return ["try:", f"    v{n} = look(s, {name!r})", *self._failing(n)]

    def _failing(self, n: int) -> Lines:
        return ["except Exception as e:", f"    v{n} = x{n}(e, {self._at})"]

    def _completed(self, n: int, field: Field, tail: Tail) -> Lines:
        bare: Any = get_nullable_type(field.type)
        named: Any = get_named_type(field.type)
        if is_leaf_type(bare):
            return leaf_lines(n, field, bare, self.names, self._at)
        if not is_list_type(bare):
            return on_value(n, field, self._composite(n, field, bare, steps="yield from " if tail.sliced else ""))
        if tail.sliced:
            return on_value(n, field, [f"v{n} = yield from t{n}(v{n}, {self._at})", *noted(n, field)])
        return on_value(n, field, list_lines(n, field, named, self.names, self._at))

    def _composite(self, n: int, field: Field, bare: Any, steps: str) -> Lines:
        """An object straight below: its function is called here, unless its value must be looked at first."""
        types = self._scribe.types
        if is_object_type(bare):
            self.names[f"F{n}"] = types.planned(bare, field).front
            picked, called = f"F{n}[type(v{n})]", [f"    if f is not None: v{n} = {steps}f(v{n}, h, None, r)"]
        else:
            self.names[f"F{n}"] = types.pick(field, field.type)
            picked, called = (
                f"F{n}(v{n}, h, r)",
                [
                    f"    if f is not None: v{n} = f(v{n}, h, None, r)",
                    f"    if type(v{n}) is Steps: v{n} = yield from v{n}",
                ],
            )
        return [
            f"h = {_place(f'(p, {field.key!r}, {field.parent.name!r})', path=types.asks(field))}",
            "try:",
            f"    f = {picked}",
            *called,
            *self._failing(n),
            "else:",
            "    if f is None:",
            f"        v{n} = {steps}t{n}(v{n}, {self._at})",
            *indented(indented(noted(n, field))),
            f"    elif type(v{n}) is not dict:",
            f"        v{n} = g{n}(v{n}, {self._at})",
            f"        w = wait(w, {field.key!r}, v{n})",
        ]


def _place(trail: str, *, path: bool) -> str:
    """A place as a trail; as a path at once where it will be asked for, so that nothing is made a path twice."""
    return f"new(Path, {trail})" if path else trail


def _is_typename(field: Field) -> bool:
    return field.definition is TypeNameMetaFieldDef


def _is_simple(field: Field) -> bool:
    """Whether the field is read, not resolved, and is a leaf or a list of leaves; `__typename` is known beforehand."""
    bare: Any = get_nullable_type(field.type)
    inner: Any = get_nullable_type(bare.of_type) if is_list_type(bare) else bare
    return _is_typename(field) or (field.resolve is None and is_leaf_type(inner))


def _value(n: int, field: Field) -> str:
    return repr(field.parent.name) if _is_typename(field) else f"v{n}"
