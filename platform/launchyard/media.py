"""What sort of picture, sound, film or document a file is, read from its first bytes: its name proves nothing."""

from __future__ import annotations

SIGNATURES: dict[str, tuple[tuple[tuple[int, bytes], ...], ...]] = {
    "image/png": (((0, b"\x89PNG\r\n\x1a\n"),),),
    "image/jpeg": (((0, b"\xff\xd8\xff"),),),
    "image/gif": (((0, b"GIF87a"),), ((0, b"GIF89a"),)),
    "image/webp": (((0, b"RIFF"), (8, b"WEBP")),),
    "audio/wav": (((0, b"RIFF"), (8, b"WAVE")),),
    "audio/mpeg": (((0, b"ID3"),), *(((0, b"\xff" + bytes([byte])),) for byte in (0xFB, 0xFA, 0xF3, 0xF2))),
    "audio/flac": (((0, b"fLaC"),),),
    "audio/ogg": (((0, b"OggS"),),),
    "video/mp4": (((4, b"ftyp"),),),
    "video/webm": (((0, b"\x1a\x45\xdf\xa3"),),),
    "application/pdf": (((0, b"%PDF-"),),),
}
"""Media type -> the ways to know it: which bytes stand at which place. No SVG: it can hold scripts."""
HEAD_BYTES = 16
"""As many first bytes as are looked at."""
IN_BROWSERS = tuple(sorted(name for name in SIGNATURES if name.startswith(("image/", "audio/", "video/"))))
"""Types that a browser shows or plays in a page."""


def sniff_media_type(content: bytes) -> str | None:
    """Return the media type that the first bytes of a file tell, or None for one that is not known here.

    >>> sniff_media_type(b"GIF89a..."), sniff_media_type(b"RIFF....WAVEfmt "), sniff_media_type(b"<svg>")
    ('image/gif', 'audio/wav', None)
    """
    head = content[:HEAD_BYTES]
    for name, ways in SIGNATURES.items():
        if any(all(head[place:].startswith(part) for place, part in way) for way in ways):
            return name
    return None
