"""From a file to a checked product spec and back; every problem in one error."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from launchyard.errors import SpecError
from launchyard.kind import Kind
from launchyard.kinds import get_kind, iter_kinds
from launchyard.spec.blocks import Product
from launchyard.spec.checks import check_product
from launchyard.spec.document import locate_spec, read_document
from launchyard.spec.keys import join_path
from launchyard.spec.overrides import Override, apply_override, parse_override
from launchyard.spec.problems import Problem, find_problems, show, tell_unknown_key


def load_spec(path: Path, overrides: Sequence[str] = ()) -> Product:
    """Return the checked spec in a YAML or JSON file, or in ``product.yaml`` of a folder.

    Args:
        path: The file or its folder.
        overrides: ``KEY=VALUE`` texts that are put in before anything is checked; the last one of a key wins.

    Raises:
        SpecError: something is wrong with the file or an override; the message has one line for each problem.
    """
    file = locate_spec(path)
    document = read_document(file)
    parsed = _parse_overrides(overrides)
    kind = _get_kind(document, parsed, file)
    places = _Places(str(file), tuple(parsed), kind)
    document = _apply_overrides(document, parsed, kind)
    try:
        spec = kind.spec.from_document(document)
    except ValidationError as err:
        raise places.error(find_problems(err, document, kind.spec)) from err
    problems = check_product(spec, kind)
    if problems:
        raise places.error(problems)
    return spec


def dump_spec(spec: Product) -> str:
    """Return a spec as JSON, defaults spelled out, that :func:`load_spec` reads again; equal specs give equal text."""
    return json.dumps(spec.model_dump(mode="json"), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def spec_sha256(spec: Product) -> str:
    """Return the digest of what a spec means: format, order of keys, comments and spelled-out defaults do not count."""
    return hashlib.sha256(dump_spec(spec).encode()).hexdigest()


def _parse_overrides(texts: Iterable[str]) -> list[Override]:
    """Return all overrides, or raise every problem among them at once."""
    parsed: list[Override] = []
    problems: list[str] = []
    for text in texts:
        try:
            parsed.append(parse_override(text))
        except SpecError as err:
            problems.append(str(err))
    if problems:
        raise SpecError("\n".join(problems))
    return parsed


def _apply_overrides(document: dict[str, Any], overrides: Iterable[Override], kind: Kind) -> dict[str, Any]:
    """Return the document with all overrides put in, or raise every problem among them at once."""
    problems: list[str] = []
    for override in overrides:
        try:
            document = apply_override(document, override, kind.spec)
        except SpecError as err:
            problems.append(str(err))
    if problems:
        raise SpecError("\n".join(problems))
    return document


def _get_kind(document: dict[str, Any], overrides: Sequence[Override], file: Path) -> Kind:
    """Return the kind that a document or an override names.

    Raises:
        SpecError: none is named, or it is not known.
    """
    setters = [override for override in overrides if override.key == "kind"]
    place = setters[-1].place if setters else str(file)
    name = setters[-1].value if setters else document.get("kind")
    if name is None or not isinstance(name, str):
        known = ", ".join(kind.name for kind in iter_kinds())
        problem = "is missing" if name is None else f"must be text, got {show(name)}"
        raise SpecError(f"{place}: kind: {problem}. Write one of: {known}.")
    try:
        return get_kind(name)
    except SpecError as err:
        raise SpecError(f"{place}: {err}") from err


@dataclass(frozen=True)
class _Places:
    """Where the parts of a document come from: its file, or the override that set them."""

    file: str
    overrides: tuple[Override, ...]
    kind: Kind

    def error(self, problems: Iterable[Problem]) -> SpecError:
        """Return the error that lists all problems, one a line."""
        return SpecError("\n".join(dict.fromkeys(self._line(problem) for problem in problems)))

    def _line(self, problem: Problem) -> str:
        """Return one problem with its place."""
        inside: list[Override] = []
        for override in reversed(self.overrides):
            path = override.path(self.kind.spec)
            if path == problem.path:
                return f"{override.place}: {_sentence(problem.text)}"
            if path == problem.path[: len(path)]:
                return f"{override.place}: {join_path(problem.path)}: {_sentence(problem.text)}"
            if path[: len(problem.path)] == problem.path:
                if problem.is_unknown_key:
                    return f"{override.place}: {_sentence(tell_unknown_key(path, self.kind.spec)[0].text)}"
                inside.insert(0, override)
        place = " ".join((self.file, *(f"with {override.place}" for override in inside)))
        where = f"{place}: {join_path(problem.path)}" if problem.path else place
        return f"{where}: {_sentence(problem.text)}"


def _sentence(text: str) -> str:
    """Return text that ends as a sentence does."""
    return text if text.endswith((".", "?", "!")) else f"{text}."
