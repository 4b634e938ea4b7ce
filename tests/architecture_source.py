"""A package read as source: its modules, what each imports, its functions. Runs nothing of what it reads."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Import:
    """One imported module, dotted and absolute, with the line that asks for it."""

    target: str
    line: int


@dataclass(frozen=True)
class Module:
    """One file. `inside` is its path within the package (`wire/sse.py`), `name` its dotted name."""

    name: str
    inside: str
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source, self.inside)

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        return tuple(ast.walk(self.tree))

    @property
    def lines(self) -> int:
        return len(self.source.splitlines())

    @property
    def functions(self) -> Iterator[Function]:
        return (node for node in self.nodes if isinstance(node, Function))

    def at(self, line: int, what: str) -> str:
        """A finding, said so that an editor can jump to it."""
        return f"{self.inside}:{line}: {what}"


@dataclass(frozen=True)
class Package:
    """All modules below a folder, by dotted name."""

    name: str
    modules: dict[str, Module]

    def imports(self, module: Module) -> tuple[Import, ...]:
        """Everything `module` imports anywhere in it; a name that is itself a module of ours counts as that module."""
        return tuple(self._imports(module))

    def _imports(self, module: Module) -> Iterator[Import]:
        for node in module.nodes:
            if isinstance(node, ast.Import):
                yield from (Import(alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = _base(module, node)
                for alias in node.names:
                    full = f"{base}.{alias.name}"
                    yield Import(full if full in self.modules else base, node.lineno)

    def inside(self, target: str) -> str | None:
        """The part of a dotted name after the package's own, or None for a stranger's module."""
        if target == self.name:
            return ""
        return target.removeprefix(f"{self.name}.") if target.startswith(f"{self.name}.") else None


def _base(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    package = parts if module.inside.endswith("__init__.py") else parts[:-1]
    kept = package[: len(package) - (node.level - 1)]
    return ".".join([*kept, *([node.module] if node.module else [])])


def read(root: Path) -> Package:
    """Read every Python file below `root`, a package's folder."""
    modules = (_module(root, path) for path in sorted(root.rglob("*.py")))
    return Package(root.name, {module.name: module for module in modules})


def _module(root: Path, path: Path) -> Module:
    relative = path.relative_to(root)
    parts = [root.name, *relative.with_suffix("").parts]
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Module(name, relative.as_posix(), path.read_text(encoding="utf-8"))
