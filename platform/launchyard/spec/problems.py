"""What is wrong with a spec, in plain words: pydantic's errors told to somebody who does not know pydantic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from launchyard.credentials import mask_text
from launchyard.spec.keys import Path, children, find_key, find_nearest, join_path

EXPECTATIONS = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "model_type": "a mapping of keys",
    "dict_type": "a mapping of keys",
    "tuple_type": "a list",
    "list_type": "a list",
    "literal_error": "{expected}",
    "greater_than": "greater than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "below {lt:g}",
    "less_than_equal": "at most {le:g}",
    "too_short": "of at least {min_length} entries",
    "too_long": "of at most {max_length} entries",
    "string_pattern_mismatch": "of the form {pattern}",
}
"""Pydantic's error type -> what the value must be, filled from the error's context."""

LONGEST_SHOWN = 60


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where it stands in the spec, and what to tell the user (a sentence without its dot)."""

    path: Path
    text: str
    is_unknown_key: bool = False


@dataclass(frozen=True)
class _Fault:
    """One pydantic error: its path in the document, and the union branches it was met in, outermost first."""

    path: Path
    branches: tuple[tuple[int, str], ...]
    """Depth of the path at which the union stands, and the branch's name."""
    error: ErrorDetails
    entered: str | None = None
    """The branch that the fault is seen from inside of."""

    def enter(self) -> _Fault:
        """Return the fault as seen from inside its outermost branch."""
        return _Fault(self.path, self.branches[1:], self.error, self.branches[0][1])


def find_problems(error: ValidationError, document: Any, spec: type[BaseModel]) -> list[Problem]:
    """Return every problem behind a failed validation of ``document``, one for each mistake, in the spec's order."""
    faults = [_locate(details, document) for details in error.errors(include_url=False)]
    merged = [_tell(group, spec) for group in _merge_branches(faults)]
    meant = {told.suggestion for told in merged if told.suggestion is not None}
    return [told.problem for told in merged if not (told.is_missing and join_path(told.problem.path) in meant)]


def _locate(details: ErrorDetails, document: Any) -> _Fault:
    """Return an error with its path in the document told apart from the union branches in its location."""
    node, path, branches = document, list[str | int](), list[tuple[int, str]]()
    location = details["loc"]
    for position, part in enumerate(location):
        is_last = position == len(location) - 1
        if _has(node, part):
            node = node[part]
            path.append(part)
        elif is_last and details["type"] == "missing":
            path.append(part)
        else:
            branches.append((len(path), str(part)))
    return _Fault(tuple(path), tuple(branches), details)


def _has(node: Any, part: str | int) -> bool:
    """Return whether the document goes on at ``part``."""
    if isinstance(node, dict):
        return part in node
    return isinstance(node, list) and isinstance(part, int) and part < len(node)


def _merge_branches(faults: Sequence[_Fault]) -> list[list[_Fault]]:
    """Return faults grouped by mistake: of a union's branches, only what speaks of the form the user meant."""
    groups: dict[Path | int, list[_Fault]] = {}
    for number, fault in enumerate(faults):
        key: Path | int = fault.path[: fault.branches[0][0]] if fault.branches else -1 - number
        groups.setdefault(key, []).append(fault)
    merged: list[list[_Fault]] = []
    for key, group in groups.items():
        merged.extend([group] if isinstance(key, int) else _choose_branch(group))
    return [group for group in merged if not _follows_from_another(group, merged)]


def _choose_branch(faults: Sequence[_Fault]) -> list[list[_Fault]]:
    """Return the faults of the branch that came nearest; all branches in one group when none came near.

    A branch came near when it got beyond the type of the value; the nearest has the fewest faults.
    """
    by_branch: dict[str, list[_Fault]] = {}
    depth = faults[0].branches[0][0]
    for fault in faults:
        by_branch.setdefault(fault.branches[0][1], []).append(fault.enter())
    merged = [_merge_branches(branch) for branch in by_branch.values()]
    near = [groups for groups in merged if any(_is_beyond_type(fault, depth) for group in groups for fault in group)]
    if near:
        return min(near, key=len)
    return [[fault for groups in merged for group in groups for fault in group]]


def _is_beyond_type(fault: _Fault, depth: int) -> bool:
    """Return whether the value had a type that the branch accepts."""
    return len(fault.path) > depth or fault.error["type"] == "value_error"


def _follows_from_another(group: Sequence[_Fault], all_groups: Iterable[Sequence[_Fault]]) -> bool:
    """Return whether a list is only too short because entries of it are wrong."""
    fault = group[0]
    return fault.error["type"] == "too_short" and any(
        len(other[0].path) > len(fault.path) and other[0].path[: len(fault.path)] == fault.path for other in all_groups
    )


