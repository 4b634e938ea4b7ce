"""Which text a client means: one it sends, one it sent before and names by its hash, or one of the operator's.

Automatic persisted queries are Apollo's protocol: `extensions.persistedQuery` with `version` 1 and `sha256Hash`. A
hash alone is answered PersistedQueryNotFound until it came once with its text, and the text was good.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from citadel_edge.errors import Code
from citadel_edge.graph.answers import Refused, Stage, refusal
from citadel_edge.graph.lru import Lru, Room
from citadel_edge.graph.trusted import Trust, digest
from citadel_edge.graph.wanted import Wanted

PREFIX: Final = "sha256:"
VERSION: Final = 1
HASH_DIGITS: Final = 64


@dataclass(frozen=True, slots=True)
class Named:
    """The text that is meant; `hash`, when it is to be remembered by it once it proved good."""

    text: str
    hash: str | None = None


class Names:
    """Finds texts. `trusted` are the operator's by id; `persisted` is null when clients may not have texts kept."""

    def __init__(self, trust: Trust, trusted: Mapping[str, str], persisted: Room | None) -> None:
        self._trust = trust
        self._trusted = trusted if trust is not Trust.OFF else {}
        self._texts = frozenset(self._trusted.values())
        self._persisted = Lru[str, str](persisted) if persisted is not None else None

    def find(self, wanted: Wanted) -> Named:
        """The text that is meant. Raises Refused."""
        digest_sent = _hash(wanted)
        name = digest_sent if wanted.document_id is None else wanted.document_id.removeprefix(PREFIX)
        trusted = self._trusted.get(name) if name else None
        if trusted is not None:
            return Named(trusted)
        if self._trust is Trust.ONLY and wanted.query not in self._texts:
            raise refusal("only trusted documents are run here", stage=Stage.DOCUMENT, code=Code.FORBIDDEN)
        if wanted.document_id is not None:
            raise refusal("no document goes by this id", stage=Stage.DOCUMENT, code=Code.NOT_FOUND)
        if digest_sent is not None:
            return self._named(digest_sent, wanted.query)
        if not wanted.query:
            raise refusal("send a GraphQL document as `query`", stage=Stage.REQUEST, param="query")
        return Named(wanted.query)

    def keep(self, named: Named) -> None:
        """Remember a text that proved good by the hash it came with."""
        if named.hash is not None and self._persisted is not None:
            self._persisted.put(named.hash, named.text, size=len(named.text) + HASH_DIGITS)

    def _named(self, sent: str, query: str | None) -> Named:
        if self._persisted is None:
            raise _apollo("PersistedQueryNotSupported", "PERSISTED_QUERY_NOT_SUPPORTED")
        if not query:
            found = self._persisted.get(sent)
            if found is None:
                raise _apollo("PersistedQueryNotFound", "PERSISTED_QUERY_NOT_FOUND")
            return Named(found)
        if digest(query) != sent:
            raise refusal("the sha256Hash is not the hash of this query", stage=Stage.REQUEST)
        return Named(query, sent)


def _hash(wanted: Wanted) -> str | None:
    """The hash in `extensions.persistedQuery`, if there is one. Raises Refused when it is none."""
    persisted: Any = (wanted.extensions or {}).get("persistedQuery")
    if persisted is None:
        return None
    if not isinstance(persisted, Mapping) or persisted.get("version") != VERSION:
        raise refusal("`persistedQuery` is of version 1", stage=Stage.REQUEST)
    sent = persisted.get("sha256Hash")
    if not isinstance(sent, str) or len(sent) != HASH_DIGITS:
        raise refusal("`persistedQuery.sha256Hash` is 64 hex digits", stage=Stage.REQUEST)
    return sent.lower()


def _apollo(message: str, code: str) -> Refused:
    """Apollo's clients wait for these words, on a 200."""
    error = {"message": message, "extensions": {"code": code}}
    return Refused((error,), stage=Stage.DOCUMENT, status=200)
