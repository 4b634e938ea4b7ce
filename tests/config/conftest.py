"""A directory with a configuration in it, and loading it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from citadel_edge.config.graphql import GraphQLConfig
from citadel_edge.config.load import Loaded, load
from citadel_edge.config.shape import Config
from citadel_edge.errors import ConfigError


@pytest.fixture
def house(tmp_path: Path) -> "House":
    return House(tmp_path)


class House:
    """The directory of a configuration file. `defaults`: what holds there of itself, paths beside the file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / "config.yaml"
        self.defaults = Config(data_dir=root / "var", graphql=GraphQLConfig(documents=root / "config" / "graphql"))

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def drop_in(self, name: str, text: str | bytes) -> Path:
        return self.write(f"config/services/{name}", text)

    def load(
        self,
        text: str | bytes | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        flags: Mapping[str, str] | None = None,
    ) -> Loaded:
        if text is not None:
            self.write("config.yaml", text)
        return load(self.file, environ=environ or {}, flags=flags)

    def problems(
        self,
        text: str | bytes | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        flags: Mapping[str, str] | None = None,
    ) -> list[str]:
        """The lines of the error, with the directory of this test taken out."""
        with pytest.raises(ConfigError) as caught:
            self.load(text, environ=environ, flags=flags)
        assert str(caught.value).splitlines() == [str(problem) for problem in caught.value.problems]
        return [str(problem).replace(f"{self.root}/", "") for problem in caught.value.problems]
