"""The command: flags, the line when it is ready, signals."""

import argparse
import asyncio
import signal
import sys

import aiohttp
import pytest

from citadel_edge.simulator.command import add_arguments, options_of
from citadel_edge.simulator.faults import Fault, FaultKind
from citadel_edge.simulator.options import Engine

SCRIPT = (
    "import argparse, sys; from citadel_edge.simulator.command import add_arguments, run;"
    " p = argparse.ArgumentParser(); add_arguments(p); sys.exit(run(p.parse_args()))"
)


def parsed(*flags):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return options_of(parser.parse_args(flags))


def test_flags_become_options():
    flags = "--engine tgi --port 8001 --seed 7 --tokens-per-s 50 --slots 3 --answer-tokens 5-9 --fault stall:times=1"
    options = parsed(*flags.split())
    assert (options.engine, options.port, options.seed, options.slots) == (Engine.TGI, 8001, 7, 3)
    assert (options.timing.decode_ms, options.shortest, options.longest) == (20, 5, 9)
    assert options.faults == (Fault(kind=FaultKind.STALL, times=1),)


def test_what_shall_happen_and_the_way_of_speaking_are_flags_too():
    options = parsed("--chunk-tokens", "3", "--old-gauges")
    assert (options.chunk_tokens, options.old_gauges) == (3, True)


async def test_it_becomes_what_the_script_says_when_it_says_so():
    process, line = await start("--control-port", "0", "--at", "0.2:frozen=true,slowness=2", "--at", "0:slowness=3")
    url = line.split()[-1] + "state"
    async with aiohttp.ClientSession() as session, asyncio.timeout(20):
        states = [{"slowness": 1}]
        while not states[-1].get("frozen"):
            async with session.get(url) as answer:
                states.append(await answer.json())
    process.terminate()
    await process.communicate()
    assert states[-1] == {"alive": True, "frozen": True, "slowness": 2}


def test_no_tokens_per_s_is_no_delay():
    assert parsed("--tokens-per-s", "0").timing.decode_ms == 0


@pytest.mark.parametrize(
    "flags",
    [
        "--engine gpt",
        "--fault nonsense",
        "--slots 0",
        "--answer-tokens 9-5",
        "--tokens-per-s -1",
        "--port x",
        "--at x:frozen=true",
        "--at 5:frozen=maybe",
        "--at -1:alive=false",
        "--chunk-tokens 0",
    ],
)
def test_a_wrong_flag_is_refused(flags, capsys):
    with pytest.raises(SystemExit) as stopped:
        parsed(*flags.split())
    assert stopped.value.code == 2
    assert flags.split()[0] in capsys.readouterr().err


async def start(*flags):
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SCRIPT, *flags, stdout=pipe, stderr=pipe)
    return process, (await asyncio.wait_for(process.stdout.readline(), 30)).decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_its_url_and_a_signal_ends_it_cleanly_amid_a_stream(number):
    process, line = await start("--engine", "vllm", "--tokens-per-s", "5", "--control-port", "0")
    words = line.split()
    url, control = words[words.index("at") + 1].rstrip(","), words[-1]
    body = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
    async with aiohttp.ClientSession() as session:
        async with session.get(control + "stats") as answer:
            assert (await answer.json())["totals"]["started"] == 0
        async with session.post(url + "/v1/chat/completions", json=body) as answer:
            await answer.content.readany()
            process.send_signal(number)
            _, errors = await asyncio.wait_for(process.communicate(), 10)
    assert (process.returncode, errors) == (0, b"")


async def test_a_taken_port_is_a_clear_error():
    first, line = await start()
    port = line.rpartition(":")[2].strip()
    second, _ = await start("--port", port)
    _, errors = await asyncio.wait_for(second.communicate(), 10)
    assert second.returncode == 1
    assert f"cannot serve on 127.0.0.1:{port}" in errors.decode()
    first.terminate()
    assert await asyncio.wait_for(first.wait(), 10) == 0
