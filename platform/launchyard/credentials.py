"""Which parts of a URL are secret: how it is shown without them, and where they may not stand at all.

Every password, token or signature on its way to a terminal, a log, a report or a database passes through here. A
reference to an environment variable (``${NAME}``) is no secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from pydantic import SecretStr

MASK = "***"

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]+")
_REFERENCES = re.compile(r"(?:\$\{\w+\})+")
_REFERENCE = re.compile(r"\$\{\w+\}")
_HOST = r"(?:\[[^\]@]*\]|[^:@\[\],]*)(?::\d*)?"
_HOSTS = re.compile(rf"{_HOST}(?:,{_HOST})*")
"""What stands between ``://`` and the path when no password does: hosts, each with its port."""
# A quote ends a value: other libraries quote the URLs that they complain of.
_PARAMETER = re.compile(r"([\w.\-]+)=([^&;#\s\"']*)")
_ASSIGNED = re.compile(r"\b(\w*(?:password|passwd|pwd|passphrase)\s*=\s*)('[^']*'|[^\s;,&'\")]+)", re.IGNORECASE)
"""A password in the form that database drivers quote: ``password=x`` or ``password='x y'``."""
# In camel case, in capitals or with underscores: services spell the names of secrets in all of these ways.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

_SECRET_ENDS = (
    *("password", "passwd", "passphrase", "pwd", "secret", "token", "signature", "credential", "credentials"),
    *("apikey", "accesskey", "secretkey", "privatekey", "accountkey", "sharedkey", "subscriptionkey"),
)
_SECRET_WORDS = {"pass", "pw", "sig"}
_DOUBTFUL_WORDS = {"auth", "authorization", "code", "jwt", "key", "sas"}
"""Some services give a secret such a name, others a file, a country or a product."""
_HARMLESS_WORDS = {"file", "id", "length", "method", "mode", "name", "next", "page", "path", "type"}
"""``sslpassword_file`` or ``page_token`` is no secret itself."""
_RANDOM_CHARACTERS = 20


@dataclass(frozen=True)
class _Secret:
    """A part of a URL that is secret, or may be."""

    start: int
    end: int
    name: str
    """What to call it in a message."""
    is_certain: bool


class SecretUrl(SecretStr):
    """A URL that may hold a password; whoever prints it gets it without.

    >>> print(SecretUrl("postgresql://me:hunter2@host/db"))
    postgresql://me:***@host/db
    """

    def _display(self) -> str:
        return mask_url(self.get_secret_value())


class SecretAddress(SecretStr):
    """A URL that is a secret as a whole, as those of webhooks are; it is shown as the server that it leads to.

    >>> print(SecretAddress("https://hooks.example/services/T0/B0/x"))
    https://hooks.example
    """

    def _display(self) -> str:
        scheme, separator, rest = self.get_secret_value().partition("://")
        authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
        return f"{scheme}://{authority.rpartition('@')[2]}" if separator else MASK


def mask_url(url: str) -> str:
    """Return a URL with every password and token in it masked; references to variables stay.

    >>> mask_url("https://me:a/b@host/rows.csv?page=2&api_token=abc&key=${KEY}")
    'https://me:***@host/rows.csv?page=2&api_token=***&key=${KEY}'
    """
    # From the end, so that a mask moves no secret that is still to be masked.
    for secret in sorted(_iter_secrets(url), key=lambda found: found.start, reverse=True):
        url = url[: secret.start] + MASK + url[secret.end :]
    return url


def mask_text(text: str, known: Iterable[SecretStr | None] = ()) -> str:
    """Return a text, such as another library's error, with the secrets of every URL in it masked.

    Args:
        text: What is to be shown.
        known: URLs whose secrets are masked also where they stand alone.
    """
    for url in known:
        for value in list_secrets(url.get_secret_value()) if url is not None else ():
            text = text.replace(value, MASK)
    text = _URL.sub(lambda match: mask_url(match[0]), text)
    text = _PARAMETER.sub(_mask_parameter, text)
    return _ASSIGNED.sub(rf"\1{MASK}", text)


def list_secrets(url: str) -> list[str]:
    """Return the secrets in a URL as they are written and as they are meant, the longest first."""
    written = {url[secret.start : secret.end] for secret in _iter_secrets(url)}
    # A secret may be a part of another: masked first, it would leave the rest of that one to be read.
    return sorted(written | {unquote(value) for value in written}, key=len, reverse=True)


