"""A real nginx for tests: Debian's program on a free port of loopback, everything of it in one directory."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ports import free_ports

STARTS_WITHIN_S = 20.0
_MAIN = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log info;
{user}
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {directory}/bodies;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
{site}
}}
"""


def nginx_program() -> str:
    """Where it is; the test is skipped where it is not."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        pytest.skip("nginx is not installed: apt-get install nginx")
    return found


@contextlib.contextmanager
def nginx_serving(site: str, directory: Path) -> Iterator[str]:
    """`http://127.0.0.1:<port>` of an nginx with this site, whose text says `{port}` where it listens.

    Braces of nginx's own stay single: only `{port}` is replaced.
    """
    program = nginx_program()
    port = free_ports(1)[0]
    user = "user root;" if os.geteuid() == 0 else ""
    conf = directory / "nginx.conf"
    conf.write_text(_MAIN.format(directory=directory, user=user, site=site.replace("{port}", str(port))))
    with (directory / "nginx.out").open("wb") as out:
        process = subprocess.Popen(
            [program, "-p", str(directory), "-e", str(directory / "error.log"), "-c", str(conf)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        _wait_until_it_answers(process, port, directory)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_it_answers(process: "subprocess.Popen[bytes]", port: int, directory: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    said = (directory / "nginx.out").read_text() + (directory / "error.log").read_text()
    raise RuntimeError(f"nginx does not answer:\n{said}")
