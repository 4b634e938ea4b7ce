"""What stands between `//` and the path of a URL: hosts, ports, user and password. Pure.

Decides what a host, an address and an authority look like, and how much of a bad one may be shown.
Refuses to know which schemes exist: that is `urls`. Errors are `ValueError` with a sentence for the operator.
"""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import unquote

from pydantic import SecretStr

_LABELS = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")
_ADDRESS = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")
_NUMERIC = re.compile(r"[0-9.]+")
_AFTER_COLON = re.compile(r"(?<=//):.+|:(?![0-9]{1,5}(?:[/,?']|\Z))(?!//).+", re.DOTALL)
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Address:
    """A host (an IPv6 address without its brackets) and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """`user:password@host:port,host:port`, percent-decoded."""

    user: str | None
    password: SecretStr | None
    nodes: tuple[Address, ...]


def shown(text: str) -> str:
    """A bad value as an error may quote it: without anything that may be a password, and short."""
    start, at, rest = text.rpartition("@")
    scheme = start.partition("://")[0] + "://" if "://" in start else ""
    visible = f"{scheme}***@{rest}" if at else text
    visible = re.sub(r"\?.*", "?…", visible, flags=re.DOTALL)
    return repr(visible if len(visible) <= _SHOWN else visible[:_SHOWN] + "…")


def masked(text: str) -> str:
    """Like `shown`, for URLs that may hold a password although they are malformed: what may be none ends the quote."""
    return _AFTER_COLON.sub(":***'", shown(text))


def is_host(text: str) -> bool:
    """Whether `text` is an IPv4 or IPv6 address or a host name."""
    if ":" in text or _NUMERIC.fullmatch(text):
        return _is_ip(text)
    return _LABELS.fullmatch(text) is not None and ".." not in text


def parse_address(text: str, *, default_port: int | None) -> Address:
    """`host:port`, `[::1]:port`, or a host alone where there is a default port."""
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError(f"expected host:port, got {shown(text)}")
    host = match["host"].removeprefix("[").removesuffix("]")
    if not is_host(host) or (":" in host) != match["host"].startswith("["):
        raise ValueError(f"expected a host name or IP address before the port, got {shown(text)}")
    if match["port"] is None and default_port is None:
        raise ValueError(f"expected host:port, got {shown(text)}")
    return Address(host, parse_port(match["port"]) if match["port"] else default_port or 0)


def parse_port(text: str) -> int:
    """A port that something can be reached on: 1 to 65535."""
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:6]) <= 65535:  # noqa: PLR2004 - the range of TCP
        raise ValueError(f"expected a port from 1 to 65535, got {shown(text)}")
    return int(text)


def parse_authority(text: str, *, default_port: int) -> Authority:
    """The whole authority; several nodes stand between commas."""
    credentials, at, hosts = text.rpartition("@")
    user, colon, password = credentials.partition(":")
    return Authority(
        user=unquote(user) or None if at else None,
        password=SecretStr(unquote(password)) if colon and password else None,
        nodes=tuple(parse_address(node, default_port=default_port) for node in hosts.split(",")),
    )


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
