"""A real Prometheus for tests: Debian's program on a free port of loopback, with samples of the past given to it."""

import contextlib
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ports import free_ports

STARTS_WITHIN_S = 30.0


def prometheus_programs() -> tuple[str, str]:
    """Where server and tool are; the test is skipped where they are not."""
    found = [shutil.which(name) for name in ("prometheus", "promtool")]
    if found[0] is None or found[1] is None:
        pytest.skip("Prometheus is not installed: apt-get install prometheus")
    return found[0], found[1]


@contextlib.contextmanager
def prometheus_serving(samples: str, directory: Path) -> Iterator[str]:
    """`http://127.0.0.1:<port>` of a Prometheus that has these samples (OpenMetrics with times) and scrapes nothing."""
    server, tool = prometheus_programs()
    (directory / "samples").write_text(samples)
    data = directory / "data"
    command = [tool, "tsdb", "create-blocks-from", "openmetrics", str(directory / "samples"), str(data)]
    subprocess.run(command, check=True, capture_output=True, timeout=STARTS_WITHIN_S)
    (directory / "prometheus.yml").write_text("global: {scrape_interval: 1h}\n")
    port = free_ports(1)[0]
    options = [
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={data}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([server, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{port}", directory)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str, directory: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(f"{url}/-/ready", timeout=1).close()
            return
        time.sleep(0.05)
    raise RuntimeError(f"Prometheus does not answer:\n{(directory / 'log').read_text()}")