@dataclass(frozen=True)
class _Told:
    """A problem, and how it relates to others."""

    problem: Problem
    is_missing: bool = False
    suggestion: str | None = None
    """The known key that an unknown one most likely means."""


def _tell(faults: Sequence[_Fault], spec: type[BaseModel]) -> _Told:
    """Return one mistake in words."""
    fault = faults[0]
    match fault.error["type"]:
        case "missing":
            key = find_key(spec, fault.path)
            return _Told(Problem(fault.path, f"is missing. Add it: {key.description}" if key else "is missing"), True)
        case "extra_forbidden":
            if fault.entered is not None and find_key(spec, fault.path) is not None:
                text = f"is not a key of {fault.entered}. Remove it"
                return _Told(Problem(fault.path, text, is_unknown_key=True))
            problem, suggestion = tell_unknown_key(fault.path, spec)
            return _Told(problem, suggestion=suggestion)
        case "union_tag_invalid" | "union_tag_not_found":
            return _tell_tag(fault, spec)
        case "value_error":
            return _Told(Problem(fault.path, str(fault.error["ctx"]["error"])))
    return _Told(Problem(fault.path, _tell_expectation([fault.error for fault in faults], fault.path, spec)))


def _tell_tag(fault: _Fault, spec: type[BaseModel]) -> _Told:
    """Return what is wrong with the key that says which form a block has."""
    context = fault.error["ctx"]
    path = (*fault.path, str(context["discriminator"]).strip("'"))
    if fault.error["type"] == "union_tag_not_found":
        key = find_key(spec, path)
        return _Told(Problem(path, f"is missing. Add it: {key.description}" if key else "is missing"), True)
    tags = [tag.strip(" '") for tag in context["expected_tags"].split(",")]
    near = get_close_matches(str(context["tag"]), tags, n=1)
    hint = f". Did you mean '{near[0]}'?" if near else ""
    return _Told(Problem(path, f"must be one of {', '.join(tags)}, got {show(context['tag'])}{hint}"))


def tell_unknown_key(path: Path, spec: type[BaseModel]) -> tuple[Problem, str | None]:
    """Return the problem of a key that the spec class does not have, and the key that is most likely meant."""
    nearest = find_nearest(spec, path)
    parent = path[:-1]
    while parent and not children(spec, parent):
        parent = parent[:-1]
    known = ", ".join(sorted(children(spec, parent)))
    hint = f"Did you mean '{nearest}'?" if nearest else f"Known keys here: {known}"
    return Problem(path, f"is not a key of the spec. {hint}", is_unknown_key=True), nearest


def _tell_expectation(errors: Sequence[ErrorDetails], path: Path, spec: type[BaseModel]) -> str:
    """Return what a value must be, what was found, and what to write instead where that is clear."""
    expected = " or ".join(dict.fromkeys(_expectation(error) for error in errors))
    found = errors[0]["input"]
    advice = _advice(errors, found)
    if not advice and any(error["type"] == "string_pattern_mismatch" for error in errors):
        key = find_key(spec, path)
        advice = f". {key.description}" if key else ""
    return f"must be {expected}, got {show(found)}{advice}"


def _expectation(error: ErrorDetails) -> str:
    """Return what one error asks for, as the end of 'must be'."""
    template = EXPECTATIONS.get(error["type"])
    return template.format(**error.get("ctx", {})) if template else f"valid ({error['msg']})"


def _advice(errors: Sequence[ErrorDetails], found: Any) -> str:
    """Return what to write instead, as a sentence to append, or nothing."""
    types = {error["type"] for error in errors}
    if "bool_type" in types and str(found).lower() in ("yes", "no", "on", "off"):
        return f". Write {'true' if str(found).lower() in ('yes', 'on') else 'false'}"
    if types & {"int_type", "float_type"} and isinstance(found, str) and _is_number(found):
        return ". Remove the quotes"
    if types == {"string_type"} and isinstance(found, (int, float)):
        return ". Put it in quotes"
    if types & {"tuple_type", "list_type"} and isinstance(found, str):
        return f". Write [{mask_text(found)}]"
    if "literal_error" in types and isinstance(found, str):
        expected = next(error["ctx"]["expected"] for error in errors if error["type"] == "literal_error")
        near = get_close_matches(found, [part for part in expected.split("'") if part.strip(" ,")], n=1)
        return f". Did you mean '{near[0]}'?" if near else ""
    return ""


def _is_number(text: str) -> bool:
    """Return whether text would be a number without its quotes."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def show(value: Any) -> str:
    """Return a value as a spec would spell it, cut to a readable length."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case Mapping():
            return f"a mapping with {', '.join(map(str, value)) or 'no keys'}"
        case list():
            return f"a list of {len(value)}"
        case str():
            shown = mask_text(value)
            return repr(shown[:LONGEST_SHOWN] + "…" if len(shown) > LONGEST_SHOWN else shown)
    return repr(value)
