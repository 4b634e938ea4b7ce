"""The log in Redis: what the scripts are asked, and what they answer.

A stream is two keys: `…:m`, a hash of what is known of it, and `…:l`, a Redis Stream whose entries are named after the
last event they hold (`17-0`) and hold all since the entry before, packed. A slot's keys besides are `leases` (who is
produced, until when on the server's clock), `doubt` and `watch` (see `tend.lua`), and `once:…` for starts that happen
once. Whoever produces a stream writes with its fence, a number that rises each time a stream is taken over: the log
takes nothing from an earlier one. Each method asks once, and raises `RedisUnavailable` and nothing else; what was
asked then may have been done all the same, and may be asked again.
"""

import asyncio
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any, Final

import msgspec
from redis.exceptions import ResponseError

from citadel_edge.errors import RedisUnavailable
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.storage.redis_script import Script
from citadel_edge.streams.messages import Epochs, Head, Heard, Part, Record, Start, Taken, Words
from citadel_edge.streams.names import SLOTS, digest_of, prefix, slot_of
from citadel_edge.streams.timing import Timing
from citadel_edge.streams.values import BEGUN_DECODER, TERMINAL_DECODER, Once

PATIENCE_S: Final = 1.0
"""How long the log is waited for; readers get events after 50 ms all the same."""
LIFE_MS: Final = 86_400_000
"""How long keys live of a stream that nobody ends."""
ONCE_MS: Final = 600_000


def _script(name: str) -> Script:
    folder = files("citadel_edge.streams")
    return Script("".join(folder.joinpath(file).read_text(encoding="utf-8") for file in ("prelude.lua", name)))


_CREATE: Final = _script("create.lua")
_WRITE: Final = _script("write.lua")
_READ: Final = _script("read.lua")
_STOP: Final = _script("stop.lua")
_TEND: Final = _script("tend.lua")


_pack: Final = msgspec.msgpack.Encoder().encode
_PAYLOADS: Final = msgspec.msgpack.Decoder(list[bytes])
_HEAD: Final = msgspec.msgpack.Decoder(Head)
_EPOCHS: Final = msgspec.json.Decoder(Epochs)
_FENCED: Final = -2
_IDS: Final = msgspec.json.Decoder(tuple[str, ...])
_json: Final = msgspec.json.Encoder().encode


