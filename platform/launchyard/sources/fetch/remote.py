"""``https://`` and ``s3://``: downloads that go on where they were interrupted."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from launchyard.credentials import mask_text
from launchyard.errors import SourceError
from launchyard.files.atomic import write_text
from launchyard.files.full_disk import is_disk_full
from launchyard.sources.fetch.cache import Download
from launchyard.sources.fetch.request import Request

if TYPE_CHECKING:
    import requests

CHUNK_BYTES = 1 << 16
"""What a broken connection costs at most: a chunk that is not whole is not kept."""
S3_CHUNK_BYTES = 8 << 20
RESUMPTIONS = 5
"""How often one fetch goes on after the connection broke."""
BUSY_STATUSES = (429, 502, 503, 504)

MEANINGS = {
    401: "the server asks for a login. Put the credentials in the URI, as ${NAME} of an environment variable",
    403: "the server refuses access. Check the credentials and whether the link has expired",
    404: "there is nothing at this address. Check it for mistakes",
    410: "this address has been given up. Look for a new one",
}


@dataclass
class Part:
    """A file that arrives in pieces, and the validator of the state that the pieces belong to."""

    path: Path
    state_path: Path

    def read_validators(self) -> dict[str, str]:
        """Return the validators of the state that the pieces belong to; none when nothing has arrived."""
        if not (self.path.is_file() and self.state_path.is_file()):
            return {}
        return dict(json.loads(self.state_path.read_text(encoding="utf-8")))

    def start(self, validators: dict[str, str]) -> None:
        """Begin anew with a state."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(b"")
        write_text(self.state_path, json.dumps(validators))


class _Interrupted(Exception):  # noqa: N818 - it is handled here, never seen by a caller
    """The connection broke while bytes were arriving."""


def download_http(request: Request) -> Download | None:
    """Bring a web address's content; None when it still has the known ETag or date.

    Raises:
        SourceError: the address cannot be reached, answers with an error, or sends more than is allowed.
    """
    import requests  # noqa: PLC0415 - only downloads need it
    from requests.adapters import HTTPAdapter  # noqa: PLC0415 - only downloads need it
    from urllib3.util import Retry  # noqa: PLC0415 - only downloads need it

    url = request.expand(f"{request.uri.scheme}://{request.uri.location}")
    part = Part(request.workspace / "part", request.workspace / "state.json")
    retry = Retry(
        total=2,
        connect=0,
        # False, not 0: with 0 a timeout would look like a connection that failed.
        read=False,
        status_forcelist=BUSY_STATUSES,
        backoff_factor=0.2,
        # It would be the server that decides how long a fetch waits.
        respect_retry_after_header=False,
        # The last answer comes back as it is, and MEANINGS explain it.
        raise_on_status=False,
    )
    with requests.Session() as session:
        session.mount(f"{request.uri.scheme}://", HTTPAdapter(max_retries=retry))
        for _ in range(RESUMPTIONS):
            try:
                validators = _receive(session, url, part, request)
            except _Interrupted:
                continue
            except requests.RequestException as err:
                # No cause: its words hold the address with its secrets, and a step's log prints them.
                raise SourceError(_explain_unreachable(request, err)) from None
            if validators is None:
                return None
            # Under its own name, whose ending says what the file is.
            target = request.workspace / _name_of(url)
            part.path.replace(target)
            return Download(target, validators=validators)
    raise SourceError(
        f"{request.uri}: the connection broke {RESUMPTIONS} times. Run the command again: it goes on from "
        f"{part.path.stat().st_size if part.path.is_file() else 0:,} bytes if the server allows that."
    )


