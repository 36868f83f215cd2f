"""From a table to the spec of a product: which kind fits, what it proposes, and the file that says so."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launchyard.contract.proposals import Choice, Proposal, TableSketch
from launchyard.errors import SpecError
from launchyard.foreign_text import make_printable
from launchyard.kind import Kind
from launchyard.kinds import get_kind, iter_kinds
from launchyard.sources.paths import join_path
from launchyard.sources.uri import parse_uri

Ask = Callable[[Choice], str]
"""Returns what somebody chooses: the choice's value or one of the others."""

KIND_KEY = "kind"
PLAIN = re.compile(r"[A-Za-z_][\w./:@+=#?&%~-]*")
"""What YAML reads as text without quotes, but for the words of its own."""
YAML_WORDS = {"true", "false", "null", "yes", "no", "on", "off"}
COMMENT_COLUMN = 40
MOST_NAMED = 12
"""Columns that a message names."""


@dataclass(frozen=True)
class Draft:
    """A proposal and the kind that it is of."""

    kind: Kind
    proposal: Proposal
    other_kinds: tuple[str, ...] = ()
    """Kinds that would fit the table, too."""

    def read(self, key: str) -> str:
        """Return the proposed value of a key, as the spec writes it."""
        value: Any = self.proposal.blocks
        for part in key.split("."):
            value = value[part]
        return _value(value)


def draft_product(table: TableSketch, kind_name: str | None, ask: Ask | None) -> Draft:
    """Return what is proposed for a table.

    Args:
        table: Its first rows.
        kind_name: The only kind that is thought of; None: the one that fits best.
        ask: How somebody is asked; None: nobody is, and what is proposed stands.

    Raises:
        SpecError: no kind fits, or the one that is thought of proposes nothing or does not fit.
    """
    decided: dict[str, str] = {}
    proposals = _propose(table, kind_name, decided)
    names = tuple(proposals)
    chosen = names[0]
    if ask is not None and len(names) > 1:
        chosen = ask(Choice(KIND_KEY, "What sort of product shall it be?", names[0], names[1:]))
    kind, proposal = get_kind(chosen), proposals[chosen]
    if ask is not None:
        # One by one, for an answer may change what is asked next.
        while open_ := [choice for choice in proposal.choices if choice.others and choice.key not in decided]:
            decided[open_[0].key] = ask(open_[0])
            proposal = _propose(table, chosen, decided)[chosen]
    return Draft(kind, proposal, tuple(name for name in names if name != chosen))


def _propose(table: TableSketch, kind_name: str | None, decided: Mapping[str, str]) -> dict[str, Proposal]:
    """Return the kinds that fit, by name, the best first."""
    kinds = iter_kinds() if kind_name is None else (get_kind(kind_name),)
    found: dict[str, Proposal] = {}
    problems = []
    for kind in kinds:
        propose = kind.load_propose_function()
        proposal = "it proposes nothing for tables" if propose is None else propose(table, decided)
        if isinstance(proposal, Proposal):
            found[kind.name] = proposal
        else:
            problems.append(f"{kind.name}: {proposal}.")
    if not found:
        columns = ", ".join(f"{column.name} ({column.type})" for column in table.columns[:MOST_NAMED])
        columns += f" and {len(table.columns) - MOST_NAMED} more" if len(table.columns) > MOST_NAMED else ""
        raise SpecError(
            f"--from: no kind of product fits this table. {' '.join(problems)} Its columns: {columns}. "
            "If you know better, begin with a kind's example and name your columns in it: launchyard init KIND DIR"
        )
    return dict(sorted(found.items(), key=lambda entry: -entry[1].fit))


def render_spec(draft: Draft, *, product: str, source: str) -> str:
    """Return the spec as YAML, each proposed value with its reason beside it."""
    data = draft.proposal.blocks.get("data", {})
    blocks = {
        "api": "launchyard/v1",
        "product": product,
        "kind": draft.kind.name,
        **draft.proposal.blocks,
        "data": {"source": source, **data},
    }
    order = ["api", "product", "kind", "data", *(key for key in draft.proposal.blocks if key != "data")]
    lines = list(_render({key: blocks[key] for key in order}, draft.proposal.reasons, ""))
    return "\n".join(lines) + "\n"


def place_source(source: str, folder: Path) -> str:
    """Return ``source`` as a spec in ``folder`` has to write it: relative paths start there and not here."""
    try:
        uri = parse_uri(source)
    except ValueError as err:
        raise SpecError(f"--from: {err}.") from err
    if uri.scheme != "file":
        return source
    written, mark, options = source.partition("#")
    path = Path(written)
    if path.is_absolute() or written.startswith("~") or "://" in written:
        return source
    return os.path.relpath(join_path(uri.location, Path.cwd()), folder.resolve()) + mark + options


def _render(values: Mapping[str, Any], reasons: Mapping[str, str], path: str) -> Iterator[str]:
    depth = path.count(".") + 1 if path else 0
    for key, value in values.items():
        place = f"{path}.{key}" if path else key
        start = f"{'  ' * depth}{_scalar(key)}:"
        if isinstance(value, Mapping):
            if not depth:
                yield ""
            yield _explain(start, reasons.get(place))
            yield from _render(value, reasons, place)
        else:
            yield _explain(f"{start} {_value(value)}", reasons.get(place))


def _explain(line: str, reason: str | None) -> str:
    return line if reason is None else f"{line:<{COMMENT_COLUMN}}  # {make_printable(reason)}"


def _value(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_value, value))}]"
    return _scalar(value) if isinstance(value, str) else json.dumps(value)


def _scalar(text: str) -> str:
    is_plain = PLAIN.fullmatch(text) and text.lower() not in YAML_WORDS and not text.endswith(":")
    return text if is_plain else json.dumps(text, ensure_ascii=False)
