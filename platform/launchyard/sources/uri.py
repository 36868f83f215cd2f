"""What a source's URI means: its scheme, its parts, its options, and how it is shown without secrets.

    data/reviews.csv                                            file:///srv/data/reviews/
    pypi://dist==1.2/package/data/reviews.csv.gz#sha256=<hex>   hf://org/model@revision
    hf://datasets/org/name@revision?config=en&split=train       s3://bucket/reviews/
    https://host/reviews.csv?token=${TOKEN}                     sql://postgresql://me:${PASSWORD}@host/db?query=SELECT

What follows a ``#`` at the end is told in :mod:`launchyard.sources.uri_options`. This is the one place that takes URIs
apart. It reads text only and is light, so that a spec can be checked without what fetching needs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import parse_qsl, quote, unquote

from launchyard.credentials import find_literal, mask_url
from launchyard.sources.uri_options import WRITTEN, Options, find_body, split_options

SCHEMES = ("file", "pypi", "hf", "s3", "https", "http", "sql")

_PYPI = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9][A-Za-z0-9.+!_-]*)(?:/(.*))?")
_HUB = re.compile(r"(datasets/)?([\w.-]+(?:/[\w.-]+)?)(?:@([^/?]+))?(?:/([^?]+))?(?:\?(.*))?")
_SQL = re.compile(r"(.+?)[?&]query=(.+)", re.DOTALL)
# What stands around a reference tells whether its value is a part of a URL and has to be encoded. The character behind
# is looked at and not taken: the next reference may begin with it.
_REFERENCE = re.compile(r"(.?)\$\{(\w+)\}(?=(.?))", re.DOTALL)


@dataclass(frozen=True)
class Uri:
    """A parsed source URI; a plain path has the scheme ``file``."""

    scheme: str
    location: str
    """What stands between ``scheme://`` and the options, as written; of a ``file://`` URI the decoded path."""
    options: Options = field(default_factory=Options)

    @property
    def is_fixed(self) -> bool:
        """Whether it always means the same bytes: pinned by digest, or a released package."""
        return self.options.sha256 is not None or self.scheme == "pypi"

    @property
    def is_on_this_machine(self) -> bool:
        """Whether it is a file or folder here; so is the file of a SQLite database."""
        return self.scheme == "file" or (self.scheme == "sql" and self.location.startswith("sqlite"))

    @property
    def address(self) -> str:
        """What is fetched, to be shown: the URI without options and secrets. It identifies nothing."""
        if self.scheme == "file":
            return f"file://{self.location}" if self.location.startswith("/") else self.location
        if self.scheme == "sql":
            database = parse_sql(self.location).database
            return f"sql://{mask_url(database)}{self.location.removeprefix(database)}"
        return mask_url(f"{self.scheme}://{self.location}")

    def find_literal_secret(self) -> str | None:
        """Return what to call a password or token that stands in the URI as it is, None when there is none."""
        if self.scheme == "sql":
            # A query is SQL: what reads like a parameter there is a condition.
            return find_literal(parse_sql(self.location).database)
        return None if self.scheme == "file" else find_literal(f"{self.scheme}://{self.location}")

    def identify(self, environ: Mapping[str, str] | None = None) -> str:
        """Return what tells this source from every other one: all of its address, secrets too, and no option.

        References are replaced where the resolver replaces them and the variables are set. Never show or store it: a
        digest of it will do.
        """
        if self.scheme in ("http", "https"):
            return f"{self.scheme}://{_expand_known(self.location, environ)}"
        if self.scheme == "sql":
            found = parse_sql(self.location)
            query = self.location.removeprefix(found.database)
            return f"sql://{_expand_known(found.database, environ)}{query}"
        return f"{self.scheme}://{self.location}"

    def __str__(self) -> str:
        """Return the URI as it may be shown and recorded: without secrets."""
        options = str(self.options)
        return f"{self.address}#{options}" if options else self.address


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
    body, options = split_options(text)
    scheme, separator, location = body.partition("://")
    if not separator:
        scheme, location = "file", body
    elif scheme not in SCHEMES:
        raise ValueError(f"'{scheme}://' is not a source. Use a path or one of {', '.join(s + '://' for s in SCHEMES)}")
    elif scheme == "file":
        location = _decode_path(location)
    elif scheme == "pypi":
        # Taken apart to be checked alone: whoever fetches it does so again.
        parse_pypi(location)
    elif scheme == "hf":
        parse_hub(location)
    elif scheme == "sql":
        parse_sql(location)
    elif not location.strip("/"):
        raise ValueError(f"'{scheme}://' names no host or bucket. Write {scheme}://<name>/<path>")
    given = next((name for name in WRITTEN if getattr(options.table, name) is not None), None)
    if scheme == "sql" and given is not None:
        raise ValueError(f"'#{given}' has no meaning for the rows of a query. Remove it")
    return Uri(scheme, location, options)


def show_uri(text: str) -> str:
    """Return a source as a person wants to see it: without options, which say nothing of where it is, and secrets.

    >>> show_uri("https://host/C#/rows.csv?token=abc#encoding=latin-1")
    'https://host/C#/rows.csv?token=***'
    """
    return parse_uri(text).address if "://" in text else find_body(text)


def replace_location(text: str, location: str) -> str:
    """Return a source with its options as they are written and another location: a path, or ``scheme://...``."""
    return location + text[len(find_body(text)) :]


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
            f"'{mask_url('hf://' + location)}' is not on the hub. Write hf://<org>/<model>[@<revision>] "
            "or hf://datasets/<org>/<name>[@<revision>][?config=<name>&split=<name>]"
        )
    parameters = dict(parse_qsl(match[5] or "", keep_blank_values=True))
    if unknown := sorted(set(parameters) - {"config", "split"}):
        raise ValueError(f"'{mask_url('hf://' + location)}': unknown parameter '{unknown[0]}'. Known: config, split")
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


def _decode_path(location: str) -> str:
    host, slash, path = location.partition("?")[0].partition("/")
    if host not in ("", "localhost") or not slash:
        raise ValueError(f"'file://{location}' is no absolute path. Write file:///<absolute path> with three slashes")
    return f"/{unquote(path)}"


def _expand_known(text: str, environ: Mapping[str, str] | None) -> str:
    """Return ``text`` with its references replaced, or unchanged when a variable is not set."""
    try:
        return expand_references(text, environ)
    except ValueError:
        return text
