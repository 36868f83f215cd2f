"""What can be checked of the documents without running them; `tests/integration/test_docs.py` runs their commands."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from doc_blocks import GUIDES, READMES, ROOT, Block, read_blocks
from launchyard.cli.main import build_app
from launchyard.kinds import iter_built_in_kinds
from launchyard.spec.document import parse_yaml
from launchyard.spec.load import load_spec
from spec_samples import MINIMAL

DOCUMENTS = (*READMES, *GUIDES, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("adr-*.md")))
LANGUAGES = {"bash", "yaml", "toml", "python", "text", "mermaid"}
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
BLOCKS = [block for path in DOCUMENTS for block in read_blocks(path)]
"""Those that are files of a kind which a guide builds are run there, in `tests/integration/test_docs.py`."""
COMMANDS = get_command(build_app())
RECOMMENDER: dict[str, Any] = {
    "api": "launchyard/v1",
    "product": "shop",
    "kind": "recommendation",
    "data": {
        "source": "events.csv",
        "items": {"source": "products.csv", "categories": "kinds", "time": "published"},
        "users": {"source": "customers.csv", "attributes": ["country"]},
    },
    "model": {"architecture": "sasrec"},
}
OF_RECOMMENDERS = {ROOT / "platform/launchyard/kinds/recommendation/guide.md", ROOT / "docs/guides/features.md"}
"""Guides whose specs, which show a block or two, are parts of a recommender; the others' are of a classifier."""


def of(language: str) -> Any:
    blocks = [block for block in BLOCKS if block.language == language and block.file is None]
    return pytest.mark.parametrize("block", blocks, ids=[block.place for block in blocks])


def test_every_guide_is_told_in_the_story() -> None:
    folders = (ROOT / "docs" / "guides", *(kind.folder for kind in iter_built_in_kinds()))

    assert sorted(GUIDES) == sorted(path for folder in folders for path in folder.glob("*.md"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_block_has_a_language_that_a_test_knows(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    assert {block.language for block in read_blocks(path)} <= LANGUAGES
    assert text.count("```") == 2 * len(read_blocks(path))


@of("yaml")
def test_every_spec_that_is_shown_is_right(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "product.yaml"
    base = RECOMMENDER if block.path in OF_RECOMMENDERS else MINIMAL
    path.write_text(yaml.safe_dump(base | parse_yaml(block.text, block.place)), encoding="utf-8")

    assert load_spec(path)


@of("python")
def test_every_python_block_compiles(block: Block) -> None:
    compile(block.text, block.place, "exec")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    targets = [target for target in LINK.findall(path.read_text(encoding="utf-8")) if "://" not in target]

    assert [target for target in targets if not (path.parent / target).exists()] == []


def iter_calls(path: Path) -> list[list[str]]:
    """Return the words of every `launchyard` or `make` command that a document names, in blocks and in its text."""
    text = path.read_text(encoding="utf-8")
    lines = [line for block in read_blocks(path) if block.language == "bash" for line in block.text.splitlines()]
    named = [*INLINE.findall(text), *lines]
    return [shlex.split(call, comments=True) for call in named if re.match(r"(launchyard|make) [a-z]", call)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_that_is_named_exists_with_its_options(path: Path) -> None:
    for words in iter_calls(path):
        if words[0] == "make":
            subprocess.run(["make", "--dry-run", words[1]], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            continue
        command: Any = COMMANDS
        rest = words[1:]
        while getattr(command, "commands", None) and rest:
            assert rest[0] in command.commands, f"{path.name}: {shlex.join(words)}"
            command, rest = command.commands[rest[0]], rest[1:]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in rest if word.startswith("--")} <= known, f"{path.name}: {shlex.join(words)}"


def list_commands(path: Path) -> list[str]:
    """Return the lines of every bash block, without their comments."""
    lines = [line for block in read_blocks(path) if block.language == "bash" for line in block.text.splitlines()]
    return [line.partition("#")[0].strip() for line in lines]


def test_both_readmes_say_the_same() -> None:
    english, chinese = (path.read_text(encoding="utf-8") for path in READMES)

    def outline(text: str) -> tuple[list[int], list[str], int]:
        """Return the levels of the headings, the targets of the links and the number of table rows."""
        headings = [len(found) for found in re.findall(r"^(#+) ", text, re.MULTILINE)]
        targets = [target for target in LINK.findall(text) if not target.startswith("README")]
        return headings, targets, len(re.findall(r"^\|", text, re.MULTILINE))

    assert outline(english) == outline(chinese)
    assert list_commands(READMES[0]) == list_commands(READMES[1])


def test_the_readme_names_every_system_package() -> None:
    (packages,) = re.findall(
        r"^DEBIAN_PACKAGES := (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )

    for path in READMES:
        text = path.read_text(encoding="utf-8")
        assert [name for name in packages.split() if f"`{name}`" not in text] == []


def test_the_map_names_every_folder_of_the_source() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    folders = {name.partition("/")[0] for name in tracked if "/" in name and not name.startswith(".")}

    for path in READMES:
        named = set(re.findall(r"^\| `([a-z]+)/", path.read_text(encoding="utf-8"), re.MULTILINE))
        assert folders <= named