def download_s3(request: Request) -> Download | None:
    """Bring an S3 object, or all objects below a prefix; None when each still has the known ETag.

    Credentials and endpoint are the AWS environment's, as its own tools read them.

    Raises:
        SourceError: the extra is not installed, or the bucket cannot be reached, read or found.
    """
    try:
        import fsspec  # noqa: PLC0415 - only s3:// needs it
        from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]  # noqa: PLC0415 - only s3:// needs it
    except ImportError as err:
        raise SourceError(f"{request.uri}: s3:// needs an extra. Run: pip install 'launchyard[s3]'") from err
    timeout_s = request.settings.timeout_s
    config = {"connect_timeout": min(timeout_s, 10), "read_timeout": timeout_s, "retries": {"max_attempts": 2}}
    # A cached listing would hide that an object has changed.
    files = fsspec.filesystem("s3", config_kwargs=config, use_listings_cache=False, skip_instance_cache=True)
    try:
        return _receive_s3(files, request)
    except FileNotFoundError as err:
        raise SourceError(f"{request.uri}: no such bucket, object or prefix. Check the name.") from err
    except PermissionError as err:
        raise SourceError(
            f"{request.uri}: access is refused: {mask_text(str(err))}. Check the AWS credentials."
        ) from err
    except (BotoCoreError, OSError) as err:
        # s3fs makes an OSError of every other answer, such as 503 SlowDown; so does a full disk.
        if is_disk_full(err):
            raise
        raise SourceError(
            f"{request.uri}: S3 cannot be reached: {mask_text(str(err))}. Check network and AWS settings."
        ) from err


def _receive(session: requests.Session, url: str, part: Part, request: Request) -> dict[str, str] | None:
    """Bring ``part`` to its end; return the validators of what it holds, None when nothing has changed."""
    import requests  # noqa: PLC0415 - only downloads need it

    # A transfer that is compressed could not be resumed, and its length would not be the file's.
    headers = {"Accept-Encoding": "identity", **_conditions(part, request)}
    timeout_s = request.settings.timeout_s
    with session.get(url, headers=headers, stream=True, timeout=(min(timeout_s, 10), timeout_s)) as response:
        if response.status_code == requests.codes.not_modified and request.known is not None:
            return None
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            # More has arrived than the file holds by now: it is fetched anew.
            part.path.unlink()
            raise _Interrupted
        if not response.ok:
            meaning = MEANINGS.get(response.status_code, "the server failed. Try again later")
            raise SourceError(f"{request.uri}: HTTP {response.status_code}: {meaning}.")
        validators = _validators_of(response)
        if not _continues(response, part):
            part.start(validators)
        _append(response, part, request)
        return validators


def _conditions(part: Part, request: Request) -> dict[str, str]:
    arrived = part.read_validators()
    if validator := arrived.get("etag") or arrived.get("last_modified"):
        # If-Range: the rest of this very state, or all of the new one.
        return {"Range": f"bytes={part.path.stat().st_size}-", "If-Range": validator}
    known = request.known.validators if request.known is not None else {}
    names = {"etag": "If-None-Match", "last_modified": "If-Modified-Since"}
    return {header: known[name] for name, header in names.items() if name in known}


def _continues(response: requests.Response, part: Part) -> bool:
    if response.status_code != 206:
        return False
    expected = f"bytes {part.path.stat().st_size}-"
    if not response.headers.get("Content-Range", "").startswith(expected):
        # Another range than asked for would leave a gap, or have bytes twice.
        part.path.unlink()
        raise _Interrupted
    return True


def _validators_of(response: requests.Response) -> dict[str, str]:
    found = {"etag": response.headers.get("ETag"), "last_modified": response.headers.get("Last-Modified")}
    # A weak ETag allows other bytes, so it can neither resume nor stand for a digest.
    return {name: value for name, value in found.items() if value and not value.startswith("W/")}


def _append(response: requests.Response, part: Part, request: Request) -> None:
    import requests  # noqa: PLC0415 - only downloads need it

    done = part.path.stat().st_size
    announced = response.headers.get("Content-Length")
    total = done + int(announced) if announced is not None else None
    request.advance(done, total)
    with part.path.open("ab") as file:
        try:
            for chunk in response.iter_content(CHUNK_BYTES):
                file.write(chunk)
                done += len(chunk)
                request.advance(done, total)
        except requests.RequestException as err:
            raise _Interrupted from err


