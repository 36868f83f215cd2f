from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launchyard.cli.streams import print_json

COMMAND = Path(sys.executable).with_name("launchyard")
SPEC = """api: launchyard/v1
product: опрос
kind: text-classification
data: {source: rows.csv}
"""


def run_in_latin_1(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    return subprocess.run(
        [COMMAND, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_terminal_without_unicode_shows_replacement_characters(tmp_path: Path) -> None:
    (tmp_path / "product.yaml").write_text(SPEC, encoding="utf-8")

    ended = run_in_latin_1("validate", "product.yaml", folder=tmp_path)

    assert ended.returncode == 2
    assert "product.yaml: product: " in ended.stderr and "?????" in ended.stderr
    assert "bug in Launchyard" not in ended.stderr


def test_a_json_document_loses_no_character_on_a_terminal_without_unicode(tmp_path: Path) -> None:
    (tmp_path / "product.yaml").write_text(SPEC, encoding="utf-8")

    ended = run_in_latin_1("validate", "product.yaml", "--json", folder=tmp_path)

    assert any("'опрос'" in error for error in json.loads(ended.stdout)["errors"])


@pytest.mark.parametrize("encoding", ["ascii", "gbk", "latin-1", "utf-8"])
def test_json_is_the_same_in_every_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    document = {"label": "إيجابي 😀 好 é", "quote": '"'}
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))

    print_json(document)

    sys.stdout.flush()
    assert json.loads(raw.getvalue().decode(encoding)) == document
