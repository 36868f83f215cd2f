"""The playground pages: what can be said of them without a browser."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from launchyard.kind import Kind
from launchyard.kinds import iter_kinds

KINDS = [kind for kind in iter_kinds() if (kind.folder / "page.html").is_file()]


def read_page(kind: Kind) -> str:
    return (kind.folder / "page.html").read_text(encoding="utf-8")


def digest(page: str, tag: str) -> str:
    content = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    assert content is not None
    return "sha256-" + base64.b64encode(hashlib.sha256(content[1].encode()).digest()).decode()


def test_text_classification_has_a_page() -> None:
    assert "text-classification" in [kind.name for kind in KINDS]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_policy_names_the_digests_of_the_page_s_own_script_and_style(kind: Kind) -> None:
    page = read_page(kind)

    assert (
        f"default-src 'none'; script-src '{digest(page, 'script')}'; style-src '{digest(page, 'style')}'; "
        "connect-src 'self'; img-src data: blob:; media-src data: blob:; base-uri 'none'; form-action 'none'"
    ) in page, "script or style changed: put these digests into the page's Content-Security-Policy"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_page_refers_to_nothing_outside_itself(kind: Kind) -> None:
    page = read_page(kind)

    assert not re.findall(r'\s(?:src|href|action|style|on\w+)="(?!data:,")', page)
    assert not re.findall(r"url\(|@import|innerHTML|eval\(", page)
