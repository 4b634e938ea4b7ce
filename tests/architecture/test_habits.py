"""Habits that a reader counts on: no globals, no hidden state, no bare tasks, no silent excepts, small parts."""

import ast
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import citadel_edge
from architecture_source import Function, Module, Package, read

PACKAGE = read(Path(citadel_edge.__file__).parent)

MAX_MODULE_LINES = 300
MEDIAN_FUNCTION_LINES = 8
MOST_FUNCTIONS_LINES = 40
LOG_METHODS = frozenset({"debug", "info", "warning", "error", "exception", "critical", "log"})
HANDED_ON = frozenset({"set_exception", "handle_field_error"})
STATEFUL = frozenset(
    "dict list set bytearray defaultdict deque OrderedDict Counter count cycle Lock RLock Event Condition Semaphore "
    "BoundedSemaphore Queue PriorityQueue SimpleQueue WeakKeyDictionary WeakValueDictionary WeakSet local "
    "CollectorRegistry Gauge Histogram Summary".split()
)
MUTATORS = frozenset(
    "append extend insert remove pop popitem clear add discard update setdefault sort reverse appendleft".split()
)
Rule = Callable[[Package], list[str]]


def global_statements(package: Package) -> list[str]:
    return [
        module.at(node.lineno, "global")
        for module in package.modules.values()
        for node in module.nodes
        if isinstance(node, ast.Global)
    ]


def module_state(package: Package) -> list[str]:
    """Module-level names that hold something mutable: filled later, made by a stateful factory, or changed anywhere.

    A table in capitals that nobody changes is a constant.
    """
    return [finding for module in package.modules.values() for finding in _state_of(module)]


def _state_of(module: Module) -> Iterator[str]:
    changed = set(_changed_names(module))
    for node in module.tree.body:
        for name, value in _assigned(node):
            if _is_stateful_call(value) or _is_empty(value):
                yield module.at(node.lineno, f"{name} is filled later")
            elif _is_container(value) and (name in changed or not _is_constant(name)):
                yield module.at(node.lineno, f"{name} is mutable")


def _assigned(node: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.Assign):
        yield from ((target.id, node.value) for target in node.targets if isinstance(target, ast.Name))
    elif isinstance(node, ast.AnnAssign) and node.value is not None and isinstance(node.target, ast.Name):
        yield node.target.id, node.value


def _is_constant(name: str) -> bool:
    return name == name.upper() or (name.startswith("__") and name.endswith("__"))


def _is_container(value: ast.expr) -> bool:
    return isinstance(value, ast.Dict | ast.List | ast.Set | ast.DictComp | ast.ListComp | ast.SetComp)


def _is_empty(value: ast.expr) -> bool:
    return (isinstance(value, ast.Dict) and not value.keys) or (isinstance(value, ast.List) and not value.elts)


def _is_stateful_call(value: ast.expr) -> bool:
    return isinstance(value, ast.Call) and ast.unparse(value.func).rpartition(".")[2].partition("[")[0] in STATEFUL