def find_literal(url: str) -> str | None:
    """Return what to call a secret that stands in a URL as it is, None when there is none.

    >>> find_literal("https://host/rows.csv?api_token=abc")
    "the parameter 'api_token'"
    >>> find_literal("https://host/rows.csv?api_token=${TOKEN}&key=train.csv")
    """
    return next((found.name for found in _iter_secrets(url) if found.is_certain and _is_literal(url, found)), None)


def find_raw_character(url: str) -> str | None:
    """Return a character of a URL's password that would end it, None when there is none."""
    credentials = _find_credentials(url)
    password = "" if credentials is None else url[credentials.start : credentials.end]
    return next((character for character in password if character in "/?#"), None)


def _is_literal(url: str, secret: _Secret) -> bool:
    return _REFERENCE.search(url, secret.start, secret.end) is None


def _iter_secrets(url: str) -> Iterator[_Secret]:
    """Yield the parts of a URL that are, or may be, secret and are more than references."""
    credentials = _find_credentials(url)
    end = url.find("://") + 3
    if credentials is not None:
        end = credentials.end
        yield credentials
    query = min((found for mark in "?#;" if (found := url.find(mark, end)) >= 0), default=len(url))
    for match in _PARAMETER.finditer(url, query):
        secret = _judge_parameter(match)
        if secret is not None:
            yield secret


def _find_credentials(url: str) -> _Secret | None:
    """Return the password before the host, or a token that stands in the user's place."""
    start = url.find("://") + 3
    if start < 3:
        return None
    end = min((found for mark in "/?#" if (found := url.find(mark, start)) >= 0), default=len(url))
    authority = url[start:end]
    is_web = url.startswith(("http", "s3"))
    # host:8080/a@b is a path on the web; a database is not called so.
    if "@" not in authority and _HOSTS.fullmatch(authority) and (is_web or ":" not in authority):
        return None
    at = start + authority.rfind("@")
    user, colon, password = url[start : max(at, start)].partition(":")
    if "@" in authority and (not colon or _REFERENCES.fullmatch(password)):
        # On the web a name without a password may be a token; a database is told a login name so.
        is_token = not colon and is_web and _looks_random(user)
        return _Secret(start, at, "the token before the host", is_certain=True) if is_token else None
    # A password may hold what would end it, so that only the last @ surely is behind it.
    # A parameter may hold an @ too; one behind the ? counts only where the password itself holds the ?.
    before_query = url.find("?", start) if url.find("?", start) >= 0 else len(url)
    at = url.rfind("@", start, before_query)
    at = at if at >= 0 else url.rfind("@", start)
    first = url.find(":", start) + 1
    return _Secret(first, at, "the password", is_certain=True) if start < first <= at else None


def _judge_parameter(match: re.Match[str]) -> _Secret | None:
    name, value = match.groups()
    if not value or _REFERENCES.fullmatch(value):
        return None
    words = [word.lower() for word in _WORD.findall(name)]
    joined = "".join(words)
    is_secret = joined.endswith(_SECRET_ENDS) or bool(_SECRET_WORDS & {*words})
    is_doubtful = joined.endswith("key") or bool(_DOUBTFUL_WORDS & {*words}) or any(s in joined for s in _SECRET_ENDS)
    # Its value is a whole connection string of ODBC, percent-encoded.
    if name == "odbc_connect" and "pwd=" in unquote(value).lower():
        is_secret = True
    if not (is_secret or is_doubtful):
        return None
    is_certain = (is_secret and not _HARMLESS_WORDS & {*words}) or _looks_random(value)
    return _Secret(match.start(2), match.end(2), f"the parameter '{name}'", is_certain=is_certain)


def _mask_parameter(match: re.Match[str]) -> str:
    return match[0] if _judge_parameter(match) is None else f"{match[1]}={MASK}"


def _looks_random(text: str) -> bool:
    """Return whether a text is rather made by a machine than chosen by a person, as tokens are and names are not."""
    # Paths, hosts and sentences may be as long and as mixed as a token, but have dots, slashes or spaces.
    if len(text) < _RANDOM_CHARACTERS or re.search(r"[./\s]", text) or not re.search(r"\d", text):
        return False
    is_hex = re.fullmatch(r"[0-9a-f]{32,}", text, re.IGNORECASE) is not None
    return is_hex or (re.search(r"[a-z]", text) is not None and re.search(r"[A-Z]", text) is not None)
