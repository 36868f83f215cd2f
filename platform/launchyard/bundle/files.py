"""The files of a bundle: which may be in one, and what they hold.

Only formats that hold values are let in. A pickle (``.bin``, ``.pt``, ``.pkl`` ...) runs code when it is loaded, so a
bundle that came from anywhere else could take over whoever serves it.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from pydantic import Field

from launchyard.errors import BundleError
from launchyard.stored import Stored

CHUNK_BYTES = 1 << 20

SAFE_SUFFIXES = frozenset(
    {".data", ".gguf", ".html", ".jinja", ".json", ".jsonl", ".md", ".model", ".npz", ".onnx", ".parquet"}
    | {".safetensors", ".txt"}
)
"""Formats that hold values or text; ``.data`` holds the weights of an ``.onnx``, ``.model`` is SentencePiece."""

SIGNATURES = {
    ".gguf": (0, b"GGUF"),
    ".npz": (0, b"PK\x03\x04"),
    ".parquet": (0, b"PAR1"),
    ".safetensors": (8, b"{"),
}
"""Suffix -> (offset, bytes) that each such file has: a pickle under another name is found out."""


class FileEntry(Stored):
    """What one file must hold."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)


def list_files(folder: Path) -> list[str]:
    """Return the POSIX paths, relative to ``folder``, of all files below it, sorted.

    Raises:
        BundleError: there is a link, a socket or anything else that is neither file nor folder.
    """
    return sorted(_iter_files(folder, PurePosixPath()))


def _iter_files(folder: Path, below: PurePosixPath) -> Iterator[str]:
    with os.scandir(folder / below) as entries:
        for entry in entries:
            name = below / entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _iter_files(folder, name)
            elif entry.is_file(follow_symlinks=False):
                yield str(name)
            else:
                raise BundleError(
                    f"{folder}: {name} is neither a file nor a folder (a link, perhaps). Put the file itself there."
                )


def describe_file(path: Path) -> FileEntry:
    """Return size and sha256 of the file at ``path``, read in constant memory."""
    digest = hashlib.sha256()
    size_bytes = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size_bytes += len(chunk)
    return FileEntry(sha256=digest.hexdigest(), size_bytes=size_bytes)


def check_format(folder: Path, name: str) -> None:
    """Check that loading the file ``name`` in ``folder`` cannot execute anything.

    Raises:
        BundleError: its format may hold code, or its content is not what its name says.
    """
    suffix = PurePosixPath(name).suffix
    if suffix not in SAFE_SUFFIXES:
        raise BundleError(
            f"{folder}: {name}: '{suffix or name}' is not a format that a bundle may hold, because loading it could "
            "run code. Save weights as .safetensors, .onnx, .gguf or .npz. "
            f"Allowed: {', '.join(sorted(SAFE_SUFFIXES))}."
        )
    offset, signature = SIGNATURES.get(suffix, (0, b""))
    with (folder / name).open("rb") as file:
        head = file.read(offset + len(signature))
    if head[offset:] != signature:
        raise BundleError(f"{folder}: {name} is not a {suffix} file, it starts with {head[:8]!r}. Write it again.")
    if suffix == ".npz":
        _check_arrays(folder, name)


def _check_arrays(folder: Path, name: str) -> None:
    """Refuse an archive of arrays in which an array of objects, which is a pickle, hides."""
    with zipfile.ZipFile(folder / name) as archive:
        for member in archive.namelist():
            with archive.open(member) as file:
                try:
                    version = np.lib.format.read_magic(file)
                    read_header = {
                        (1, 0): np.lib.format.read_array_header_1_0,
                        (2, 0): np.lib.format.read_array_header_2_0,
                    }[version]
                    _, _, dtype = read_header(file)
                except (ValueError, KeyError) as err:
                    raise BundleError(f"{folder}: {name}: {member} is not a plain array. Write it again.") from err
            if dtype.hasobject:
                raise BundleError(f"{folder}: {name}: {member} holds pickled objects. Save numbers or strings only.")
