"""Kinds that other distributions bring: found, shown with where they come from, refused when nobody can tell which."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from installed_distribution import KIND, PACKAGE, install

BIN = Path(sys.executable).parent
CODE_VERSION = "from launchyard_pipelines.code_version import compute_code_version; print(compute_code_version())"


def call(site: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Return the ended command, which ran in the folder above ``site`` with ``site`` as one more of its paths."""
    return subprocess.run(
        [BIN / command[0], *command[1:]],
        cwd=site.parent,
        env=os.environ | {"PYTHONPATH": str(site), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_kind_of_another_distribution_is_a_kind_like_any_other(tmp_path: Path) -> None:
    site = tmp_path / "site"
    install(site)

    listed = call(site, "launchyard", "kinds")
    made = call(site, "launchyard", "init", "acme-notes", "shop")
    checked = call(site, "launchyard", "validate", "shop", "--set", "serve.max_inputs=9")
    refused = call(site, "launchyard", "validate", "shop", "--set", "serve.max_inputs=none")

    line = f"{'acme-notes':<24} What notes are about. (acme-notes-kind 1.2)"
    assert line in listed.stdout.splitlines(), listed.stderr
    assert made.returncode == checked.returncode == 0, made.stderr + checked.stderr
    assert '"const": "acme-notes"' in (tmp_path / "shop/product.schema.json").read_text(encoding="utf-8")
    assert (refused.returncode, "serve.max_inputs=none: must be a whole number" in refused.stderr) == (2, True)


def test_the_code_of_a_kind_is_part_of_the_version_of_the_code(tmp_path: Path) -> None:
    site = tmp_path / "site"
    without = call(site.parent, "python", "-c", CODE_VERSION).stdout
    install(site)
    first = call(site, "python", "-c", CODE_VERSION).stdout
    (site / PACKAGE / "__init__.py").write_text(f"{KIND}\n# Changed.\n", encoding="utf-8")
    second = call(site, "python", "-c", CODE_VERSION).stdout

    assert without.startswith("0.")
    assert len({without, first, second}) == 3


def test_of_a_kind_in_one_module_no_code_beside_it_is_a_part(tmp_path: Path) -> None:
    site = tmp_path / "site"
    install(site)
    shutil.rmtree(site / PACKAGE)
    module = site / f"{PACKAGE}.py"
    module.write_text(KIND, encoding="utf-8")
    first = call(site, "python", "-c", CODE_VERSION).stdout
    (site / "unrelated.py").write_text("", encoding="utf-8")
    again = call(site, "python", "-c", CODE_VERSION).stdout
    module.write_text(f"{KIND}\n# Changed.\n", encoding="utf-8")
    changed = call(site, "python", "-c", CODE_VERSION).stdout

    assert first.startswith("0.")
    assert (again == first, changed == first) == (True, False)


@pytest.mark.parametrize(
    ("module", "point", "message"),
    [
        ("import no_such_library", "acme-notes", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_lib"),
        ("KIND = 'acme-notes'", "acme-notes", "acme_notes:KIND is no launchyard.kind.Kind"),
        (KIND, "notes", "calls itself 'acme-notes'. Its entry point must have that name"),
    ],
)
def test_a_broken_distribution_is_named_and_stops_no_other_kind(
    tmp_path: Path, module: str, point: str, message: str
) -> None:
    site = tmp_path / "site"
    install(site, module=module, point=point)

    listed = call(site, "launchyard", "kinds")
    made = call(site, "launchyard", "init", "text-classification", "mine")
    refused = call(site, "launchyard", "init", point, "shop")

    assert f"{point:<24} cannot be used: '{point}' of acme-notes-kind 1.2" in listed.stdout
    assert message in listed.stdout
    assert made.returncode == 0, made.stderr
    assert refused.returncode == 2
    assert message in refused.stderr


def test_two_kinds_of_one_name_are_both_refused(tmp_path: Path) -> None:
    site = tmp_path / "site"
    own = KIND.replace('"acme-notes"', '"text-classification"')
    install(site, module=own, point="text-classification")

    refused = call(site, "launchyard", "init", "text-classification", "shop")
    made = call(site, "launchyard", "init", "recommendation", "films")

    assert refused.returncode == 2
    assert "'text-classification' is brought by acme-notes-kind 1.2 and by launchyard 0." in refused.stderr
    assert "Uninstall all but one" in refused.stderr
    assert made.returncode == 0, made.stderr
