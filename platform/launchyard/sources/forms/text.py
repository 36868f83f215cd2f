"""Text files of any size: decoded with an exact complaint, split into lines, gzip seen through."""

from __future__ import annotations

import codecs
import gzip
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from launchyard.errors import SourceError
from launchyard.foreign_text import make_printable

SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
}
"""What the name of a table ends with, and its format."""
GZIP_MAGIC = b"\x1f\x8b"
ZIP_MAGIC = b"PK\x03\x04"
READ_BYTES = 1 << 20
MAX_LINE_CHARACTERS = 64 << 20
BOM = "\ufeff"
UTF16_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""What a file begins with that a spreadsheet has saved as "Unicode text"."""
MAX_EXPANDED_BYTES = 20 * 2**30
"""Largest file that a compressed one may expand to where its size is known before, or its bytes have to be kept."""
MAX_SHOWN_MEMBERS = 5
ENCRYPTED = 1
"""Flag of a zip archive's member (APPNOTE.TXT 4.4.4)."""


def is_gzip(path: Path) -> bool:
    """Return whether a file is compressed, whatever its name says."""
    with path.open("rb") as file:
        return file.read(2) == GZIP_MAGIC


def is_zip(path: Path) -> bool:
    """Return whether a file is a zip archive, whatever its name says."""
    with path.open("rb") as file:
        return file.read(4) == ZIP_MAGIC


def is_compressed(path: Path) -> bool:
    """Return whether a file is gzipped or a zip archive, whatever its name says."""
    return is_gzip(path) or is_zip(path)


def find_zip_member(path: Path, shown: str) -> zipfile.ZipInfo:
    """Return the one file of a zip archive; what a system put beside it, or a read-me beside a table, does not count.

    Raises:
        SourceError: there is none, there are several, or it is encrypted or expands to more than is read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if not info.is_dir() and not is_hidden(info.filename)]
    except zipfile.BadZipFile as err:
        raise SourceError(f"{shown}: {path.name} is cut off or damaged: {err}. Fetch or make it again.") from err
    tables = [info for info in members if Path(info.filename.lower()).suffix in SUFFIXES]
    if len(tables or members) != 1:
        names = ", ".join(make_printable(info.filename, keep_lines=False) for info in members[:MAX_SHOWN_MEMBERS])
        raise SourceError(
            f"{shown}: {path.name} holds {len(members)} files ({names or 'none'}), where one table is read. "
            "Unpack it, and name the file or the folder."
        )
    (member,) = tables or members
    if member.flag_bits & ENCRYPTED:
        raise SourceError(f"{shown}: {path.name} is encrypted. Unpack it first.")
    if member.file_size > MAX_EXPANDED_BYTES:
        raise SourceError(
            f"{shown}: {path.name} expands to {member.file_size:,} bytes, where {MAX_EXPANDED_BYTES:,} are read. "
            "Unpack it first."
        )
    return member


def is_hidden(name: str) -> bool:
    """Return whether a file, or a folder above it, is an editor's, a job's or a system's own, as names like these say.

    >>> [is_hidden(name) for name in (".ipynb_checkpoints/a.csv", "_temporary/0/a.csv", "__MACOSX/._a.csv", "a_1.csv")]
    [True, True, True, False]
    """
    return any(part.startswith((".", "_", "~$")) for part in name.split("/"))


def open_bytes(path: Path, shown: str) -> IO[bytes]:
    """Open a file for reading, decompressed if it is compressed.

    Raises:
        SourceError: it is a zip archive that does not hold one readable file.
    """
    if is_gzip(path):
        return cast(IO[bytes], gzip.open(path, "rb"))
    if is_zip(path):
        member = find_zip_member(path, shown)
        try:
            # Closes the archive with the member.
            return zipfile.ZipFile(path).open(member)
        except NotImplementedError as err:
            # A method of compression that zipfile lacks.
            raise SourceError(f"{shown}: {path.name}: {err}. Unpack it first.") from err
    return path.open("rb")


def iter_bytes(path: Path, shown: str) -> Iterator[bytes]:
    """Yield a file's decompressed bytes.

    Raises:
        SourceError: it is damaged.
    """
    with open_bytes(path, shown) as file:
        try:
            while chunk := file.read(READ_BYTES):
                yield chunk
        except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as err:
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
            likely = "utf-16" if err.object.startswith(UTF16_BOMS) and offset == 0 else "latin-1"
            raise SourceError(
                f"{shown}: {path.name}, line {line:,}, byte {offset + 1:,}: not {encoding.upper()}, found byte "
                f"0x{err.object[err.start]:02x}. Save the file as UTF-8, or name its character set by adding "
                f"'#encoding=<name>' to the source, such as #encoding={likely}."
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