class Store:
    """The log as one instance uses it, under its name."""

    def __init__(self, redis: RedisPool, instance: str, timing: Timing) -> None:
        self._redis = redis
        self._lease_ms = round(timing.lease_s * 1000)
        self._bounds_ms = self._lease_ms, round(timing.gap_s * 1000), round(timing.moment_s * 1000)
        self.instance = instance

    @property
    def channel(self) -> str:
        """Where this instance is told: a letter, and a stream's id (`n`ews, `s`top, `f`ollowed, `u`nfollowed)."""
        return f"citadel:streams:to:{self.instance}"

    async def create(
        self,
        stream: str,
        head: Head,
        epochs: Epochs,
        *,
        once: Once | None,
        fence: int = 1,
        first: int = 1,
        anew: bool = False,
    ) -> Start:
        """Begin a stream with the event `first`; `anew`: instead of what the log may have of it."""
        start = prefix(_slot(stream))
        keys: tuple[str, ...] = f"{start}{stream}:m", f"{start}{stream}:l", f"{start}leases"
        if once is not None:
            keys = *keys, f"{start}once:{digest_of(once).hex()}"
        args = (stream, self.instance, fence, first, _pack(head), _json(epochs), self._lease_ms, LIFE_MS, int(anew))
        hashed = b"" if once is None else once.body_hash
        said = await self._run(_CREATE, keys, *args, hashed, ONCE_MS)
        if said[0] == 0:
            return Start(said[1].decode())
        return Start(None) if said[0] == -1 else Start(stream, fenced=said[0] == _FENCED)

    async def write(self, slot: int, words: Sequence[Words], *, kept_ms: int, most_bytes: int) -> list[Heard]:
        """Let streams of one slot say what they have to say; what the log answers to each."""
        start = prefix(slot)
        keys = [f"{start}leases"]
        args: list[bytes | str | int] = [kept_ms, LIFE_MS, most_bytes]
        for each in words:
            keys += (f"{start}{each.stream}:m", f"{start}{each.stream}:l")
            args += _spelled(each)
        said = await self._run(_WRITE, keys, *args)
        return [
            Heard(said[at], said[at + 1], said[at + 2], said[at + 3] == 1, said[at + 4])
            for at in range(0, len(said), 5)
        ]

    async def read(self, stream: str, *, after: int, enough_bytes: int, follow_ms: int | None = None) -> Part | None:
        """Events behind `after`, until it is enough; None: there is no such stream.

        `follow_ms`: this instance follows it for so long from now on; 0: no more; None: nothing about that.
        """
        start = f"{prefix(_slot(stream))}{stream}:"
        args = stream, after, enough_bytes, self.instance, "" if follow_ms is None else follow_ms
        said = await self._run(_READ, (f"{start}m", f"{start}l"), *args)
        if said is None:
            return None
        begins, payloads = _unpacked(said[4:], after)
        terminal = TERMINAL_DECODER.decode(said[3]) if said[3] else None
        return Part(_EPOCHS.decode(said[0]), said[1], said[2], terminal, begins, payloads)

    async def look(self, stream: str) -> Record | None:
        """What is known of a stream; None: there is none."""
        key = f"{prefix(_slot(stream))}{stream}:m"
        fields = "head", "epochs", "first", "last", "stop", "begun", "reserved", "terminal"
        found = await self._redis.call("HMGET", key, *fields, deadline_s=PATIENCE_S)
        if found[0] is None:
            return None
        return Record(
            head=_HEAD.decode(found[0]),
            epochs=_EPOCHS.decode(found[1]),
            first=int(found[2]),
            last=int(found[3]),
            stop=found[4] is not None,
            begun=BEGUN_DECODER.decode(found[5]) if found[5] else None,
            reservations=_IDS.decode(found[6]) if found[6] else (),
            terminal=TERMINAL_DECODER.decode(found[7]) if found[7] else None,
        )

    async def leased(self, most: int) -> list[str]:
        """Streams that are produced by anybody, at most so many of each slot."""
        keys = [f"{prefix(slot)}leases" for slot in range(SLOTS)]
        asked = (self._redis.call("ZRANGE", key, 0, most - 1, deadline_s=PATIENCE_S) for key in keys)
        return [stream.decode() for found in await asyncio.gather(*asked) for stream in found]

    async def stop(self, stream: str) -> bool:
        """Tell a stream's producer to stop. False: there is none."""
        return await self._run(_STOP, (f"{prefix(_slot(stream))}{stream}:m",), stream) is not None

    async def tend(self, slot: int, own: Sequence[tuple[str, int]], *, most: int) -> tuple[list[Heard], list[Taken]]:
        """Renew the leases of one's own streams (id and fence), and take up to `most` whose producers died."""
        start, asked_s = prefix(slot), asyncio.get_running_loop().time()
        keys = f"{start}leases", f"{start}doubt", f"{start}watch"
        pairs: Iterable[str | int] = (word for pair in own for word in pair)
        said, taken = await self._run(_TEND, keys, self.instance, *self._bounds_ms, most, *pairs)
        heard = [Heard(said[at], 0, said[at + 1], said[at + 2] == 1, said[at + 3]) for at in range(0, len(said), 4)]
        return heard, [
            Taken(taken[at].decode(), taken[at + 1], taken[at + 2] == 1, taken[at + 3] / 1000, asked_s)
            for at in range(0, len(taken), 4)
        ]

    async def _run(self, script: Script, keys: Sequence[str], *args: bytes | str | int) -> Any:
        try:
            return await script.run(self._redis, tuple(keys), *args, deadline_s=PATIENCE_S)
        except ResponseError as error:
            raise RedisUnavailable(f"Redis cannot run the streams' scripts: {error}") from error


def _slot(stream: str) -> int:
    slot = slot_of(stream)
    if slot is None:
        raise ValueError(f"{stream!r} is no stream's id")
    return slot


def _spelled(words: Words) -> tuple[bytes | str | int, ...]:
    count = len(words.payloads)
    return (
        words.stream,
        words.fence,
        words.first,
        words.first + count - 1 if count else 0,
        _pack(words.payloads) if count else b"",
        _json(words.epochs) if words.epochs is not None else b"",
        _json(words.begun) if words.begun is not None else b"",
        _json(words.reservations) if words.reservations is not None else b"",
        _json(words.terminal) if words.terminal is not None else b"",
        words.last_word.value if words.last_word is not None else b"",
    )


def _unpacked(entries: Sequence[Any], after: int) -> tuple[int, list[bytes]]:
    """The number of the first event behind `after`, and all that are there from it on."""
    payloads: list[bytes] = []
    begins = after + 1
    for at in range(0, len(entries), 2):
        found = _PAYLOADS.decode(entries[at + 1])
        first = entries[at] - len(found) + 1
        if not payloads:
            begins = max(first, after + 1)
        payloads += found[max(0, after + 1 - first) :]
    return begins, payloads
