"""A recommender for a log that nobody has described: who did what when, and what else the log says."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from launchyard.contract.proposals import Choice, ColumnSketch, Proposal, TableSketch
from launchyard.proposal.people import describe_people, find_people
from launchyard.proposal.sketch import split_name

ITEM_NAMES = {
    "item", "product", "movie", "film", "book", "isbn", "song", "track", "article",
    "sku", "video", "game", "recipe", "course", "news", "listing", "asin", "artist", "what", "goods", "offer",
}  # fmt: skip
TITLE_NAMES = {"title", "name", "description", "url", "price", "category", "genre"}
"""Of columns that say something about an item, but not which one."""
EVENT_NAMES = {"event", "action", "behavior", "behaviour", "interaction"}
WEIGHT_NAMES = {"rating", "stars", "weight", "quantity", "score"}
MOST_EVENT_TYPES = 20
LEAST_EVENTS = 2.0
"""Events of an item on average; items of a log come again."""
LONG_WORDS = 8.0
SMALL_LOG = 100


def propose_recommender(table: TableSketch, decided: Mapping[str, str]) -> Proposal | str:
    """Return a spec for a table that says who took what when, or what it lacks."""
    users = find_people(table)
    user = table.find(decided.get("data.interactions.user", "")) or next(iter(users), None)
    if user is None:
        return "no column's name and values say who did something, such as user_id"
    items = [column for column in table.columns if column is not user and _is_item(column)]
    item = table.find(decided.get("data.interactions.item", "")) or next(iter(items), None)
    if item is None:
        return f"beside '{user.name}' no column's name and values say what was taken, such as item_id"
    times = [column for column in table.columns if column.type == "time" and column not in (user, item)]
    time = table.find(decided.get("data.interactions.timestamp", "")) or next(iter(times), None)
    if time is None:
        return f"no column says when '{user.name}' took '{item.name}'"
    taken = (user.name, item.name, time.name)
    columns: dict[str, Any] = dict(zip(("user", "item", "timestamp"), taken, strict=True))
    reasons = {
        "data.interactions.user": describe_people(user),
        "data.interactions.item": describe_people(item),
        "data.interactions.timestamp": " to ".join(time.span or ()),
    }
    if event := _find(table, EVENT_NAMES, but=taken, types=("text",)):
        columns["event"] = event.name
        reasons["data.interactions.event"] = f"{event.num_distinct} sorts of events"
    weight = _find(table, WEIGHT_NAMES, but=taken, types=("number",))
    warnings = []
    if weight is not None and weight.span is not None:
        if float(weight.span[0]) > 0 and weight.null_share == 0:
            columns["weight"] = weight.name
            reasons["data.interactions.weight"] = f"{weight.span[0]} to {weight.span[1]}: how much an event counts"
        else:
            warnings.append(
                f"'{weight.name}' is not above 0 in every row, so it is not taken as data.interactions.weight."
            )
    nulls = max(column.null_share for column in (user, item, time))
    checks: dict[str, Any] = {"min_rows": max(1, table.rows.num_rows // 2)}
    reasons["data.checks.min_rows"] = "half of what was looked at: a log cut short is refused"
    if nulls > 0.05:
        checks["max_null_fraction"] = min(1.0, round(nulls + 0.05, 2))
        warnings.append(f"{nulls:.0%} of the events lack user, item or time: they are left out.")
    if table.rows.num_rows < SMALL_LOG:
        warnings.append(f"{table.rows.num_rows} events are few: people get what most take. Collect more.")
    if user.rows_per_value < LEAST_EVENTS:
        warnings.append(
            f"a user has {user.rows_per_value:.1f} events on average: little is known of most, who get what most take."
        )
    # The example's model, where there is something to learn from; a few events are counted, not learned from.
    architecture = "sasrec" if table.rows.num_rows >= 50_000 else "ease"
    reasons["model.architecture"] = (
        "of sasrec, lightgcn, ease, item-knn, content and popularity; change one word to try"
    )
    return Proposal(
        # Who writes texts about items wants these read more often than not.
        fit=0.6 if any(column.type == "text" and column.mean_words > LONG_WORDS for column in table.columns) else 0.95,
        blocks={"data": {"interactions": columns, "checks": checks}, "model": {"architecture": architecture}},
        reasons=reasons,
        choices=(
            Choice.of("data.interactions.user", "Which column says who?", user, users),
            Choice.of("data.interactions.item", "Which column says what was taken?", item, items),
            Choice.of("data.interactions.timestamp", "Which column says when?", time, times),
        ),
        warnings=tuple(warnings),
    )


def _is_item(column: ColumnSketch) -> bool:
    words = split_name(column.name)
    return (
        bool(ITEM_NAMES & words)
        and not TITLE_NAMES & words
        and column.may_hold_ids
        and column.rows_per_value >= LEAST_EVENTS
        and column.mean_words <= LONG_WORDS
    )


def _find(table: TableSketch, names: set[str], *, but: Collection[str], types: Collection[str]) -> ColumnSketch | None:
    return next(
        (
            column
            for column in table.columns
            if names & split_name(column.name)
            and column.name not in but
            and column.type in types
            and 2 <= column.num_distinct <= MOST_EVENT_TYPES
        ),
        None,
    )
