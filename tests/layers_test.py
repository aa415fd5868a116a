"""Imports inside the package point down, and importing the package is light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "asteroid_sinudae"
# From the bottom. What stands in one row may import what stands in the rows before it; modules of
# one folder may import each other.
LAYERS = (
    ("utils",),
    ("losses", "metrics"),
    ("filterbanks",),
    ("models",),
    ("masks",),
    ("songs",),
    ("data",),
    ("training", "evaluation"),
    ("runs",),
    ("report",),
    ("cli",),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imports(path):
    """Modules of the package that a module imports, as dotted names inside the package."""
    here = path.relative_to(PACKAGE).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*here[: len(here) - node.level], *(node.module or "").split(".")]
            base = [part for part in base if part]
            yield from [base] if base else ([alias.name] for alias in node.names)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names = (
                [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            )
            absolute = [name for name in names if name.split(".")[0] == PACKAGE.name]
            assert not absolute, f"{path}: expected relative imports, got {absolute}"


MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent != PACKAGE]


def test_every_folder_has_a_layer():
    assert {path.relative_to(PACKAGE).parts[0] for path in MODULES} <= set(LEVEL)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    here = path.relative_to(PACKAGE).parts[0]
    for there in {module[0] for module in imports(path)} & set(LEVEL) - {here}:
        assert LEVEL[there] < LEVEL[here], f"{path} imports {there}"


def test_no_module_imports_itself_in_a_circle():
    """Also of modules in one folder; imports inside functions count as well."""
    graph = {}
    for path in MODULES:
        name = path.relative_to(PACKAGE).with_suffix("").parts
        graph[name] = {tuple(module) for module in imports(path)}
    done, active = set(), []

    def visit(name):
        if name in active:
            circle = [".".join(each) for each in [*active[active.index(name) :], name]]
            raise AssertionError(" -> ".join(circle))
        if name in done or name not in graph:
            return
        active.append(name)
        for module in sorted(graph[name]):
            visit(module)
        done.add(active.pop())

    for name in graph:
        visit(name)


@pytest.mark.parametrize(
    "code, absent",
    [
        ("import asteroid_sinudae", {"torch", "asteroid", "numpy"}),
        (
            "from asteroid_sinudae import SinuDAE",
            {"pandas", "museval", "musdb", "matplotlib", "ot"},
        ),
    ],
)
def test_imports_are_light(code, absent):
    code += f"; import sys; print(sorted({absent!r} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == "[]\n", run.stderr
