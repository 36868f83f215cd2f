"""The store of registered bundles, one folder per digest: a bundle is in it whole and verified, or not at all.

A bundle's URI is ``bundles/<digest>``, relative to the namespace's home, so that the home folder can be moved.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from filelock import FileLock

from launchyard.bundle.files import CHUNK_BYTES
from launchyard.bundle.manifest import MANIFEST_NAME, BundleManifest, open_bundle, read_manifest
from launchyard.errors import BundleError
from launchyard.files import atomic
from launchyard.settings import Settings

URI_PREFIX = "bundles/"


class BundleStore:
    """Bundles by content; any number of processes may read and add at once."""

    def __init__(self, settings: Settings) -> None:
        self._root = settings.bundles_dir
        self._marks_dir = settings.root / "verified"

    def add(self, folder: Path) -> str:
        """Copy the bundle in ``folder`` into the store and return its URI; one that is there already is kept.

        Raises:
            BundleError: the bundle does not verify, its gates did not pass, or the disk is full; nothing is left.
        """
        manifest = open_bundle(folder)
        target = self._root / manifest.digest
        atomic.make_folder(self._root)
        with FileLock(self._root / f".{manifest.digest}.lock"):
            if not self._is_sound(target):
                self._copy(folder, target, manifest)
        return URI_PREFIX + manifest.digest

    def find_path(self, uri: str) -> Path:
        """Return the folder that ``uri`` names, whether or not a bundle is there.

        Raises:
            BundleError: it is not the URI of a bundle.
        """
        digest = uri.removeprefix(URI_PREFIX)
        if uri == digest or not digest.isalnum():
            raise BundleError(
                f"{uri}: is not the URI of a bundle, such as {URI_PREFIX}<digest>. Use one that is listed."
            )
        return self._root / digest

    def open(self, uri: str) -> tuple[Path, BundleManifest]:
        """Return folder and manifest of the bundle at ``uri``; its bytes are read once per machine, not per opening.

        Raises:
            BundleError: it does not verify, see :func:`launchyard.bundle.manifest.open_bundle`.
        """
        folder = self.find_path(uri)
        return folder, open_bundle(folder, marks_dir=self._marks_dir)

    def _is_sound(self, target: Path) -> bool:
        """Tell whether the bundle is there and verifies; a damaged one is replaced by the copy at hand."""
        try:
            open_bundle(target, marks_dir=self._marks_dir)
        except BundleError:
            return False
        return True

    def _copy(self, folder: Path, target: Path, manifest: BundleManifest) -> None:
        try:
            with atomic.new_folder(target) as temporary:
                for name in (*manifest.files, MANIFEST_NAME):
                    copied = _copy_file(folder / name, temporary / name)
                    if name != MANIFEST_NAME and copied != manifest.files[name].sha256:
                        raise BundleError(f"{folder}: {name} changed while it was copied. Register the bundle again.")
                if read_manifest(temporary) != manifest:
                    raise BundleError(f"{folder}: {MANIFEST_NAME} changed while it was copied. Register it again.")
        except OSError as err:
            needed = sum(entry.size_bytes for entry in manifest.files.values())
            free = shutil.disk_usage(self._root).free
            raise BundleError(
                f"{target}: the bundle cannot be stored: {err.strerror}. It needs {needed / 2**20:.1f} MiB, "
                f"{free / 2**20:.1f} MiB are free. Free some space and run the register step again."
            ) from err


def _copy_file(source: Path, target: Path) -> str:
    """Copy a file and return the sha256 of what was copied."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with source.open("rb") as reading, target.open("wb") as writing:
        while chunk := reading.read(CHUNK_BYTES):
            digest.update(chunk)
            writing.write(chunk)
    return digest.hexdigest()
