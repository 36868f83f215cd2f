"""Text files of any size: decoded with an exact complaint, split into lines, gzip seen through."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from launchyard.errors import SourceError

GZIP_MAGIC = b"\x1f\x8b"
READ_BYTES = 1 << 20
MAX_LINE_CHARACTERS = 64 << 20
BOM = "\ufeff"


def is_gzip(path: Path) -> bool:
    """Return whether a file is compressed, whatever its name says."""
    with path.open("rb") as file:
        return file.read(2) == GZIP_MAGIC


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file for reading, decompressed if it is compressed."""
    return cast(IO[bytes], gzip.open(path, "rb")) if is_gzip(path) else path.open("rb")


def iter_bytes(path: Path, shown: str) -> Iterator[bytes]:
    """Yield a file's decompressed bytes.

    Raises:
        SourceError: it is damaged.
    """
    with open_bytes(path) as file:
        try:
            while chunk := file.read(READ_BYTES):
                yield chunk
        except (EOFError, zlib.error, gzip.BadGzipFile) as err:
            raise SourceError(f"{shown}: {path.name} is cut off or damaged: {err}. Fetch or make it again.") from err


def iter_text(path: Path, encoding: str, shown: str) -> Iterator[str]:
    """Yield a file's characters, without a byte order mark.

    Raises:
        SourceError: a byte does not belong to the encoding; the message names its line and place.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    num_bytes = num_lines = 0
    is_start = True
    for chunk in _with_end(iter_bytes(path, shown)):
        num_bytes += len(chunk)
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as err:
            # What the decoder holds back from earlier chunks is a part of err.object.
            offset = num_bytes - len(err.object) + err.start
            line = num_lines + err.object[: err.start].count(b"\n") + 1
            raise SourceError(
                f"{shown}: {path.name}, line {line:,}, byte {offset + 1:,}: not {encoding.upper()}, found byte "
                f"0x{err.object[err.start]:02x}. Save the file as UTF-8, or name its character set by adding "
                "'#encoding=<name>' to the source, such as #encoding=latin-1."
            ) from err
        if is_start and text:
            text, is_start = text.removeprefix(BOM), False
        num_lines += text.count("\n")
        if text:
            yield text


def iter_blocks(path: Path, encoding: str, shown: str, *, size: int) -> Iterator[str]:
    """Yield a file's characters in blocks of whole lines, each of about ``size`` characters or one longer line.

    Raises:
        SourceError: a line is longer than 64 million characters, or as for :func:`iter_text`.
    """
    pending = ""
    for text in iter_text(path, encoding, shown):
        pending += text
        if len(pending) < size:
            continue
        end = pending.rfind("\n") + 1
        if end:
            yield pending[:end]
            pending = pending[end:]
        if len(pending) > MAX_LINE_CHARACTERS:
            raise SourceError(
                f"{shown}: {path.name} has a line of more than {MAX_LINE_CHARACTERS:,} characters. Is it a text file?"
            )
    if pending:
        yield pending


def iter_lines(path: Path, encoding: str, shown: str) -> Iterator[str]:
    """Yield a file's lines without their ends; blank lines are no lines.

    Raises:
        SourceError: as for :func:`iter_blocks`.
    """
    for block in iter_blocks(path, encoding, shown, size=READ_BYTES):
        # Not splitlines(), which also splits at characters that belong to a text.
        for line in block.split("\n"):
            if text := line.removesuffix("\r").strip(" \t"):
                yield text


def _with_end(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the chunks and an empty one, which tells a decoder that nothing follows."""
    yield from chunks
    yield b""
