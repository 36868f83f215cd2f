"""Download a source archive with pip's own session and index settings, and do nothing else with it.

``pip download`` runs a source archive's ``setup.py`` or build backend to learn its metadata, and has no option not
to. This program, which runs in a process of its own, asks the same finder which file pip would take and stores its
bytes. pip's modules have no stability promise; those used here were tried with pip 23.1, 25.3 and 26.3.

Usage: python -m launchyard.sources.fetch.pip_sdist DIST==VERSION FOLDER [PIP OPTIONS]
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from pip._internal.commands import create_command
from pip._internal.commands.download import DownloadCommand
from pip._internal.models.link import Link
from pip._internal.network.session import PipSession

CHUNK_BYTES = 1 << 20


def main(arguments: list[str]) -> int:
    """Store the source archive of ``DIST==VERSION`` in ``FOLDER``; return the exit status."""
    requirement, folder, *options = arguments
    distribution, _, version = requirement.partition("==")
    command = create_command("download")
    if not isinstance(command, DownloadCommand):
        return _fail("this pip has no download command")
    parsed, _ = command.parse_args(["--no-binary=:all:", *options, requirement])
    with command.main_context():
        session = command.get_default_session(parsed)
        # Nothing is installed, so nothing has to fit this version of Python.
        finder = command._build_package_finder(parsed, session, ignore_requires_python=True)
        found = finder.find_all_candidates(distribution)
        links = [candidate.link for candidate in found if str(candidate.version) == version]
        if not links:
            versions = ", ".join(str(candidate.version) for candidate in found)
            return _fail(f"no source archive of {requirement} (from versions: {versions or 'none'})")
        return _store(session, links[-1], Path(folder))


def _store(session: PipSession, link: Link, folder: Path) -> int:
    # As pip asks, too: some servers would compress the archive once more, and it would have another digest.
    response = session.get(link.url_without_fragment, headers={"Accept-Encoding": "identity"}, stream=True)
    response.raise_for_status()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / link.filename
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for chunk in response.iter_content(CHUNK_BYTES):
            file.write(chunk)
            digest.update(chunk)
    if link.hash_name == "sha256" and link.hash != digest.hexdigest():
        path.unlink()
        return _fail(f"{link.filename}: the index says sha256 {link.hash}, got {digest.hexdigest()}")
    return 0


def _fail(message: str) -> int:
    sys.stderr.write(f"ERROR: {message}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
