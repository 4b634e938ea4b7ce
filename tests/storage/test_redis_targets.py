"""Every kind of Redis that a URL can name, on real servers."""

import asyncio
import contextlib
import shutil
import ssl
import subprocess

import pytest
from pydantic import SecretStr

from citadel_edge.errors import RedisUnavailable
from citadel_edge.storage.redis_cluster import RedisCluster
from citadel_edge.storage.redis_node import OneServer
from citadel_edge.storage.redis_sentinels import NamedServer
from servers import running_valkey


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://me:secret@127.0.0.1:1/3", OneServer),
        ("rediss://127.0.0.1:1", OneServer),
        ("rediss://127.0.0.1:1/0?ssl_cert_reqs=none", OneServer),
        ("unix:///tmp/none.sock", OneServer),
        ("127.0.0.1:1", OneServer),
        ("redis+sentinel://:secret@127.0.0.1:1,127.0.0.1:2/mymaster", NamedServer),
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
