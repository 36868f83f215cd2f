"""Write docs/map.md: every folder and module of the source with the first line of what it says of itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
ROOTS = ("platform/launchyard", "pipelines/launchyard_pipelines", "serving/launchyard_serving")
HEAD = """\
# Where to find what

Written by `make docs` from the first line of each module. The core (`platform/`) knows neither Ray nor Kubeflow;
pipelines and serving stand on it and never on each other; a kind never on another kind.
"""


def render_map() -> str:
    """Return the document."""
    return "\n".join([HEAD, *(line for root in ROOTS for line in _iter_lines(REPOSITORY / root))])


def _iter_lines(folder: Path) -> Iterator[str]:
    """Yield one heading and one table for each package, outermost first."""
    yield f"## `{folder.relative_to(REPOSITORY)}/`\n\n{_read_summary(folder / '__init__.py')}\n"
    modules = [path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
    if modules:
        yield "| module | what it is |\n|---|---|"
        yield from (f"| `{path.stem}` | {_read_summary(path)} |" for path in modules)
        yield ""
    for inner in sorted(path.parent for path in folder.glob("*/__init__.py")):
        yield from _iter_lines(inner)


def _read_summary(path: Path) -> str:
    """Return the first line of a module's docstring, without marks of reStructuredText."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0].replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    (REPOSITORY / "docs" / "map.md").write_text(render_map(), encoding="utf-8")
