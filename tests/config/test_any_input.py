"""Whatever stands in the files: a configuration, or an error that says what to do."""

import contextlib
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from citadel_edge.config.load import Loaded, load
from citadel_edge.config.paths import read, written
from citadel_edge.config.schema import known_keys
from citadel_edge.errors import ConfigError, Problem


def flow(items: dict[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in items.items()) + "}"


NAMES = st.sampled_from(
    sorted({*known_keys(()), *known_keys(("upstreams", 0)), *known_keys(("models", 0)), "routing-api"})
)
VALUES = st.recursive(
    st.sampled_from(
        ["null", "true", "1", "-1", "1.5", ".nan", "x", "''", "embedded", "http://x", "${A}", "${B}", "9" * 5000]
    )
    | st.text("ab:-{}[]&*!|'\"$~", max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(NAMES, inner, max_size=3).map(flow)
    ),
    max_leaves=8,
)


TEXTS = st.dictionaries(NAMES, VALUES, max_size=5).map(lambda items: "\n".join(f"{k}: {v}" for k, v in items.items()))
CONTENTS = TEXTS.map(str.encode) | st.binary(max_size=60) | st.text(max_size=60).map(str.encode)


@settings(max_examples=300)
@given(CONTENTS, CONTENTS, st.binary(max_size=30), st.dictionaries(st.text(max_size=12) | NAMES, VALUES, max_size=2))
def test_loading_answers_or_raises_a_config_error(main, drop_in, dotenv, flags):
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        (root / "config" / "services").mkdir(parents=True)
        (root / "config.yaml").write_bytes(main)
        (root / "config" / "services" / "one.yaml").write_bytes(drop_in)
        (root / ".env").write_bytes(dotenv)
        assert all(problem.path and problem.message for problem in problems(root / "config.yaml", flags))


def problems(path: Path, flags: dict[str, str]) -> tuple[Problem, ...]:
    """Those of the one kind of error that may come; none where it loads."""
    try:
        assert isinstance(load(path, environ={"A": "1"}, flags=flags), Loaded)
    except ConfigError as error:
        return error.problems
    return ()


STEPS = st.lists(st.from_regex(r"[a-z][a-z0-9-]{0,5}", fullmatch=True) | st.integers(0, 99), min_size=1).map(tuple)


@given(STEPS)
def test_a_written_path_is_read_back(steps):
    if isinstance(steps[0], str):
        assert read(written(steps)) == steps


@given(st.text(max_size=20))
def test_any_text_is_a_path_or_a_value_error(text):
    with contextlib.suppress(ValueError):
        assert read(text)
