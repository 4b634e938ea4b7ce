import shutil
from collections import defaultdict
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
INSTALLED = "/opt/citadel/venv/bin/citadel-edge"
Unit = dict[str, list[str]]


def parsed(path: Path) -> Unit:
    """A unit's settings, `Section.Key` to its values in order; systemd's keys may stand several times."""
    settings: Unit = defaultdict(list)
    section = ""
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            settings[f"{section}.{key}"].append(value)
    return settings


@pytest.fixture
def unit():
    """`unit("citadel-edge.service")`: its settings."""
    return lambda name: parsed(UNITS / name)


@pytest.fixture
def placed(tmp_path: Path) -> Path:
    """The units in a folder of their own, with a command that exists, and one instance of the handle."""
    command = tmp_path / "citadel-edge"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    folder = tmp_path / "units"
    folder.mkdir()
    for path in UNITS.iterdir():
        (folder / path.name).write_text(path.read_text().replace(INSTALLED, str(command)))
    shutil.copy(folder / "citadel-llm@.service", folder / "citadel-llm@graphql-api.service")
    return folder
