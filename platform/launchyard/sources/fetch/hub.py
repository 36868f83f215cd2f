"""``hf://``: models and data sets from the Hugging Face hub, by its own libraries.

A model comes without the weights that execute code when they are loaded; a data set as one parquet file.
One quick question comes first: the libraries themselves retry for half a minute when there is no network.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from launchyard.credentials import mask_text
from launchyard.errors import SourceError
from launchyard.files.full_disk import is_disk_full
from launchyard.sources.fetch.cache import Download
from launchyard.sources.fetch.request import Request, describe_nearest
from launchyard.sources.fetch.rows import write_rows
from launchyard.sources.uri import HubLocation, parse_hub

if TYPE_CHECKING:
    from huggingface_hub.hf_api import DatasetInfo, ModelInfo

BATCH_ROWS = 20_000
EXECUTABLE = (
    "*.bin",
    "*.pt",
    "*.pth",
    "*.ckpt",
    "*.pkl",
    "*.pickle",
    "*.joblib",
    "*.h5",
    "*.keras",
    "*.msgpack",
    "*.ot",
)
"""Weights that run code on loading, or that only another framework reads."""
WEIGHTS = (".safetensors", ".gguf")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def download_repository(request: Request) -> Download | None:
    """Bring a model's folder, one file, or a data set's rows; None when the revision has not moved.

    Raises:
        SourceError: the extra is not installed, there is no network, no such repository, revision, file or
            split, the login does not suffice, or the model has no safe weights.
    """
    location = parse_hub(request.uri.location)
    # A commit never changes, so that not even the quick question is needed.
    if request.known is not None and _COMMIT.fullmatch(location.revision or ""):
        return None
    try:
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError  # noqa: PLC0415 - only hf:// needs it
    except ImportError as err:
        raise SourceError(f"{request.uri}: hf:// needs an extra. Run: pip install 'launchyard[hub]'") from err
    # The bases are every failure to reach the hub: of its HTTP client, whichever that is, and OSError.
    failures = cast(tuple[type[Exception], ...], (*HfHubHTTPError.__bases__, HFValidationError))
    try:
        info = _ask(request, location)
        if request.known is not None and request.known.validators.get("commit") == info.sha:
            return None
        if location.is_dataset and location.member is None:
            return _download_dataset(request, location, info)
        return _download_files(request, location, info)
    except failures as err:
        # A SourceError, which is an OSError too, says what is wrong; a full disk is no matter of the hub.
        if isinstance(err, SourceError) or is_disk_full(err):
            raise
        raise SourceError(f"{request.uri}: {_explain(err, request, location)}.") from err


def _ask(request: Request, location: HubLocation) -> ModelInfo | DatasetInfo:
    from huggingface_hub import HfApi  # noqa: PLC0415 - only hf:// needs it

    api, timeout_s = HfApi(), request.settings.timeout_s
    ask = api.dataset_info if location.is_dataset else api.model_info
    return ask(location.repository, revision=location.revision, timeout=timeout_s, files_metadata=True)


def _download_files(request: Request, location: HubLocation, info: ModelInfo | DatasetInfo) -> Download:
    from huggingface_hub import hf_hub_download  # noqa: PLC0415 - only hf:// needs it

    sizes = _choose_files(request, location, info)
    total = sum(sizes.values())
    request.advance(0, total)
    folder = request.workspace / location.repository.rpartition("/")[2]
    done = 0
    for name, size_bytes in sizes.items():
        hf_hub_download(
            location.repository,
            name,
            repo_type="dataset" if location.is_dataset else "model",
            # A branch could move between two files.
            revision=info.sha,
            local_dir=folder,
            etag_timeout=request.settings.timeout_s,
        )
        done += size_bytes
        request.advance(done, total)
    # The library's notes for going on, of no use to a reader and different on each machine.
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    path = folder / location.member if location.member else folder
    return Download(path, licence=_find_licence(info), validators={"commit": str(info.sha)})


def _choose_files(request: Request, location: HubLocation, info: ModelInfo | DatasetInfo) -> dict[str, int]:
    """Return the names and sizes of the files that are wanted."""
    sizes = {found.rfilename: found.size or 0 for found in info.siblings or ()}
    if location.member is not None:
        wanted = {n: s for n, s in sizes.items() if n == location.member or n.startswith(f"{location.member}/")}
        if not wanted:
            raise SourceError(f"{request.uri}: no file '{location.member}'. {describe_nearest(location.member, sizes)}")
        return wanted
    wanted = {n: s for n, s in sizes.items() if not any(fnmatch(n, pattern) for pattern in EXECUTABLE)}
    if not any(name.endswith(WEIGHTS) for name in wanted):
        raise SourceError(
            f"{request.uri}: the model has no safetensors or GGUF weights, and others may run code when they are "
            "loaded. Choose a revision or a model that has them."
        )
    return wanted


def _find_licence(info: ModelInfo | DatasetInfo) -> str | None:
    licence = getattr(info.card_data, "license", None)
    return str(licence) if licence else None


def _download_dataset(request: Request, location: HubLocation, info: ModelInfo | DatasetInfo) -> Download:
    try:
        import datasets  # noqa: PLC0415 - slow to import, and only hf:// needs it
    except ImportError as err:
        raise SourceError(f"{request.uri}: hf:// needs an extra. Run: pip install 'launchyard[hub]'") from err
    try:
        commit = str(info.sha)
        split = _choose_split(request, location, commit)
        rows = datasets.load_dataset(location.repository, location.config, split=split, revision=commit, streaming=True)
        path = request.workspace / "rows.parquet"
        digest = write_rows(
            _iter_tables(rows),
            path,
            shown=str(request.uri),
            advance=lambda done_bytes: request.advance(done_bytes, None),
        )
    except (datasets.exceptions.DatasetsError, FileNotFoundError, ValueError, RuntimeError) as err:
        raise SourceError(f"{request.uri}: {mask_text(' '.join(str(err).split()))}") from err
    return Download(path, sha256=digest, licence=_find_licence(info), validators={"commit": commit})


def _choose_split(request: Request, location: HubLocation, commit: str) -> str:
    from datasets import get_dataset_split_names  # noqa: PLC0415 - slow to import, and only hf:// needs it

    splits = [str(name) for name in get_dataset_split_names(location.repository, location.config, revision=commit)]
    if location.split is None and len(splits) == 1:
        return splits[0]
    if location.split not in splits:
        found = f"no split '{location.split}'" if location.split else "it has more than one split"
        raise SourceError(f"{request.uri}: {found}. Add ?split=<name>. There are: {', '.join(splits)}.")
    return location.split


def _iter_tables(rows: Any) -> Iterator[pa.Table]:
    for table in rows.with_format("arrow").iter(batch_size=BATCH_ROWS):
        yield _name_classes(table, rows.features or {})


def _name_classes(table: pa.Table, features: dict[str, Any]) -> pa.Table:
    """Return the table with class numbers replaced by their names; a negative number means no label."""
    from datasets import ClassLabel  # noqa: PLC0415 - slow to import, and only hf:// needs it

    for position, name in enumerate(table.column_names):
        feature = features.get(name)
        if isinstance(feature, ClassLabel):
            values = [
                feature.names[number] if number is not None and number >= 0 else None
                for number in table.column(name).to_pylist()
            ]
            table = table.set_column(position, name, pa.array(values, pa.string()))
    return table


def _explain(error: Exception, request: Request, location: HubLocation) -> str:
    from huggingface_hub.errors import (  # noqa: PLC0415 - only hf:// needs it
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    kind = "data set" if location.is_dataset else "model"
    other = f"hf://{location.repository}" if location.is_dataset else f"hf://datasets/{location.repository}"
    # The narrower first: a gated repository is also one that is not found.
    meanings: tuple[tuple[type[Exception], str], ...] = (
        (OfflineModeIsEnabled, "HF_HUB_OFFLINE is set. Unset it, or name a copy on this machine"),
        (GatedRepoError, "access must be requested on its page. Do that, and set HF_TOKEN"),
        (RepositoryNotFoundError, f"no such {kind}, or it is private. Check it, set HF_TOKEN, or write {other}"),
        (RevisionNotFoundError, f"no revision '{location.revision}'. Use a branch, a tag or a commit of the {kind}"),
        (HFValidationError, f"'{location.repository}' is not a repository's name. Write <org>/<name>"),
        (HfHubHTTPError, "the hub answers with an error. Try again later"),
    )
    for failure, meaning in meanings:
        if isinstance(error, failure):
            return meaning
    return (
        f"the hub cannot be reached ({type(error).__name__}, {request.settings.timeout_s:g} s at most). Check the "
        "network and HF_ENDPOINT, or name a copy on this machine"
    )
