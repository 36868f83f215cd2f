"""What sort of picture, sound or film a file is, read from its first bytes."""

from __future__ import annotations

SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBPVP8", "image/webp"),
    (8, b"WAVE", "audio/wav"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "audio/ogg"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1a\x45\xdf\xa3", "video/webm"),
)
"""Where a file of each type holds which bytes. No SVG: it can hold scripts and fetch from elsewhere."""


def sniff_media_type(content: bytes) -> str | None:
    """Return the media type that the first bytes of a file tell, or None for one that no browser shows.

    >>> sniff_media_type(b"GIF89a...")
    'image/gif'
    """
    found = (name for place, bytes_, name in SIGNATURES if content[place:].startswith(bytes_))
    return next(found, None)
