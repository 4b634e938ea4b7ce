"""Every kind of Redis that a URL can name, on real servers."""

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess

import pytest
from pydantic import SecretStr

from citadel_edge.errors import RedisUnavailable
from citadel_edge.storage.redis_cluster import RedisCluster
from citadel_edge.storage.redis_node import OneServer
from servers import running_valkey


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://me:secret@127.0.0.1:1/3", OneServer),
        ("rediss://127.0.0.1:1", OneServer),
        ("rediss://127.0.0.1:1/0?ssl_cert_reqs=none", OneServer),
        ("unix:///tmp/none.sock", OneServer),
        ("127.0.0.1:1", OneServer),
        ("redis+sentinel://:secret@127.0.0.1:1,127.0.0.1:2/mymaster", OneServer),
        ("redis+cluster://127.0.0.1:1,127.0.0.1:2", RedisCluster),
    ],
)
async def test_every_form_makes_a_pool_that_says_no(open_redis, url, kind):
    async with open_redis(url) as pool:
        assert type(pool._servers) is kind
        with pytest.raises(RedisUnavailable) as caught:
            await pool.call("PING")
        assert "secret" not in str(caught.value)


async def test_tcp_with_a_user_a_password_and_a_database(open_redis, free_port):
    with running_valkey("--port", str(free_port), "--bind", "127.0.0.1") as server:
        server.say("ACL", "SETUSER", "me", "on", ">secret", "~*", "&*", "+@all")
        server.say("CONFIG", "SET", "requirepass", "other")
        async with open_redis(f"redis://me:secret@127.0.0.1:{free_port}/3") as pool:
            assert await pool.call("SET", "k", "v") == b"OK"
            assert (await pool.call("CLIENT", "INFO")).split(b" db=")[1].startswith(b"3")
        async with open_redis(f"127.0.0.1:{free_port}", username="me", password=SecretStr("secret")) as pool:
            assert await pool.call("PING") == b"PONG"


async def test_sentinels_name_the_primary_and_a_failover_is_followed(open_redis, tmp_path):
    with contextlib.ExitStack() as stack:
        ports = _free_ports(3)
        primary, replica = (_tcp(stack, port) for port in ports[:2])
        await asyncio.to_thread(replica.say, "REPLICAOF", "127.0.0.1", str(ports[0]))
        async with asyncio.timeout(30):
            while b"connected_slaves:1" not in await asyncio.to_thread(primary.say, "INFO", "replication"):
                await asyncio.sleep(0.05)
        sentinel = _sentinel(stack, ports[2], tmp_path / "sentinel.conf", watched=ports[0])
        async with open_redis(f"redis+sentinel://127.0.0.1:{ports[2]}/mymaster") as pool:
            async with asyncio.timeout(30):
                await pool.wait_until_up()
            assert await pool.call("SET", "k", "before") == b"OK"
            assert await _port_of(pool) == ports[0]
            hurry = ("INFO-PERIOD", "200", "PING-PERIOD", "200", "PUBLISH-PERIOD", "200")
            await asyncio.to_thread(sentinel.say, "SENTINEL", "DEBUG", *hurry)
            await _until_linked(sentinel)
            await asyncio.to_thread(sentinel.say, "SENTINEL", "FAILOVER", "mymaster")
            async with asyncio.timeout(60):
                while await _written(pool) is None or await _port_of(pool) != ports[1]:
                    await asyncio.sleep(0.1)
        assert primary.answers()


async def test_a_cluster_is_asked_by_key_and_hears_publications(open_redis):
    with contextlib.ExitStack() as stack:
        ports = _free_ports(4)
        nodes = [
            stack.enter_context(
                running_valkey(
                    *("--port", str(port), "--bind", "127.0.0.1", "--cluster-enabled", "yes"),
                    *("--cluster-port", str(bus), "--cluster-node-timeout", "2000"),
                )
            )
            for port, bus in (ports[:2], ports[2:])
        ]
        await asyncio.to_thread(_form_cluster, nodes, ports)
        async with asyncio.timeout(60):
            for node in nodes:
                while b"cluster_state:ok" not in await asyncio.to_thread(node.say, "CLUSTER", "INFO"):
                    await asyncio.sleep(0.05)
        async with open_redis(f"redis+cluster://127.0.0.1:{ports[0]},127.0.0.1:{ports[2]}") as pool:
            async with asyncio.timeout(60):
                await pool.wait_until_up()
            keys = [f"k{number}" for number in range(50)]
            assert await asyncio.gather(*(pool.call("SET", key, key) for key in keys)) == [b"OK"] * 50
            assert await asyncio.gather(*(pool.call("GET", key) for key in keys)) == [key.encode() for key in keys]
            heard, subscribed = [], asyncio.Event()
            listening = asyncio.ensure_future(pool.listen("c", heard.append, subscribed.set))  # noqa: TID251
            async with asyncio.timeout(20):
                await subscribed.wait()
                await pool.publish("c", "everywhere")
                while heard != [b"everywhere"]:
                    await asyncio.sleep(0.01)
            listening.cancel()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
async def test_tls_trusts_its_own_authority_alone(open_redis, valkey_server, tmp_path):
    certificate, key = await asyncio.to_thread(_self_signed, tmp_path)
    async with _tls_front(valkey_server.path, certificate, key) as port:
        async with open_redis(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}") as pool:
            assert await pool.call("PING") == b"PONG"
        async with open_redis(f"rediss://127.0.0.1:{port}/0?ssl_cert_reqs=none") as pool:
            assert await pool.call("PING") == b"PONG"
        async with open_redis(f"rediss://127.0.0.1:{port}") as pool:
            await asyncio.wait_for(pool._gate.known.wait(), 20)
            with pytest.raises(RedisUnavailable, match="not trusted"):
                await pool.call("PING")


@contextlib.asynccontextmanager
async def _tls_front(path, certificate, key):
    """What a Valkey with TLS looks like from outside; the wheel's is built without."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def relay(reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader, writer):
        to_server = await asyncio.open_unix_connection(path)
        await asyncio.gather(relay(reader, to_server[1]), relay(to_server[0], writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


def _tcp(stack, port):
    return stack.enter_context(running_valkey("--port", str(port), "--bind", "127.0.0.1"))


def _sentinel(stack, port, file, *, watched):
    file.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor mymaster 127.0.0.1 {watched} 1\n")
    return stack.enter_context(running_valkey("--sentinel", file=file))


def _free_ports(number):
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _form_cluster(nodes, ports):
    nodes[0].say("CLUSTER", "MEET", "127.0.0.1", str(ports[2]), str(ports[3]))
    nodes[0].say("CLUSTER", "ADDSLOTSRANGE", "0", "8000")
    nodes[1].say("CLUSTER", "ADDSLOTSRANGE", "8001", "16383")


async def _until_linked(sentinel):
    async with asyncio.timeout(60):
        while b"127.0.0.1" not in await asyncio.to_thread(sentinel.say, "SENTINEL", "REPLICAS", "mymaster"):
            await asyncio.sleep(0.1)


async def _port_of(pool):
    info = await pool.call("INFO", "server")
    text = info["txt"] if isinstance(info, dict) else info
    return int(bytes(text).split(b"tcp_port:")[1].split()[0])


async def _written(pool, key="k"):
    try:
        return await pool.call("SET", key, "x")
    except RedisUnavailable:
        return None


def _self_signed(directory):
    certificate, key = str(directory / "cert.pem"), str(directory / "key.pem")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=127.0.0.1",
    ]
    subprocess.run(
        [*command, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return certificate, key
