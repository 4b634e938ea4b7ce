"""The kinds of fields a configuration is made of, each with its bounds and its sentence. Pure.

Decides what a value may look like: a number is a number in a file (`"8000"` and `true` are none), but text from the
environment, a flag or `${VAR}` may be read as one. Errors are `ValueError` with a sentence for the operator.
"""

import math
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, SecretStr

from citadel_edge.config.references import FromText
from citadel_edge.config.urls import check_host, check_http_url, check_postgres_dsn, check_redis_url
from citadel_edge.config.yaml_text import kind, resolved

STRICT = ConfigDict(extra="forbid")
_PAST_FLOATS = 10**308
_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def whole(value: Any) -> int:
    """A whole number, or text from outside that spells one. Raises `ValueError`."""
    meant = resolved(value) if isinstance(value, FromText) else value
    if isinstance(meant, int) and not isinstance(meant, bool):
        return meant
    raise ValueError(f"expected a whole number, got {seen(value)}")


def number(value: Any) -> float:
    """A number, or text from outside that spells one. Raises `ValueError`."""
    meant = resolved(value) if isinstance(value, FromText) else value
    if isinstance(meant, int | float) and not isinstance(meant, bool):
        return math.inf if abs(meant) > _PAST_FLOATS else float(meant)
    raise ValueError(f"expected a number, got {seen(value)}")


def _switch(value: Any) -> bool:
    meant = _BOOLEANS.get(value.lower()) if isinstance(value, FromText) else value
    if isinstance(meant, bool):
        return meant
    raise ValueError(f"expected true or false, got {seen(value)}")


def _file(value: Any) -> Path:
    if isinstance(value, str | Path) and str(value) and "\0" not in str(value):
        return Path(value)
    raise ValueError(f"expected a path, got {seen(value)}")


def _header_value(key: SecretStr) -> SecretStr:
    """A key travels in a header, where a blank or a line end would be an injection or an accident."""
    if re.fullmatch(r"[!-~]+", key.get_secret_value()):
        return key
    raise ValueError("expected a key of visible ASCII characters, without blanks and line ends")


def seen(value: Any) -> str:
    """A wrong value of a field that is no secret, short."""
    if isinstance(value, str):
        return repr(str(value)) if len(value) <= 40 else "a longer text"  # noqa: PLR2004 - enough to recognise it
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).lower() if isinstance(value, int) else kind(value)


Switch = Annotated[bool, BeforeValidator(_switch)]
HeaderKey = Annotated[SecretStr, AfterValidator(_header_value)]
File = Annotated[Path, BeforeValidator(_file)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(number)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(number)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), BeforeValidator(number)]
Count = Annotated[int, Field(ge=1, le=2**53), BeforeValidator(whole)]
Limit = Annotated[int, Field(ge=0, le=2**53), BeforeValidator(whole)]
Few = Annotated[int, Field(ge=0, le=10), BeforeValidator(whole)]
Rank = Annotated[int, Field(ge=0, le=100), BeforeValidator(whole)]
Port = Annotated[int, Field(ge=0, le=65535), BeforeValidator(whole)]
Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\s/][^\s]*$")]
# Ids stand in URLs, and a breaker is called `<upstream>:<model>`.
Id = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
HttpUrl = Annotated[str, AfterValidator(check_http_url)]
RedisUrl = Annotated[str, AfterValidator(check_redis_url)]
PostgresDsn = Annotated[str, AfterValidator(check_postgres_dsn)]
Host = Annotated[str, AfterValidator(check_host)]
