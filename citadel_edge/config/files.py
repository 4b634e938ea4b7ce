"""The files of a configuration: the one that was named, the drop-ins and the `.env` beside it.

Decides which files belong together and how much of them is read. Refuses to know what they say.
"""

from dataclasses import dataclass
from pathlib import Path

from citadel_edge.errors import Problem

MAX_BYTES = 2**20
DROP_INS = Path("config", "services")
DOTENV = ".env"


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file that was read. `label` is its name as the operator knows it."""

    path: Path
    label: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What was found, and what could not be read."""

    main: TextFile | None
    drop_ins: tuple[TextFile, ...]
    dotenv: TextFile | None
    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]

    @property
    def read(self) -> tuple[Path, ...]:
        """The files that were read, in the order of their precedence."""
        found = (self.main, *self.drop_ins, self.dotenv)
        return tuple(file.path for file in found if file is not None)


class _Reader:
    """Reads files and keeps what went wrong."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[str] = []

    def read(self, path: Path, label: str) -> TextFile | None:
        try:
            content = _head(path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self._refuse(label, f"cannot be read: {reason.lower()}; check its path and permissions")
            return None
        if len(content) > MAX_BYTES:
            self._refuse(label, f"larger than {MAX_BYTES} bytes; is this the right file?")
            return None
        try:
            return TextFile(path, label, content.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            self._refuse(f"{label}:{line}", f"not UTF-8 (byte 0x{content[error.start]:02x}); save it as UTF-8")
            return None

    def read_drop_ins(self, base: Path) -> tuple[TextFile, ...]:
        """The `*.yaml` of the drop-ins' directory by name; what ends otherwise is warned about, not read."""
        try:
            names = sorted(entry.name for entry in (base / DROP_INS).iterdir() if not entry.name.startswith("."))
        except FileNotFoundError:
            return ()
        except OSError as error:
            self._refuse(str(DROP_INS), f"cannot be listed: {(error.strerror or '').lower()}; check its permissions")
            return ()
        labels = [str(DROP_INS / name) for name in names if name.endswith(".yaml")]
        self.warnings += [f"{DROP_INS / name}: not read; only *.yaml is" for name in names if name.endswith(".yml")]
        return tuple(file for label in labels if (file := self.read(base / label, label)) is not None)

    def _refuse(self, label: str, message: str) -> None:
        self.problems.append(Problem(label, message))


def read_files(path: Path | None) -> Files:
    """Read the file and what stands beside it; with no file, nothing. Never raises."""
    reader = _Reader()
    if path is None:
        return Files(main=None, drop_ins=(), dotenv=None, problems=(), warnings=())
    main = reader.read(path, str(path))
    drop_ins = reader.read_drop_ins(path.parent)
    dotenv = path.parent / DOTENV
    env_file = reader.read(dotenv, DOTENV) if dotenv.exists() else None
    return Files(
        main=main,
        drop_ins=drop_ins,
        dotenv=env_file,
        problems=tuple(reader.problems),
        warnings=tuple(reader.warnings),
    )


def _head(path: Path) -> bytes:
    """The content, or enough of it to know that there is too much."""
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)
