"""The accounts of a running process, asked over rate-limiting-api.

Decides how lists are read to their end, how a name becomes an id, and that a create may be sent twice and a merge is
repeated when somebody else was faster. Refuses to know what is shown.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import msgspec

from citadel_edge.accounts.ids import Kind, is_id
from citadel_edge.accounts.pages import MOST
from citadel_edge.cli.asking import Answer, Door, Question, Refused, ask
from citadel_edge.errors import Code
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.ids import uuid7

Query = Mapping[str, object]
Change = Callable[[dict[str, Any]], Mapping[str, Any]]
ME: Final = "me"
_MERGES: Final = 3


@dataclass(frozen=True, slots=True)
class Accounts:
    """Calls to the API. Each raises `StartError` when nobody answers and `Refused` when the process refuses."""

    door: Door
    key: str
    clock: Clock

    def get(self, path: str, query: Query | None = None) -> Answer:
        """A resource, or a page."""
        return ask(self.door, Question(path=path, query=query or {}), key=self.key)

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Make a thing: exactly one, although it is asked for again when the connection breaks in the middle."""
        headers = {"Idempotency-Key": str(uuid7(self.clock))}
        question = Question(method="POST", path=path, body=msgspec.json.encode(body), headers=headers, attempts=2)
        return ask(self.door, question, key=self.key).read()

    def update(self, path: str, body: Mapping[str, Any], *, etag: str | None = None) -> dict[str, Any]:
        """Change the given fields; with `etag` only if nobody did since it was read."""
        headers = {} if etag is None else {"If-Match": etag}
        question = Question(method="PATCH", path=path, body=msgspec.json.encode(body), headers=headers)
        return ask(self.door, question, key=self.key).read()

    def merge(self, path: str, change: Change, *, attempts: int = _MERGES) -> dict[str, Any]:
        """Read, let `change` say what to send of what was read, send it; anew when somebody else was faster."""
        seen = self.get(path)
        try:
            return self.update(path, change(seen.read()), etag=seen.etag)
        except Refused as refusal:
            if attempts == 1 or refusal.code != Code.STALE.text:
                raise
        return self.merge(path, change, attempts=attempts - 1)

    def delete(self, path: str) -> Answer:
        """End a thing."""
        return ask(self.door, Question(method="DELETE", path=path), key=self.key)

    def rows(self, path: str, query: Query, *, most: int | None) -> dict[str, Any]:
        """The first `most` rows of a list, or all, as one page: `{data, next}` and whatever the first page says."""
        page = self._page(path, query, most)
        rows = list(page["data"])
        after = page["next"]
        while after is not None and (most is None or len(rows) < most):
            further = self._page(path, {**query, "after": after}, most and most - len(rows))
            rows += further["data"]
            after = further["next"]
        return {**page, "data": rows, "next": after}

    def _page(self, path: str, query: Query, most: int | None) -> dict[str, Any]:
        return self.get(path, {**query, "limit": min(MOST, most or MOST)}).read()

    def user_id(self, id_or_name: str) -> str:
        """The id of a user; `me` is whose key it is. `Refused`: nobody has the name, or several do."""
        if is_id(Kind.USER, id_or_name):
            return id_or_name
        if id_or_name == ME:
            return str(self.get(path_of("users", ME)).read()["id"])
        found = list(self._named("/v1/users", id_or_name))
        if len(found) > 1:
            which = ", ".join(f"{user['id']} of {user['organisation_id']}" for user in found)
            raise Refused(
                Code.CONFLICT.text, f"There are several users named {id_or_name!r}: name one by id ({which})."
            )
        return _only(found, f"There is no user named {id_or_name!r}.")

    def organisation_id(self, id_or_name: str) -> str:
        """The id of an organisation. `Refused`: there is none of the name."""
        if is_id(Kind.ORGANISATION, id_or_name):
            return id_or_name
        found = list(self._named("/v1/organisations", id_or_name))
        return _only(found, f"There is no organisation named {id_or_name!r}.")

    def _named(self, path: str, name: str) -> Iterator[dict[str, Any]]:
        """Those with exactly this name."""
        rows = self.rows(path, {"name": name}, most=None)["data"]
        return (row for row in rows if row["name"] == name)


def path_of(*parts: str) -> str:
    """`/v1/…` of these parts, whatever is in them."""
    return "/".join(["/v1", *(quote(part, safe="") for part in parts)])


def _only(found: list[dict[str, Any]], otherwise: str) -> str:
    if not found:
        raise Refused(Code.NOT_FOUND.text, otherwise)
    return str(found[0]["id"])
