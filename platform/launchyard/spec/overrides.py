"""Values given on the command line with ``--set KEY=VALUE``: typed by YAML's rules, put in before all checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from launchyard.credentials import mask_text
from launchyard.errors import SpecError
from launchyard.spec.document import parse_yaml
from launchyard.spec.keys import join_path, split_path
from launchyard.spec.problems import show


@dataclass(frozen=True)
class Override:
    """One ``--set``: the text as typed, and what it means."""

    text: str
    key: str
    value: Any

    @property
    def place(self) -> str:
        """How messages name it."""
        return f"--set {mask_text(self.text)}"

    def path(self, spec: type[BaseModel]) -> tuple[str, ...]:
        """Return the path of its key in a spec of this class."""
        return split_path(spec, self.key)


def parse_override(text: str) -> Override:
    """Return what one ``KEY=VALUE`` means.

    >>> parse_override("train.epochs=1")
    Override(text='train.epochs=1', key='train.epochs', value=1)

    Raises:
        SpecError: there is no ``=``, the key is malformed, or the value is not YAML.
    """
    key, separator, value = text.partition("=")
    place = f"--set {mask_text(text)}"
    if not separator:
        raise SpecError(f"{place}: has no value. Write KEY=VALUE, such as --set train.epochs=1")
    key = key.strip()
    if not all(key.split(".")):
        raise SpecError(f"{place}: '{key}' is not a key. Write KEY=VALUE, such as --set train.epochs=1")
    return Override(text, key, _parse_value(value.strip(), place))


def _parse_value(text: str, place: str) -> Any:
    """Return a value by YAML's rules; a rule such as ``>= 0.8`` is text, though YAML would start a block there."""
    return text if text.startswith((">", "|")) else parse_yaml(text, place)


def apply_override(document: dict[str, Any], override: Override, spec: type[BaseModel]) -> dict[str, Any]:
    """Return the document with one value put in; blocks on the way to it are made where they are missing.

    Raises:
        SpecError: the document holds a plain value where the key needs a block.
    """
    *parents, name = override.path(spec)
    changed = dict(document)
    node = changed
    for depth, parent in enumerate(parents):
        inner = node.get(parent)
        if inner is not None and not isinstance(inner, dict):
            block = join_path(parents[: depth + 1])
            raise SpecError(
                f"{override.place}: '{block}' is {show(inner)}, which has no keys. Set '{block}' as a whole."
            )
        node[parent] = dict(inner or {})
        node = node[parent]
    node[name] = override.value
    return changed
