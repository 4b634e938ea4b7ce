"""What can be known of a value from its class alone, so that it is asked once a class and not once a value.

The executor asks each value whether it is an exception, an awaitable, callable, a mapping. The answer follows from the
class unless the class makes up its attributes as it goes; such classes are never called plain, and their values take
the executor's own, slow way.
"""

import datetime as dt
import decimal
import uuid
from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from enum import Enum
from types import GeneratorType, MappingProxyType, SimpleNamespace
from typing import Final

from graphql.pyutils import UndefinedType

MOST: Final = 1024
"""Classes remembered; programs that make classes as they run shall not fill the memory."""

VALUES: Final = frozenset(
    {
        str, int, float, bool, bytes, list, tuple, dict, set, frozenset,
        dt.datetime, dt.date, dt.time, dt.timedelta, decimal.Decimal, uuid.UUID,
    }
)  # fmt: skip
"""Classes whose values mean nothing to the executor but themselves: a scalar may be coerced from and to them."""

HONEST: Final = frozenset(
    {object, str, int, float, bytes, list, tuple, dict, set, frozenset, OrderedDict, defaultdict}
    | {MappingProxyType, SimpleNamespace}
)  # fmt: skip
"""Classes whose way to look up an attribute is the common one, though some of them own a copy of it."""


class Access(Enum):
    """How a field without a resolver is read from its source."""

    ITEM = "item"
    GET = "get"
    ATTRIBUTE = "attribute"
    ASK = "ask"


def access_to(cls: type) -> Access:
    """The way to a field's value that `default_field_resolver` would take for every instance of `cls`."""
    if cls is dict:
        return Access.ITEM
    if _says_what_it_is(cls):
        return Access.ASK
    return Access.GET if issubclass(cls, Mapping) else Access.ATTRIBUTE


class Plain(dict[type, bool]):
    """Whether the values of a class can be completed without asking them: no exception, no awaitable, not callable."""

    def __missing__(self, cls: type) -> bool:
        answer = _is_plain(cls)
        if len(self) < MOST:
            self[cls] = answer
        return answer


def _is_plain(cls: type) -> bool:
    return not (
        cls is type(None)
        or issubclass(cls, Exception | UndefinedType | GeneratorType)
        or _has(cls, "__await__")
        or _has(cls, "__call__")
        or _has(cls, "__getattr__")
        or _says_what_it_is(cls)
    )


def _says_what_it_is(cls: type) -> bool:
    """Whether instances may claim another class, or attributes that their class does not show."""
    looks_up = next(base for base in cls.__mro__ if "__getattribute__" in base.__dict__)
    return looks_up not in HONEST or any("__class__" in base.__dict__ for base in cls.__mro__[:-1])


def _has(cls: type, name: str) -> bool:
    return any(name in base.__dict__ for base in cls.__mro__)
