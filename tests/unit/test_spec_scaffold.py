"""A new product's folder: it works as it is, for every kind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from launchyard.errors import SpecError
from launchyard.kind import Kind
from launchyard.kinds import iter_kinds
from launchyard.spec.load import load_spec
from launchyard.spec.scaffold import create_product, derive_name

KINDS = pytest.mark.parametrize("kind", iter_kinds(), ids=lambda kind: kind.name)


@KINDS
def test_a_new_product_is_right_and_named_after_its_folder(tmp_path: Path, kind: Kind) -> None:
    path = create_product(kind, tmp_path / "Shop Reviews")

    spec = load_spec(path)
    assert (spec.product, spec.kind) == ("shop-reviews", kind.name)
    assert path.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=product.schema.json\n")
    assert (path.parent / "product.schema.json").is_file()


@KINDS
def test_what_an_example_fetches_is_pinned(kind: Kind) -> None:
    text = (kind.folder / "example.yaml").read_text(encoding="utf-8")

    fetched = re.findall(r"^\s*\w+: (?:pypi|hf|https|s3)://\S+", text, re.MULTILINE)
    assert fetched
    assert all(re.search(r"[#&]sha256=[0-9a-f]{64}$", uri) for uri in fetched)


@KINDS
@pytest.mark.parametrize("name", ["product.yaml", "product.schema.json"])
def test_nothing_is_overwritten(tmp_path: Path, kind: Kind, name: str) -> None:
    (tmp_path / name).write_text("mine", encoding="utf-8")

    with pytest.raises(SpecError, match=rf"{name}: exists already and is not overwritten"):
        create_product(kind, tmp_path)

    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text(encoding="utf-8") == "mine"


@KINDS
def test_a_file_is_no_folder(tmp_path: Path, kind: Kind) -> None:
    (tmp_path / "taken").write_text("mine", encoding="utf-8")

    with pytest.raises(SpecError, match="taken: is a file"):
        create_product(kind, tmp_path / "taken")


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("reviews", "reviews"),
        ("My Reviews_2", "my-reviews-2"),
        ("2024-reviews", "reviews"),
        ("über", "ber"),
        ("a" * 50, "a" * 40),
        ("a" * 39 + "--b", "a" * 39),
    ],
)
def test_a_folder_name_becomes_a_product_name(folder: str, name: str) -> None:
    assert derive_name(Path(folder)) == name


@pytest.mark.parametrize("folder", ["123", "评论", "/"])
def test_a_folder_name_without_letters_names_nothing(folder: str) -> None:
    with pytest.raises(SpecError, match="its name holds no letter"):
        derive_name(Path(folder))
