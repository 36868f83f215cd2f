"""The playground page of a kind, and the policy that a browser runs it under."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache

from launchyard.kinds import get_kind

PAGE_NAME = "page.html"
INLINE = re.compile(r"<(?P<tag>script|style)>(?P<content>.*?)</(?P=tag)>", re.DOTALL)
NOTHING = "'none'"


@cache
def read_page(kind: str) -> tuple[str, dict[str, str]]:
    """Return the page of a kind and the headers that it is sent with.

    Raises:
        FileNotFoundError: the kind has none.
    """
    html = (get_kind(kind).folder / PAGE_NAME).read_text(encoding="utf-8")
    return html, {"content-security-policy": describe_policy(html), "x-content-type-options": "nosniff"}


def describe_policy(html: str) -> str:
    """Return the Content-Security-Policy of a page in one file: run what stands in it, talk to this server, no more.

    Scripts and styles are named by their digests, so that nothing that gets into the page later is run.
    """
    digests: dict[str, list[str]] = {"script": [], "style": []}
    for found in INLINE.finditer(html):
        digest = base64.b64encode(hashlib.sha256(found["content"].encode()).digest()).decode()
        digests[found["tag"]].append(f"'sha256-{digest}'")
    sources = (f"{tag}-src {' '.join(named or [NOTHING])}" for tag, named in digests.items())
    return (
        f"default-src 'none'; {'; '.join(sources)}; connect-src 'self'; img-src data: blob:; media-src data: blob:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
