"""Death of a process at any moment: every row whose `record` had returned is in PostgreSQL, once."""

import asyncio
import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

WRITER = Path(__file__).with_name("writer.py")
PLENTY = 10_000_000


@contextlib.contextmanager
def writing(directory, rows, *more, prefix=()):
    command = [*prefix, sys.executable, str(WRITER), str(directory), str(rows), *more]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


def killed_after(directory, rows, *more):
    """The words of a writer that was killed in the middle, right after it had said `rows` of them."""
    with writing(directory, PLENTY, *more) as process:
        words = [process.stdout.readline().decode().strip() for _ in range(rows)]
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().decode()
    words += rest[: rest.rfind("\n") + 1].split()
    return [word for word in words if word != "denied"], words.count("denied")


async def in_table(pool):
    rows = await pool.fetch("SELECT event_id, outcome, count FROM usage_events")
    done = [str(row["event_id"]) for row in rows if row["outcome"] == "done"]
    return done, sum(row["count"] for row in rows if row["outcome"] == "denied")


@pytest.mark.parametrize("rows", [1, 137, 4000])
async def test_a_killed_writer_loses_nothing_it_was_told_is_kept(postgres, open_ledger, directory, rows):
    recorded, denied = await asyncio.to_thread(killed_after, directory, rows)
    async with open_ledger(postgres) as ledger:
        assert await ledger.flush(30)
        assert ledger.backlog().quarantined == 0
    done, counted = await in_table(postgres)
    assert len(done) == len(set(done))
    assert set(recorded) <= set(done)
    assert len(done) <= len(recorded) + 1  # the row whose `record` had returned when its word was not yet out
    assert denied <= counted <= denied + 1


async def test_a_ledger_killed_again_and_again_while_it_carries_counts_everything_once(
    postgres, ledger_dsn, open_ledger, directory
):
    recorded, denied, deaths = set(), 0, (300, 555, 1200, 40)
    for rows in deaths:
        done, refused = await asyncio.to_thread(killed_after, directory, rows, ledger_dsn)
        recorded, denied = recorded | set(done), denied + refused
    async with open_ledger(postgres) as ledger:
        assert await ledger.flush(30)
    done, counted = await in_table(postgres)
    assert len(done) == len(set(done))
    assert recorded <= set(done)
    assert len(done) <= len(recorded) + len(deaths)
    assert denied <= counted <= denied + len(deaths)


async def test_a_carrier_killed_between_batches_repeats_without_harm(postgres, open_ledger, directory):
    await asyncio.to_thread(killed_after, directory, 3000)
    for _ in range(3):
        async with open_ledger(postgres) as ledger:
            await ledger._carrier.carry_one()
            kept = await asyncio.to_thread(lambda: {p: p.read_bytes() for p in directory.glob("*.seg")})
            assert await ledger.flush(30)
        before = await in_table(postgres)
        await asyncio.to_thread(lambda kept=kept: [path.write_bytes(data) for path, data in kept.items()])
    async with open_ledger(postgres) as ledger:
        assert await ledger.flush(30)
    assert await in_table(postgres) == before


async def test_cancelling_the_carrier_anywhere_loses_and_doubles_nothing(postgres, open_ledger, event):
    async with open_ledger(postgres) as ledger:
        for round_ in range(40):
            for _ in range(50):
                ledger.record(event())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(round_ * 0.0005):
                    await ledger.run()
        assert await ledger.flush(30)
        assert ledger.backlog().rows == 0
    assert await postgres.fetchval("SELECT count(*) FROM usage_events") == 2000


def full_disk(directory, rows):
    """What a writer says whose spool is a file system of 256 KiB: how many rows are in memory, how many are lost."""
    script = f'mount -t tmpfs -o size=256k tmpfs "{directory}" && exec "$@"'
    namespace = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh")
    with writing(directory / "spool", rows, prefix=namespace) as process:
        *words, last = _until_held(process.stdout)
        return len(words), last.split()


def _until_held(lines):
    words = []
    while not (words and words[-1].startswith("held")):
        words.append(lines.readline().decode())
        assert words[-1], "the writer died"
    return words


def can_mount(directory):
    command = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", str(directory)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_a_full_disk_neither_stops_the_writer_nor_loses_a_row(tmp_path):
    if not can_mount(tmp_path):
        pytest.skip("this machine lets nobody mount a tmpfs of his own")
    written, words = full_disk(tmp_path, 3000)
    assert written == 3000
    assert words[0] == "held"
    assert int(words[1]) > 1000
    assert words[2:] == ["lost", "0"]