def _changed_names(module: Module) -> Iterator[str]:
    for node in module.nodes:
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            yield ast.unparse(node.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
            yield ast.unparse(node.func.value)


def bare_tasks(package: Package) -> list[str]:
    """Tasks that nobody owns: made by asyncio itself or by the loop, not by a TaskGroup."""
    return [
        module.at(node.lineno, ast.unparse(node.func))
        for module in package.modules.values()
        for node in module.nodes
        if isinstance(node, ast.Call) and _is_bare_task(ast.unparse(node.func))
    ]


def _is_bare_task(called: str) -> bool:
    owner, _, name = called.rpartition(".")
    return name == "ensure_future" or (name == "create_task" and (owner in {"", "asyncio"} or "loop" in owner))


def silent_excepts(package: Package) -> list[str]:
    """Broad excepts that neither raise nor (for Exception) log or hand the error on; suppressing broadly is one."""
    return [
        module.at(node.lineno, "a broad except that keeps quiet")
        for module in package.modules.values()
        for node in module.nodes
        if (isinstance(node, ast.ExceptHandler) and _keeps_quiet(node)) or _suppresses_broadly(node)
    ]


def _keeps_quiet(handler: ast.ExceptHandler) -> bool:
    names = _caught(handler.type)
    raises = any(isinstance(node, ast.Raise) for node in ast.walk(handler))
    if "BaseException" in names:
        return not raises
    return "Exception" in names and not raises and not (_calls(handler) & (LOG_METHODS | HANDED_ON))


def _caught(kind: ast.expr | None) -> set[str]:
    if kind is None:
        return {"BaseException"}
    return {ast.unparse(name) for name in (kind.elts if isinstance(kind, ast.Tuple) else [kind])}


def _calls(handler: ast.ExceptHandler) -> set[str]:
    calls = (node for node in ast.walk(handler) if isinstance(node, ast.Call))
    return {node.func.attr for node in calls if isinstance(node.func, ast.Attribute)}


def _suppresses_broadly(node: ast.AST) -> bool:
    if not (isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress")):
        return False
    return bool({ast.unparse(argument) for argument in node.args} & {"Exception", "BaseException"})


def long_modules(package: Package) -> list[str]:
    return [
        f"{module.inside}: {module.lines} lines"
        for module in package.modules.values()
        if module.lines > MAX_MODULE_LINES
    ]


def undescribed_modules(package: Package) -> list[str]:
    return [module.inside for module in package.modules.values() if not ast.get_docstring(module.tree)]


def function_lines(function: Function) -> int:
    """Lines from `def` to the end, without the docstring."""
    total = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    described = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    described = described and isinstance(first.value.value, str)
    return total - ((first.end_lineno or first.lineno) - first.lineno + 1 if described else 0)


def long_functions(package: Package) -> list[str]:
    """Empty while the median is at most 8 lines and 95 of 100 functions have at most 40; else the longest by name."""
    sizes = sorted(
        (function_lines(function), module.at(function.lineno, function.name))
        for module in package.modules.values()
        for function in module.functions
    )
    lines = [size for size, _ in sizes]
    if not lines:
        return []
    median, most = statistics.median(lines), lines[int(0.95 * (len(lines) - 1))]
    if median <= MEDIAN_FUNCTION_LINES and most <= MOST_FUNCTIONS_LINES:
        return []
    return [f"median {median}, 95 % at {most}", *(f"{where}: {size} lines" for size, where in sizes[-20:])]


RULES = {
    rule.__name__: rule
    for rule in (
        global_statements,
        module_state,
        bare_tasks,
        silent_excepts,
        long_modules,
        undescribed_modules,
        long_functions,
    )
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_the_package_keeps_the_habit(rule: Rule) -> None:
    assert rule(PACKAGE) == []


BROKEN = [
    ("global_statements", "def f():\n    global x\n    x = 1"),
    ("module_state", "cache = {}"),
    ("module_state", "CACHE: dict[str, int] = {}"),
    ("module_state", "names = ['a']"),
    ("module_state", "TABLE = {'a': 1}\ndef f():\n    TABLE['b'] = 2"),
    ("module_state", "NAMES = ['a']\ndef f():\n    NAMES.append('b')"),
    ("module_state", "import collections\nSEEN = collections.defaultdict(list)"),
    ("module_state", "import asyncio\nLOCK = asyncio.Lock()"),
    ("module_state", "QUEUE = Queue[int]()"),
    ("bare_tasks", "import asyncio\nasyncio.create_task(f())"),
    ("bare_tasks", "asyncio.get_running_loop().create_task(f())"),
    ("bare_tasks", "self._loop.create_task(f())"),
    ("bare_tasks", "asyncio.ensure_future(f())"),
    ("silent_excepts", "try: f()\nexcept: pass"),
    ("silent_excepts", "try: f()\nexcept BaseException: log.error('x')"),
    ("silent_excepts", "try: f()\nexcept Exception: pass"),
    ("silent_excepts", "try: f()\nexcept (ValueError, Exception): x = 1"),
    ("silent_excepts", "with contextlib.suppress(Exception): f()"),
    ("long_modules", "x = 1\n" * 301),
    ("undescribed_modules", "x = 1"),
    ("long_functions", "def f():\n" + "    x = 1\n" * 9),
    ("long_functions", "def f(): ...\n" * 9 + "def g():\n" + "    x = 1\n" * 60 + "def h():\n" + "    x = 1\n" * 60),
]
KEPT = [
    ("module_state", "TABLE = {'a': 1}\nNAMES = ('a',)\n__all__ = ['f']\nALLOWED = frozenset({1})"),
    ("module_state", "def f():\n    seen = {}\n    seen['a'] = 1\n    return seen"),
    ("bare_tasks", "group.create_task(f())"),
    ("silent_excepts", "try: f()\nexcept BaseException:\n    g()\n    raise"),
    ("silent_excepts", "try: f()\nexcept Exception: log.exception('x')"),
    ("silent_excepts", "try: f()\nexcept Exception as error: future.set_exception(error)"),
    ("silent_excepts", "try: f()\nexcept ValueError: pass"),
    ("long_modules", "x = 1\n" * 300),
    ("undescribed_modules", '"""What it decides."""'),
    ("long_functions", 'def f():\n    """One.\n\n    Two\n    """\n' + "    x = 1\n" * 7),
]


@pytest.mark.parametrize(("rule", "source"), BROKEN)
def test_a_broken_habit_is_found(tmp_path: Path, rule: str, source: str) -> None:
    assert RULES[rule](_package(tmp_path, source))


@pytest.mark.parametrize(("rule", "source"), KEPT)
def test_a_kept_habit_is_no_finding(tmp_path: Path, rule: str, source: str) -> None:
    assert RULES[rule](_package(tmp_path, source)) == []


def _package(tmp_path: Path, source: str) -> Package:
    root = tmp_path / "citadel_edge"
    root.mkdir()
    (root / "broken.py").write_text(source)
    return read(root)
