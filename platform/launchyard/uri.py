"""What a source's URI means: its scheme, its parts, its options, and how it is shown without secrets.

    data/reviews.csv                                            file:///srv/data/reviews/
    pypi://dist==1.2/package/data/reviews.csv.gz#sha256=<hex>   hf://org/model@revision
    hf://datasets/org/name@revision?config=en&split=train       s3://bucket/reviews/
    https://host/reviews.csv?token=${TOKEN}                     sql://postgresql://me:${PASSWORD}@host/db?query=SELECT

Options follow a ``#`` at the end, joined by ``&``: ``sha256`` pins the content, ``encoding`` names the
character set of a text table, ``format`` says what a file is whose name does not. This module reads
text only; it is light, so that a spec can be checked without what fetching needs.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import parse_qsl, quote

SCHEMES = ("file", "pypi", "hf", "s3", "https", "http", "sql")
FORMATS = ("csv", "tsv", "jsonl", "parquet")
OPTIONS = ("sha256", "encoding", "format")

_OPTIONS = re.compile(r"#(\w+=[^#/\s]*)$")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PYPI = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9][A-Za-z0-9.+!_-]*)(?:/(.*))?")
_HUB = re.compile(r"(datasets/)?([\w.-]+(?:/[\w.-]+)?)(?:@([^/?]+))?(?:/([^?]+))?(?:\?(.*))?")
_SQL = re.compile(r"(.+?)[?&]query=(.+)", re.DOTALL)
_REFERENCE = re.compile(r"(.?)\$\{(\w+)\}(?=(.?))", re.DOTALL)
_PASSWORD = re.compile(r"(://[^/?#@:\s]*):(?!\$\{)[^@\s]+@")
_SECRET_PARAMETER = re.compile(
    r"([?&][\w.-]*(?:token|key|sig|signature|secret|password|credential|auth)[\w.-]*=)(?!\$\{)[^&#]+", re.IGNORECASE
)


@dataclass(frozen=True)
class Uri:
    """A parsed source URI; a plain path has the scheme ``file``."""

    scheme: str
    location: str
    """What stands between ``scheme://`` and the options, as written."""
    sha256: str | None = None
    encoding: str | None = None
    format: str | None = None

    @property
    def key(self) -> str:
        """The URI without options and secrets: equal keys name the same thing."""
        return f"{self.scheme}://{hide_secrets(self.scheme, self.location)}"

    def __str__(self) -> str:
        """Return the URI as it may be shown and recorded: without secrets."""
        options = "&".join(f"{name}={value}" for name in OPTIONS if (value := getattr(self, name)) is not None)
        shown = hide_secrets(self.scheme, self.location)
        prefix = "" if self.scheme == "file" and not shown.startswith("/") else f"{self.scheme}://"
        return f"{prefix}{shown}{'#' + options if options else ''}"


@dataclass(frozen=True)
class PypiLocation:
    """A member of a Python package."""

    distribution: str
    version: str
    member: str


@dataclass(frozen=True)
class HubLocation:
    """A model or data set on the Hugging Face hub, or one file of it."""

    repository: str
    is_dataset: bool
    revision: str | None
    member: str | None
    config: str | None
    split: str | None


@dataclass(frozen=True)
class SqlLocation:
    """A query and where to ask it."""

    database: str
    """SQLAlchemy URL, references to environment variables not yet replaced."""
    query: str


def parse_uri(text: str) -> Uri:
    """Return the parts of a source URI or path.

    Raises:
        ValueError: it is empty, its scheme or an option is unknown, or a part is missing or unsafe.
    """
    if not text.strip():
        raise ValueError("a source must not be empty. Give a path or a URI")
    body, options = _split_options(text)
    scheme, separator, location = body.partition("://")
    if not separator:
        return Uri("file", body, **options)
    if scheme not in SCHEMES:
        raise ValueError(f"'{scheme}://' is not a source. Use a path or one of {', '.join(s + '://' for s in SCHEMES)}")
    if scheme == "pypi":
        parse_pypi(location)
    elif scheme == "hf":
        parse_hub(location)
    elif scheme == "sql":
        parse_sql(location)
    elif not location.strip("/") and scheme != "file":
        raise ValueError(f"'{text}' names no host or bucket. Write {scheme}://<name>/<path>")
    return Uri(scheme, location, **options)


def parse_pypi(location: str) -> PypiLocation:
    """Return the parts of ``dist==version/member``.

    Raises:
        ValueError: a part is missing, or the member points outside the package.
    """
    match = _PYPI.fullmatch(location)
    if match is None or not (match[3] or "").strip("/"):
        raise ValueError(
            f"'pypi://{location}' is not a package's member. Write pypi://<package>==<version>/<file or folder>"
        )
    return PypiLocation(match[1], match[2], check_member(match[3]))


