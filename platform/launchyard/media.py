"""Images, sound, video and documents as bytes, and what they are by their first ones: a name may lie."""

from __future__ import annotations

from dataclasses import dataclass

SIGNATURES: tuple[tuple[str, int, bytes], ...] = (
    ("image/png", 0, b"\x89PNG\r\n\x1a\n"),
    ("image/jpeg", 0, b"\xff\xd8\xff"),
    ("image/gif", 0, b"GIF87a"),
    ("image/gif", 0, b"GIF89a"),
    ("image/webp", 8, b"WEBP"),
    ("audio/wav", 8, b"WAVE"),
    ("audio/flac", 0, b"fLaC"),
    ("audio/ogg", 0, b"OggS"),
    ("audio/mpeg", 0, b"ID3"),
    ("audio/mpeg", 0, b"\xff\xfb"),
    ("audio/mpeg", 0, b"\xff\xf3"),
    ("audio/mpeg", 0, b"\xff\xf2"),
    ("video/mp4", 4, b"ftyp"),
    ("application/pdf", 0, b"%PDF-"),
)
"""Media type, and the bytes that stand at a place of every such file."""
RIFF_TYPES = frozenset({"image/webp", "audio/wav"})
"""Types whose signature stands inside a RIFF file."""


@dataclass(frozen=True)
class Media:
    """The content of a file, and what it is."""

    data: bytes
    type: str
    """Its media type, such as ``image/png``, by its bytes."""


def sniff(data: bytes) -> str | None:
    r"""Return the media type of a file by its first bytes, or None for one that is not known.

    >>> sniff(b"\x89PNG\r\n\x1a\n...")
    'image/png'
    """
    for kind, start, signature in SIGNATURES:
        if data[start : start + len(signature)] == signature and (kind not in RIFF_TYPES or data[:4] == b"RIFF"):
            return kind
    return None
