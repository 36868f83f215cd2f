"""Read a spec file into plain values: strict YAML or JSON, nothing checked but the syntax.

YAML is read by the rules of its version 1.2 (core schema), as editors do: only ``true`` and ``false`` are
booleans, ``1e-4`` is a number, a date is text, and keys are always text. PyYAML alone follows 1.1, where a
label called ``no`` would silently become false.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from launchyard.errors import SpecError
from launchyard.foreign_text import check_path

SPEC_NAME = "product.yaml"

PLAIN_WORDS = {
    "found character '\\t'": "a tab cannot indent. Use spaces",
    "found character": "text that starts with this character is ambiguous. Put it in quotes",
    "found undefined alias": "text that starts with '*' refers to an anchor that is not there. Put it in quotes",
    "mapping values are not allowed here": "a ':' where none can stand. Put text that holds ': ' in quotes, "
    "and start every key of a block in the same column",
    "could not find expected ':'": "a line that is neither 'key: value' nor part of the text before. "
    "Check the indentation and the quotes around it",
    "could not determine a constructor for the tag": "a tag (!) has no meaning here. Write plain values",
    "found unconstructable recursive node": "an alias (*) holds itself. Write it out",
    "but found another document": "a second document after '---'. Write one product per file",
}
"""How PyYAML's problem begins -> what to tell the user; the first that fits."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalar types of YAML 1.2 and no tolerance for repeated keys."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own attribute

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = True) -> dict[Hashable, Any]:
        """Return a mapping whose keys are the text the user wrote."""
        mapping: dict[Hashable, Any] = {}
        first_lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be plain text", problem_mark=key_node.start_mark)
            key = key_node.value
            if key in first_lines:
                problem = f"'{key}' is given twice, first in line {first_lines[key]}. Remove one of them"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            first_lines[key] = key_node.start_mark.line + 1
            mapping[key] = self.construct_object(value_node, deep=True)
        return mapping


def _add_core_schema() -> None:
    """Teach the loader which plain scalars are not text (YAML 1.2.2, section 10.3.2)."""
    types = (
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
        ("int", r"[-+]?[0-9]{1,18}", list("-+0123456789")),
        ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
        ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
    )
    for name, pattern, first in types:
        _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(f"^(?:{pattern})$"), first)
    _Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))


_add_core_schema()


def _explain(problem: str) -> str:
    """Return PyYAML's problem in plain words where there are some."""
    return next((words for start, words in PLAIN_WORDS.items() if problem.startswith(start)), problem)


def parse_yaml(text: str, place: str) -> Any:
    """Return the value that ``text`` describes.

    Raises:
        SpecError: it is not YAML; the message gives line and column, both from 1.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = err.problem or err.context or "not YAML"
        raise SpecError(f"{place}: {where}{_explain(problem)}.") from err
    except yaml.YAMLError as err:
        raise SpecError(f"{place}: is not YAML: {' '.join(str(err).split())}.") from err
    except RecursionError as err:
        raise SpecError(f"{place}: is nested too deeply to be a spec.") from err


def parse_json(text: str, place: str) -> Any:
    """Return the value of a JSON document.

    Raises:
        SpecError: it is not JSON, or a key is given twice.
    """

    def refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) < len(pairs):
            repeated = sorted({key for key, _ in pairs if sum(key == other for other, _ in pairs) > 1})
            raise SpecError(f"{place}: '{repeated[0]}' is given twice. Remove one of them.")
        return mapping

    try:
        return json.loads(text, object_pairs_hook=refuse_repeated_keys)
    except json.JSONDecodeError as err:
        raise SpecError(f"{place}: line {err.lineno}, column {err.colno}: is not JSON: {err.msg}.") from err


def _is_json(text: str) -> bool:
    """Return whether text is JSON; nearly all JSON is YAML as well, but YAML folds some characters inside quotes."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def locate_spec(path: Path) -> Path:
    """Return the spec file at ``path``: the file itself, or ``product.yaml`` in the folder.

    Raises:
        SpecError: there is none, or its path cannot be written down.
    """
    found = path / SPEC_NAME if path.is_dir() else path
    try:
        check_path(found.absolute())
    except ValueError as err:
        raise SpecError(f"{err}.") from err
    if not found.is_file():
        raise SpecError(
            f"{found}: no such file. Write one with: launchyard init KIND my-product. 'launchyard kinds' lists them."
        )
    return found


def read_document(path: Path) -> dict[str, Any]:
    """Return the mapping in a spec file, which is read as JSON when it is JSON and as YAML otherwise.

    Raises:
        SpecError: the file is missing, empty, not text in UTF-8, of wrong syntax, or holds no mapping.
    """
    place = str(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise SpecError(f"{place}: is not UTF-8 text, byte {err.start} is {err.object[err.start]:#04x}. "
                        "Save it as UTF-8.") from err  # fmt: skip
    except OSError as err:
        raise SpecError(f"{place}: cannot be read: {err.strerror}.") from err
    value = parse_json(text, place) if path.suffix == ".json" or _is_json(text) else parse_yaml(text, place)
    if value is None:
        raise SpecError(
            f"{place}: is empty. Write a spec with: launchyard init KIND my-product. 'launchyard kinds' lists them."
        )
    if not isinstance(value, dict):
        raise SpecError(f"{place}: must be a mapping of keys such as 'api: launchyard/v1', got {type(value).__name__}.")
    return value