def _explain_unreachable(request: Request, error: requests.RequestException) -> str:
    import requests  # noqa: PLC0415 - only downloads need it

    if isinstance(error, requests.exceptions.SSLError):
        reason = "its certificate is not trusted. Set REQUESTS_CA_BUNDLE to your authority's certificates"
    elif isinstance(error, requests.Timeout):
        reason = f"no answer within {request.settings.timeout_s:g} s. Try again or raise LAUNCHYARD_TIMEOUT_S"
    elif isinstance(error, requests.ConnectionError):
        reason = "the host cannot be reached. Check the name, the network and the proxy settings"
    else:
        # The library's own words may hold the URL with its secrets.
        reason = f"the address cannot be used ({type(error).__name__}). Check it"
    return f"{request.uri}: {reason}."


def _name_of(url: str) -> str:
    # Decoded, it may hold a slash or be "..".
    name = unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2]).replace("/", "_").lstrip(".")
    return name or "download"


@dataclass(frozen=True)
class _S3Object:
    key: str
    name: str
    etag: str
    size_bytes: int


def _receive_s3(files: Any, request: Request) -> Download | None:
    location = request.uri.location.rstrip("/")
    objects = list(_iter_objects(files, location))
    if not objects:
        raise SourceError(f"{request.uri}: no object below this prefix. Check the name.")
    listing = "".join(f"{found.name} {found.etag} {found.size_bytes}\n" for found in objects)
    validators = {"listing": hashlib.sha256(listing.encode()).hexdigest()}
    if request.known is not None and request.known.validators == validators:
        return None
    total = sum(found.size_bytes for found in objects)
    request.advance(0, total)
    folder = _prepare_parts(request.workspace, listing)
    target = folder / location.rpartition("/")[2]
    done = 0
    for found in objects:
        path = target if found.key == location else target / found.name
        _receive_object(files, found, path, request, (done, total))
        done += found.size_bytes
    # Ranges are asked for without a condition, so only the listing tells that an object changed meanwhile.
    if list(_iter_objects(files, location)) != objects:
        raise SourceError(f"{request.uri}: changed while it was being fetched. Run the command again.")
    return Download(target, validators=validators)


def _iter_objects(files: Any, location: str) -> Iterator[_S3Object]:
    found = files.find(location, detail=True)
    for key, info in sorted(found.items()):
        name = key.removeprefix(f"{location}/") if key != location else key.rpartition("/")[2]
        if name.endswith("/"):
            continue  # The empty object that a console makes for a folder.
        if ".." in name.split("/") or name.startswith("/"):
            raise SourceError(f"s3://{location}: the object '{key}' has an unsafe name. Rename it.")
        yield _S3Object(key, name, str(info.get("ETag")), int(info["size"]))


def _prepare_parts(workspace: Path, listing: str) -> Path:
    """Return the folder for the objects; what it holds of another state of them is thrown away."""
    folder, state = workspace / "objects", workspace / "listing"
    if not state.is_file() or state.read_text(encoding="utf-8") != listing:
        shutil.rmtree(folder, ignore_errors=True)
        write_text(state, listing)
    folder.mkdir(exist_ok=True)
    return folder


def _receive_object(files: Any, found: _S3Object, path: Path, request: Request, progress: tuple[int, int]) -> None:
    before, total = progress
    path.parent.mkdir(parents=True, exist_ok=True)
    # Goes on behind what an earlier fetch left: _prepare_parts has removed what is of another state.
    with path.open("ab") as file:
        done = file.tell()
        while done < found.size_bytes:
            chunk = files.cat_file(found.key, start=done, end=min(done + S3_CHUNK_BYTES, found.size_bytes))
            if not chunk:
                raise SourceError(f"{request.uri}: '{found.name}' ended early. Run the command again.")
            file.write(chunk)
            done += len(chunk)
            request.advance(before + done, total)
