"""From files, environment and flags to one checked `Config`, or to every mistake at once.

Decides the order: read, parse, fill in references, lay over each other, check types and agreement. Refuses to know any
of these steps in detail, and what the settings are used for.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from citadel_edge.config import dotenv, yaml_text
from citadel_edge.config.consistency import Mistake, check
from citadel_edge.config.documents import Document, Merged, Origin, Place, Source, fill, merge
from citadel_edge.config.environment import from_flags, from_variables
from citadel_edge.config.fields import File
from citadel_edge.config.files import DOTENV, Files, TextFile, read_files
from citadel_edge.config.oddities import oddities
from citadel_edge.config.outline import outline
from citadel_edge.config.paths import Steps
from citadel_edge.config.schema import without_empty_sections
from citadel_edge.config.sentences import MISSING, explain
from citadel_edge.config.shape import Config, ListenerConfig, ListenerName, Tls, default_listeners
from citadel_edge.errors import ConfigError, Problem

DATA_DIR: Steps = ("data_dir",)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that holds together.

    Attributes:
        config: the settings; relative paths of files are made absolute, from the directory of the configuration file
            (those of flags from the working directory).
        sources: the files that were read, in the order of their precedence.
        warnings: what is legal but odd, a sentence each.
    """

    config: Config
    sources: tuple[Path, ...]
    warnings: tuple[str, ...]


def load(path: Path | None, *, environ: Mapping[str, str], flags: Mapping[str, str] | None = None) -> Loaded:
    """Load the configuration.

    Args:
        path: the file; drop-ins and `.env` are looked for beside it. None: defaults, environment and flags only.
        environ: the environment's variables, over those of `.env`.
        flags: settings by their paths (`routing.retries`, `upstreams[gpu-a].slots`), over everything.

    Raises:
        ConfigError: with every mistake of every source.
    """
    files = read_files(path)
    desk = _Desk(list(files.problems), whole=files.main is not None or path is None)
    merged = merge([_defaults(), *desk.documents(files, environ, flags or {})])
    config = desk.checked(merged, path.parent if path else Path())
    if config is None or desk.problems:
        raise ConfigError(desk.problems)
    return Loaded(config, files.read, (*files.warnings, *oddities(config)))


def find_data_dir(path: Path | None, *, environ: Mapping[str, str], flags: Mapping[str, str] | None = None) -> Path:
    """Where the data directory is, whatever else is wrong: a shell need not know the secrets of the process it asks.

    Raises:
        ConfigError: a source cannot be read, or the data directory itself is given wrong.
    """
    files = read_files(path)
    desk = _Desk(list(files.problems), whole=files.main is not None or path is None)
    merged = merge(desk.documents(files, environ, flags or {}))
    place = merged.place(DATA_DIR)
    if not desk.whole or (place is not None and place in desk.failed):
        raise ConfigError(desk.problems)
    try:
        found = TypeAdapter(File).validate_python(merged.data.get("data_dir", str(Config().data_dir)))
    except ValidationError as error:
        raise ConfigError([merged.problem(DATA_DIR, message) for _, message in explain(error)]) from None
    return _Paths(merged, path.parent if path else Path()).at(DATA_DIR, found)


@dataclass(slots=True)
class _Desk:
    """Where mistakes are gathered.

    Attributes:
        problems: the mistakes so far.
        whole: false once a source could not be read at all: then what is missing proves nothing.
        failed: the places whose value is unknown, of which a mistake is known already.
    """

    problems: list[Problem]
    whole: bool
    failed: set[Place] = field(default_factory=set)

    def documents(self, files: Files, environ: Mapping[str, str], flags: Mapping[str, str]) -> list[Document]:
        """All sources, the weakest first."""
        variables = {**self._dotenv(files.dotenv), **environ}
        main = [self._document(files.main, Origin.FILE, variables)] if files.main else []
        drop_ins = [self._document(file, Origin.DROP_IN, variables) for file in files.drop_ins]
        from_command, problems = from_flags(flags)
        self.problems += problems
        return [*main, *drop_ins, *from_variables(variables), *from_command]

    def checked(self, merged: Merged, base: Path) -> Config | None:
        """The typed configuration, or None with the mistakes noted: those of types and those across fields together."""
        config, mistakes = _typed(merged.data)
        paths = _Paths(merged, base)
        if self.whole:
            typed = {steps for steps, _ in mistakes}
            across = check(
                outline(merged.data), is_file=lambda file: os.access(paths.at(file.steps, file.name), os.R_OK)
            )
            mistakes += [mistake for mistake in across if mistake[0] not in typed]
        else:
            mistakes = [mistake for mistake in mistakes if mistake[1] != MISSING]
        for steps, message in mistakes:
            if merged.place(steps) not in self.failed:
                self.problems.append(merged.problem(steps, message))
        return paths.absolute(config) if config else None

    def _dotenv(self, file: TextFile | None) -> Mapping[str, str]:
        parsed = dotenv.parse(file.text if file else "")
        source = Source(Origin.ENVIRONMENT, DOTENV)
        self.problems += [source.problem(flaw) for flaw in parsed.flaws]
        return parsed.variables

    def _document(self, file: TextFile, origin: Origin, variables: Mapping[str, str]) -> Document:
        source = Source(origin, file.label)
        parsed = yaml_text.parse(file.text)
        filled = fill(parsed.data, variables, source=source)
        self.whole = self.whole and parsed.whole
        self.failed |= {Place(source, steps) for steps in filled.failed}
        self.problems += [*map(source.problem, parsed.flaws), *filled.problems]
        return Document(source, without_empty_sections(filled.data))


@dataclass(frozen=True, slots=True)
class _Paths:
    """Makes relative paths absolute: those of files from the directory of the configuration file, others from here."""

    merged: Merged
    base: Path

    def at(self, steps: Steps, path: str | Path) -> Path:
        place = self.merged.place(steps)
        outside = place is not None and place.source.origin in (Origin.ENVIRONMENT, Origin.FLAG)
        return Path(os.path.abspath(path if outside else self.base / path))  # noqa: PTH100 - links stay as they are

    def absolute(self, config: Config) -> Config:
        directory = config.logs.directory
        logs = replace(config.logs, directory=directory and self.at(("logs", "directory"), directory))
        listeners = {name: self._listener(name, listener) for name, listener in config.listeners.items()}
        graphql = replace(config.graphql, documents=self.at(("graphql", "documents"), config.graphql.documents))
        data_dir = self.at(DATA_DIR, config.data_dir)
        return replace(config, data_dir=data_dir, logs=logs, listeners=listeners, graphql=graphql)

    def _listener(self, name: ListenerName, listener: ListenerConfig) -> ListenerConfig:
        tls, steps = listener.tls, ("listeners", str(name), "tls")
        if tls is None:
            return listener
        return replace(
            listener, tls=Tls(cert=self.at((*steps, "cert"), tls.cert), key=self.at((*steps, "key"), tls.key))
        )


def _typed(data: Mapping[str, Any]) -> tuple[Config | None, list[Mistake]]:
    try:
        return _checker().validate_python(data), []
    except ValidationError as error:
        return None, explain(error)


@cache
def _checker() -> TypeAdapter[Config]:
    """Built once: it takes longer than a configuration takes to check."""
    return TypeAdapter(Config)


def _defaults() -> Document:
    """What a listener has of its own, so that a file may name only some of its settings."""
    listeners = {
        str(name): {"port": listener.port, "budget": asdict(listener.budget)}
        for name, listener in default_listeners().items()
    }
    return Document(Source(Origin.DEFAULTS, "defaults"), {"listeners": listeners})