def parse_hub(location: str) -> HubLocation:
    """Return the parts of ``[datasets/]org/name[@revision][/member][?config=...&split=...]``.

    A data set says so by ``datasets/`` or by naming a config or a split.

    Raises:
        ValueError: it has no such form, or a parameter is unknown.
    """
    match = _HUB.fullmatch(location)
    if match is None:
        raise ValueError(
            f"'hf://{location}' is not on the hub. Write hf://<org>/<model>[@<revision>] "
            "or hf://datasets/<org>/<name>[@<revision>][?config=<name>&split=<name>]"
        )
    parameters = dict(parse_qsl(match[5] or "", keep_blank_values=True))
    if unknown := sorted(set(parameters) - {"config", "split"}):
        raise ValueError(f"'hf://{location}': unknown parameter '{unknown[0]}'. Known: config, split")
    member = check_member(match[4]) if match[4] else None
    if member and parameters:
        raise ValueError(f"'hf://{location}': a file has no config or split. Remove one of them")
    is_dataset = bool(match[1]) or bool(parameters)
    return HubLocation(match[2], is_dataset, match[3], member, parameters.get("config"), parameters.get("split"))


def parse_sql(location: str) -> SqlLocation:
    """Return the parts of ``<SQLAlchemy URL>?query=<SQL>``; the query comes last and is taken as it stands.

    Raises:
        ValueError: there is no database URL or no query.
    """
    match = _SQL.fullmatch(location)
    if match is None or not ("://" in match[1] or match[1].startswith("${")):
        raise ValueError(
            "a sql:// source needs a SQLAlchemy URL and a query. Write, for example, "
            "sql://sqlite:///shop.db?query=SELECT text, label FROM reviews"
        )
    return SqlLocation(match[1], match[2])


def check_member(member: str) -> str:
    """Return a path inside an archive or repository, without a slash at its ends.

    Raises:
        ValueError: it is absolute or climbs out.
    """
    path = PurePosixPath(member)
    if path.is_absolute() or ".." in path.parts or "\\" in member or "\0" in member:
        raise ValueError(f"'{member}' points outside its package. Give a path inside it, without '..'")
    return str(path)


def expand_references(text: str, environ: Mapping[str, str] | None = None) -> str:
    """Return ``text`` with each ``${NAME}`` replaced by that environment variable.

    A value that becomes a user name, a password or a query parameter is percent-encoded.

    Raises:
        ValueError: a variable is not set.
    """
    values = os.environ if environ is None else environ

    def replace(match: re.Match[str]) -> str:
        before, name, after = match.groups()
        if name not in values:
            raise ValueError(f"the environment variable {name} is not set. Set it, or remove ${{{name}}}")
        is_part = before == "=" or (before in (":", "/") and after in (":", "@"))
        return before + (quote(values[name], safe="") if is_part else values[name])

    return _REFERENCE.sub(replace, text)


def hide_secrets(scheme: str, location: str) -> str:
    """Return a location with passwords and tokens masked; references to variables stay."""
    if scheme == "sql":
        database, separator, query = location.partition("query=")
        return _PASSWORD.sub(r"\1:***@", database) + separator + query
    if scheme in ("http", "https", "s3"):
        masked = _PASSWORD.sub(r"\1:***@", f"://{location}").removeprefix("://")
        return _SECRET_PARAMETER.sub(r"\1***", masked)
    return location


def _split_options(text: str) -> tuple[str, dict[str, str]]:
    match = _OPTIONS.search(text)
    if match is None:
        return text, {}
    options: dict[str, str] = {}
    for option in match[1].split("&"):
        name, _, value = option.partition("=")
        if name not in OPTIONS:
            raise ValueError(f"'#{option}' is not an option of a source. Known: {', '.join(OPTIONS)}")
        options[name] = _check_option(name, value)
    return text[: match.start()], options


def _check_option(name: str, value: str) -> str:
    if name == "sha256" and not _SHA256.fullmatch(value.lower()):
        raise ValueError(f"'#sha256={value}' is not a digest. Give its 64 hexadecimal digits")
    if name == "format" and value not in FORMATS:
        raise ValueError(f"'#format={value}' is not a table. Known: {', '.join(FORMATS)}")
    if name == "encoding":
        try:
            codecs.lookup(value)
        except LookupError as err:
            raise ValueError(f"'#encoding={value}' is not a character set. Examples: utf-8, latin-1, gb18030") from err
    return value.lower()
