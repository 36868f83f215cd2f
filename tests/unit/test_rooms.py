"""How the source is laid out, so that a stranger finds any behaviour within two minutes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from runpy import run_path

import grimp
import pytest

import launchyard
import launchyard_pipelines
import launchyard_serving
from doc_blocks import ROOT

PACKAGES = (launchyard, launchyard_pipelines, launchyard_serving)
ROOTS = [Path(package.__path__[0]) for package in PACKAGES]
FOLDERS = [folder for root in ROOTS for folder in [root, *root.rglob("*")] if (folder / "__init__.py").is_file()]
COMMANDS = ("_commands.py", "forget_command.py", "cli.py", "components.py")
"""Ends of the names of files in which a function may import our own modules: bodies of commands and of components."""


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_folder_has_few_modules(folder: Path) -> None:
    modules = sorted(path.name for path in folder.glob("*.py"))

    assert len(modules) <= (14 if folder == ROOTS[0] else 16), f"{folder.name}: {modules}. Group what belongs together"


def test_the_map_of_the_source_is_up_to_date() -> None:
    render_map = run_path(str(ROOT / "docs" / "write_map.py"))["render_map"]

    assert (ROOT / "docs" / "map.md").read_text(encoding="utf-8") == render_map(), "run: make docs"


def test_no_module_imports_itself_by_way_of_others_not_even_for_types() -> None:
    graph = grimp.build_graph(*(package.__name__ for package in PACKAGES), cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}

    assert list(_iter_cycles(imports)) == []


def test_our_own_modules_are_imported_at_the_top_of_files() -> None:
    hidden = [
        f"{path.name}:{node.lineno}"
        for root in ROOTS
        for path in root.rglob("*.py")
        if not path.name.endswith(COMMANDS)
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("launchyard")
    ]

    assert hidden == []


def _iter_cycles(imports: dict[str, set[str]]) -> Iterator[list[str]]:
    """Yield the groups of modules that reach each other (Tarjan 1972)."""
    numbers, lowest, stack, numbering = {}, {}, list[str](), count()

    def visit(module: str) -> Iterator[list[str]]:
        numbers[module] = lowest[module] = next(numbering)
        stack.append(module)
        for imported in imports.get(module, ()):
            if imported not in numbers:
                yield from visit(imported)
            if imported in stack:
                lowest[module] = min(lowest[module], lowest[imported])
        if lowest[module] == numbers[module]:
            place = stack.index(module)
            group = sorted(stack[place:])
            del stack[place:]
            if len(group) > 1:
                yield group

    for module in sorted(imports):
        if module not in numbers:
            yield from visit(module)
