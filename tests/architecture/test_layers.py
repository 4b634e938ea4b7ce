"""Who may import whom. The arrows are ARCHITECTURE.md's, a partial order: what an arrow reaches, it reaches on."""

import graphlib
from functools import cache
from pathlib import Path

import pytest

import citadel_edge
from architecture_source import Module, Package, read

PACKAGE = read(Path(citadel_edge.__file__).parent)

ARROWS = {
    "__main__": {"cli"},
    "cli": {"process", "simulator", "control"},
    "process": {"listeners", "embedded", "edge", "control"},
    "listeners": {"edge", "health", "graph"},
    "graph": {"telemetry"},
    "edge": {"health", "completions", "operations"},
    "health": {"completions", "storage"},
    "operations": {"accounts", "fleet"},
    "completions": {"routing", "limits", "streams", "fleet", "budgets"},
    "limits": {"accounts"},
    "routing": {"fleet"},
    "accounts": {"storage"},
    "fleet": {"storage"},
    "streams": {"storage"},
    "storage": {"telemetry"},
    "budgets": {"telemetry"},
    "embedded": {"telemetry"},
    "control": {"telemetry"},
    "telemetry": {"config"},
    "config": {"errors"},
    "errors": {"wire", "groups"},
    "groups": set(),
    "simulator": {"wire"},
    "wire": set(),
}
DOORS = {"graphql", "streaming", "routing", "rate_limiting"}
BELOW_THE_GRAPH = ("graph", "telemetry.clock", "errors")


@cache
def below(room: str) -> frozenset[str]:
    """Every room that `room` may import, itself included."""
    return frozenset({room}).union(*(below(lower) for lower in ARROWS.get(room, ())))


def room_of(inside: str) -> str:
    return inside.partition(".")[0]


def upward_imports(package: Package) -> list[str]:
    """Imports that no arrow allows, a room without a line in the table is one. The version is free."""
    return [
        module.at(wanted.line, f"{room_of(inside) or 'the package'} may not import {target}")
        for module in package.modules.values()
        if (inside := package.inside(module.name)) is not None
        for wanted in package.imports(module)
        if (target := package.inside(wanted.target))
        if room_of(inside) not in ARROWS or room_of(target) not in below(room_of(inside))
    ]


def what_the_graph_should_not_know(package: Package) -> list[str]:
    """Imports of the graph beyond itself, the clock and the errors: it is about a schema, whatever stands behind it."""
    return [
        module.at(wanted.line, f"the graph knows {target}")
        for module in package.modules.values()
        if room_of(package.inside(module.name) or "") == "graph"
        for wanted in package.imports(module)
        if (target := package.inside(wanted.target))
        if not any(f"{target}.".startswith(f"{known}.") for known in BELOW_THE_GRAPH)
    ]


def doors_that_know_each_other(package: Package) -> list[str]:
    """A door that imports another door, or `common` that imports any."""
    return [
        module.at(wanted.line, f"{door} knows {other}")
        for module in package.modules.values()
        if (door := _door(package, module.name)) in DOORS | {"common"}
        for wanted in package.imports(module)
        if (other := _door(package, wanted.target)) in DOORS and other != door
    ]


def _door(package: Package, name: str) -> str | None:
    parts = (package.inside(name) or "").split(".")
    return parts[1] if parts[0] == "listeners" and len(parts) > 1 else None


def cycle(package: Package) -> list[str]:
    """The modules of one import cycle, first and last the same; empty when there is none."""
    graph = {name: _neighbours(package, module) for name, module in package.modules.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def _neighbours(package: Package, module: Module) -> set[str]:
    return {wanted.target for wanted in package.imports(module) if wanted.target in package.modules} - {module.name}


def test_no_import_goes_upward() -> None:
    assert upward_imports(PACKAGE) == []


def test_the_graph_knows_nothing_but_the_clock_and_errors() -> None:
    assert what_the_graph_should_not_know(PACKAGE) == []


def test_doors_do_not_know_each_other() -> None:
    assert doors_that_know_each_other(PACKAGE) == []


def test_no_module_reaches_itself_by_imports() -> None:
    assert cycle(PACKAGE) == []


def test_every_folder_and_module_at_the_top_has_its_place_in_the_table() -> None:
    rooms = {room_of(inside) for name in PACKAGE.modules if (inside := PACKAGE.inside(name))}
    assert rooms <= set(ARROWS)


def test_the_table_has_no_cycle_and_siblings_are_strangers() -> None:
    tuple(graphlib.TopologicalSorter(ARROWS).static_order())
    for one, other in (("routing", "streams"), ("routing", "limits"), ("limits", "streams"), ("simulator", "errors")):
        assert other not in below(one)
        assert one not in below(other)


@pytest.fixture
def tree(tmp_path: Path) -> "TreeMaker":
    return TreeMaker(tmp_path / "citadel_edge")


class TreeMaker:
    """Writes a small package to read."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, **files: str) -> Package:
        for name, source in files.items():
            path = self.root / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        return read(self.root)


@pytest.mark.parametrize(
    "source",
    [
        "from citadel_edge.edge import Edge",
        "import citadel_edge.edge",
        "from citadel_edge import edge",
        "from .. import edge",
        "from ..edge import Edge",
        "def late():\n    from citadel_edge.edge import Edge\n    return Edge",
    ],
)
def test_an_upward_import_is_found_however_it_is_written(tree: TreeMaker, source: str) -> None:
    package = tree(edge="class Edge: ...", wire__sse=source)
    assert len(upward_imports(package)) == 1


def test_a_room_that_the_table_does_not_know_is_found(tree: TreeMaker) -> None:
    assert upward_imports(tree(attic__box="from citadel_edge.wire import sse", wire__sse=""))


def test_a_downward_import_is_no_finding(tree: TreeMaker) -> None:
    package = tree(
        cli__main="from citadel_edge.wire.sse import Event\nfrom citadel_edge import process, __version__",
        process="import citadel_edge.config",
        wire__sse="import json",
        config__shape="",
    )
    assert upward_imports(package) == []


def test_a_door_that_imports_another_is_found(tree: TreeMaker) -> None:
    package = tree(
        listeners__graphql__a="from citadel_edge.listeners.routing import b",
        listeners__routing__b="from citadel_edge.listeners.common import c",
        listeners__common__c="import citadel_edge.listeners.graphql.a",
    )
    assert len(doors_that_know_each_other(package)) == 2


def test_a_graph_that_knows_more_than_a_schema_is_found(tree: TreeMaker) -> None:
    package = tree(
        graph__running="from citadel_edge.telemetry.hub import Hub\nfrom citadel_edge.telemetry.clock import Clock",
        graph__compiled__run="from citadel_edge.graph import running\nfrom citadel_edge.errors import Code",
        telemetry__hub="",
        telemetry__clock="",
        errors="",
    )
    assert len(what_the_graph_should_not_know(package)) == 1


def test_a_cycle_is_found_and_named(tree: TreeMaker) -> None:
    package = tree(
        fleet__a="from citadel_edge.fleet import b",
        fleet__b="from .c import thing",
        fleet__c="def late():\n    import citadel_edge.fleet.a",
    )
    assert set(cycle(package)) == {"citadel_edge.fleet.a", "citadel_edge.fleet.b", "citadel_edge.fleet.c"}
