"""A working folder and an environment as people have them, in which nothing of ours may behave otherwise."""

from __future__ import annotations

from pathlib import Path

SHADOWING = ("calendar", "email", "kfp", "mlflow", "ray", "secrets", "torch", "types")
"""Names of modules that ours import, and that people give to their own files."""
MARK = "WAS_RUN"


def write_shadowing_modules(folder: Path) -> None:
    """Put files into ``folder`` that leave a mark when anything imports them."""
    for name in SHADOWING:
        code = f"import pathlib\npathlib.Path({str(folder / MARK)!r}).open('a').write('{name} ')\n"
        (folder / f"{name}.py").write_text(code)


def list_imported(folder: Path) -> str:
    """Return the names of the files in ``folder`` that were imported."""
    mark = folder / MARK
    return mark.read_text() if mark.exists() else ""


def make_hostile_environment(folder: Path) -> dict[str, str]:
    """Return variables: a dead proxy, a temporary folder with a long path, a terminal without Unicode."""
    temporary = folder / ("a-folder-with-a-long-name-" * 4)
    temporary.mkdir(exist_ok=True)
    proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), "http://127.0.0.1:9")
    return {**proxies, "TMPDIR": str(temporary), "PYTHONIOENCODING": "ascii"}
