"""How the source is laid out, so that a stranger finds any behaviour within two minutes."""

from __future__ import annotations

import ast
import re
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
from launchyard.kinds import iter_built_in_kinds

PACKAGES = (launchyard, launchyard_pipelines, launchyard_serving)
ROOTS = [Path(package.__path__[0]) for package in PACKAGES]
FOLDERS = [folder for root in ROOTS for folder in [root, *root.rglob("*")] if (folder / "__init__.py").is_file()]
COMMANDS = ("_commands.py", "forget_command.py", "cli.py", "components.py")
"""Ends of the names of files in which a function may import our own modules: bodies of commands and of components."""
FORMER_KEYS = ("results.py: accuracy",)
"""Keys of records that an earlier version wrote, by which they are still read."""


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


def test_nothing_outside_the_kinds_names_a_kind_or_decides_by_a_metric() -> None:
    kinds = iter_built_in_kinds()
    names = {name for kind in kinds for name in (kind.name, kind.folder.name, kind.spec.__name__)}
    named = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, names))})(?![\w-])")
    metrics = {part for kind in kinds for metric in kind.metrics for part in (metric, re.split(r"[@\[]", metric)[0])}
    files = [path for root in ROOTS for path in root.rglob("*.py") if not _is_inside(path)]
    texts = {path: path.read_text(encoding="utf-8") for path in files}

    found = [f"{path.name}: {match[0]}" for path, text in texts.items() for match in named.finditer(text)]
    decided = [
        f"{path.name}: {text}" for path, source in texts.items() for text in _iter_texts(source) if text in metrics
    ]

    assert found == []
    assert [line for line in decided if line not in FORMER_KEYS] == []


def _is_inside(path: Path) -> bool:
    """Return whether a file belongs to one kind, or to the metrics that kinds share."""
    inside = path.relative_to(next(root for root in ROOTS if path.is_relative_to(root))).parts
    return (inside[0] == "kinds" and len(inside) > 2) or inside[:2] == ("evaluation", "metrics")


def _iter_texts(source: str) -> Iterator[str]:
    """Yield the texts in a module that are no docstrings."""
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


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
