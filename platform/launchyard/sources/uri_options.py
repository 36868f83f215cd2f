"""What follows the ``#`` of a source: the pin of its content, and how a table is written.

    #sha256=<hex>        pins the content                   #delimiter=semicolon  what stands between fields
    #encoding=gb18030    character set of a text table      #quote=none           what stands around a field
    #format=csv          what a file without an ending is   #header=text,label    names of a table without a header line
    #format=files        each file is a row                 #columns=text,label   the only columns to read

They are joined by ``&``. A character that would end a value is written as its code, such as ``%2C`` for a comma.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

FILES = "files"
"""Format of a folder or archive whose files are the rows."""
FORMATS = ("csv", "tsv", "jsonl", "json", "parquet", FILES)
DELIMITED = ("csv", "tsv")
"""Formats that have a delimiter, quotes and a header line."""
WRITTEN = ("delimiter", "quote", "header")
"""Options that only such a format has."""
PLAIN = ("sha256", "encoding", "format")
OPTIONS = (*PLAIN, *WRITTEN, "columns")
DELIMITERS = {"tab": "\t", "semicolon": ";", "comma": ",", "pipe": "|", "space": " "}
"""Words for delimiters that are awkward to write, or to see."""

# Names of columns may hold spaces; what else follows a # may be a part of the path.
_AT_END = re.compile(rf"#((?:{'|'.join(OPTIONS)})=[^#/]*|\w+=[^#/\s]*)$")
# A query is taken as it stands, spaces and all.
_AFTER_QUERY = re.compile(r"#(\w+=[^#/\s]*)$")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# What would end a name, a value or the options when they are read back.
_RESERVED = re.compile(r"[%,&#/\x00-\x1f]")


@dataclass(frozen=True)
class TableOptions:
    """How a table is written, as far as its source says so. What is None here, the file itself must tell."""

    delimiter: str | None = None
    """One ASCII character."""
    quote: str | None = None
    """One ASCII character; empty: there are no quotes, and quotation marks are text."""
    header: bool | tuple[str, ...] | None = None
    """Whether the first line names the columns; names: it does not, and these are the columns' names in order."""
    columns: tuple[str, ...] | None = None
    """The only columns to read; None: all."""


@dataclass(frozen=True)
class Options:
    """Everything that follows the ``#``; what is not given is None."""

    sha256: str | None = None
    encoding: str | None = None
    format: str | None = None
    table: TableOptions = field(default_factory=TableOptions)

    def __str__(self) -> str:
        """Return the options in one spelling, without the ``#``; empty when none is given."""
        return "&".join(f"{name}={value}" for name, value in self._iter_given())

    def _iter_given(self) -> Iterator[tuple[str, str]]:
        words = {character: word for word, character in DELIMITERS.items()}
        plain = {"sha256": self.sha256, "encoding": self.encoding, "format": self.format}
        yield from ((name, value) for name, value in plain.items() if value is not None)
        table = self.table
        if table.delimiter is not None:
            yield "delimiter", words.get(table.delimiter) or _encode(table.delimiter)
        if table.quote is not None:
            yield "quote", _encode(table.quote) or "none"
        if table.header is not None:
            yield "header", str(table.header).lower() if isinstance(table.header, bool) else _join(table.header)
        if table.columns is not None:
            yield "columns", _join(table.columns)


def split_options(text: str) -> tuple[str, Options]:
    """Return a source without its options, and the options.

    Raises:
        ValueError: an option is unknown, given twice, or has a value that it cannot have; the message says which.
    """
    body = find_body(text)
    given: dict[str, str] = {}
    for option in text[len(body) + 1 :].split("&") if body != text else ():
        name, _, value = option.partition("=")
        if name not in OPTIONS:
            raise ValueError(f"'#{name}' is not an option of a source. Known: {', '.join(OPTIONS)}")
        if name in given:
            raise ValueError(f"'#{name}' is given twice. Remove one of them")
        given[name] = value
    plain = {name: _check_plain(name, value) for name, value in given.items() if name in PLAIN}
    options = Options(plain.get("sha256"), plain.get("encoding"), plain.get("format"), _read_table(given))
    _check_format(options)
    return body, options


def find_body(text: str) -> str:
    """Return a source without its options, right or wrong; a ``#`` inside a path or a query starts none."""
    match = (_AFTER_QUERY if text.startswith("sql://") else _AT_END).search(text)
    return text if match is None else text[: match.start()]


def _check_plain(name: str, value: str) -> str:
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


def _read_table(given: Mapping[str, str]) -> TableOptions:
    delimiter, quote, header, columns = (given.get(name) for name in (*WRITTEN, "columns"))
    table = TableOptions(
        delimiter=None if delimiter is None else _read_delimiter(delimiter),
        quote=None if quote is None else _read_quote(quote),
        header=None if header is None else _read_header(header),
        columns=None if columns is None else _read_names("columns", columns),
    )
    if table.delimiter is not None and table.delimiter == table.quote:
        raise ValueError(f"'#delimiter={delimiter}' and '#quote={quote}' are one character. Change one of them")
    if isinstance(table.header, tuple) and (unknown := sorted({*(table.columns or ())} - {*table.header})):
        raise ValueError(f"'#columns={columns}': '{unknown[0]}' is not among the names that header gives")
    if table.header is False and table.columns is not None:
        # Nothing else could name them.
        return TableOptions(table.delimiter, table.quote, table.columns)
    return table


def _read_delimiter(value: str) -> str:
    character = "\t" if value == "\\t" else DELIMITERS.get(value.lower()) or _decode("delimiter", value)
    if not _is_mark(character):
        raise ValueError(
            f"'#delimiter={value}' is not a delimiter. Give one ASCII character that is no letter or digit, its code "
            f"as %XX, or one of {', '.join(DELIMITERS)}"
        )
    return character


def _read_quote(value: str) -> str:
    if value.lower() == "none":
        return ""
    character = _decode("quote", value)
    if not _is_mark(character):
        raise ValueError(
            f"'#quote={value}' is not a quotation mark. Give one ASCII character that is no letter or digit, its code "
            "as %XX, or none"
        )
    return character


def _read_header(value: str) -> bool | tuple[str, ...]:
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    return _read_names("header", value)


def _read_names(option: str, value: str) -> tuple[str, ...]:
    names = tuple(_decode(option, name) for name in value.split(","))
    if not all(name.strip() for name in names):
        raise ValueError(f"'#{option}={value}' leaves a name out. Give names with commas between, such as text,label")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"'#{option}={value}' names '{repeated[0]}' twice. Names must differ")
    return names


def _check_format(options: Options) -> None:
    given = next((name for name in WRITTEN if getattr(options.table, name) is not None), None)
    if given is not None and options.format is not None and options.format not in DELIMITED:
        raise ValueError(f"'#{given}' has no meaning for the format {options.format}. Remove one of them")


# pyarrow (25) takes one byte for a delimiter, and one for a quote.
def _is_mark(character: str) -> bool:
    return len(character) == 1 and character.isascii() and not character.isalnum() and character not in "\r\n\0"


def _decode(option: str, value: str) -> str:
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError as err:
        raise ValueError(f"'#{option}={value}' is not UTF-8 when its codes are decoded. Correct them") from err


def _encode(text: str) -> str:
    return _RESERVED.sub(lambda match: f"%{ord(match[0]):02X}", text)


def _join(names: tuple[str, ...]) -> str:
    return ",".join(map(_encode, names))
