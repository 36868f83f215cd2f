"""``launchyard init --from``: tables of many shapes become specs that hold what the tables are, and say why."""

from __future__ import annotations

import csv
import json
import os
import pty
import random
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from launchyard.cli.main import build_app
from launchyard.contract.proposals import Choice
from launchyard.data.prepare import prepare_dataset
from launchyard.errors import SpecError
from launchyard.proposal.draft import draft_product, place_source, render_spec
from launchyard.proposal.sketch import MAX_ROWS, sketch_table
from launchyard.settings import Settings
from launchyard.sources.resolve import fetch
from launchyard.spec.document import read_document
from launchyard.spec.load import load_spec

Row = dict[str, Any]

ENGLISH = {
    "good": ["a warm film with a heart", "I loved every minute of it", "what a wonderful evening this was"],
    "bad": ["a cold and empty story", "I wanted my money back after this", "the worst thing I have seen in years"],
}
GERMAN = {
    "Lob": [
        "der Film ist warm und klug",
        "ich habe jede Minute davon geliebt",
        "ein wunderbarer Abend mit der Familie",
    ],
    "Tadel": ["die Handlung ist kalt und leer", "ich wollte mein Geld zurück haben", "das war leider nichts für uns"],
}
CHINESE = {
    "好评": ["这部电影非常好看，我很喜欢", "服务态度很好，下次还会再来", "故事感人，演员演得也不错"],
    "差评": ["这部电影太无聊了，浪费时间", "服务态度很差，再也不会来了", "故事没有意思，演员也不行"],
}


def make_texts(number: int, by_label: dict[str, list[str]] | None = None) -> list[tuple[str, str]]:
    """Return (label, text) pairs; no two texts are alike."""
    generator = random.Random(0)
    by_label = by_label or ENGLISH
    labels = list(by_label)
    pairs = []
    for index in range(number):
        label = labels[index % len(labels)]
        words = generator.choices(
            ["alpha", "bravo", "delta", "kilo", "lima", "mike", "oscar", "papa", "romeo", "tango"], k=3
        )
        joint = " ".join(generator.choice(by_label[label]) for _ in range(2))
        pairs.append((label, f"{joint} {' '.join(words)} {index}"))
    return pairs


def write_csv(path: Path, rows: Sequence[Row], *, delimiter: str = ",") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def reviews(folder: Path) -> Path:
    return write_csv(folder / "reviews.csv", [{"review": text, "sentiment": label} for label, text in make_texts(200)])


def tickets(folder: Path) -> Path:
    """A person has several rows, and each row a time."""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    rows = [
        {
            "ticket": 1000 + number,
            "created_at": (start + timedelta(hours=number)).isoformat(),
            "customer_id": f"c{number % 40}",
            "channel": ("mail", "chat")[number % 3 == 0],
            "body": f"{text}. Write to anna{number}@example.org",
            "queue": label,
        }
        for number, (label, text) in enumerate(make_texts(240))
    ]
    return write_csv(folder / "tickets.tsv", rows, delimiter="\t")


def headlines(folder: Path) -> Path:
    rows = [
        {"date": f"2024-{1 + number // 30:02}-{1 + number % 28:02}", "headline": text, "category": label}
        for number, (label, text) in enumerate(make_texts(300))
    ]
    return write_csv(folder / "headlines.csv", rows)


def chinese_lines(folder: Path) -> Path:
    path = folder / "reviews.jsonl"
    lines = [json.dumps({"text": text, "label": label}) for label, text in make_texts(120, CHINESE)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def german_semicolons(folder: Path) -> Path:
    rows = [{"Kommentar": text, "Urteil": label} for label, text in make_texts(150, GERMAN)]
    return write_csv(folder / "kommentare.csv", rows, delimiter=";")


def scored_sentences(folder: Path) -> Path:
    generator = random.Random(0)
    rows = [
        {
            "id": number,
            "sentence": text,
            "polarity": f"{generator.uniform(0.1, 4) * (1 if label == 'good' else -1):.3f}",
        }
        for number, (label, text) in enumerate(make_texts(200))
    ]
    return write_csv(folder / "scored.csv", rows)


def spoiled(folder: Path) -> Path:
    """Copies, rows without a label, labels of two spellings and a rare one."""
    rows = [{"message": text, "intent": label} for label, text in make_texts(100)]
    rows += [{"message": rows[0]["message"], "intent": rows[0]["intent"]} for _ in range(120)]
    rows += [{"message": f"{text} again", "intent": ""} for _, text in make_texts(40)]
    rows += [{"message": f"{text} or so", "intent": "Good"} for _, text in make_texts(20)]
    rows += [{"message": "something else was asked here", "intent": "other"}]
    return write_csv(folder / "spoiled.csv", rows)


def list_events(number: int = 600) -> Iterable[tuple[int, int, datetime]]:
    generator = random.Random(0)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    for index in range(number):
        yield generator.randrange(40), generator.randrange(30), start + timedelta(minutes=7 * index)


def event_parquet(folder: Path) -> Path:
    path = folder / "events.parquet"
    pq.write_table(
        pa.table(
            {
                "user_id": [user for user, _, _ in list_events()],
                "product_id": [f"p{item}" for _, item, _ in list_events()],
                "time": pa.array([time for _, _, time in list_events()], pa.timestamp("ms", "UTC")),
            }
        ),
        path,
    )
    return path


def rated_clicks(folder: Path) -> Path:
    rows = [
        {
            "visitorid": user,
            "timestamp": int(time.timestamp() * 1000),
            "event": ("view", "buy")[item % 2],
            "itemid": item,
            "rating": 1 + item % 5,
        }
        for user, item, time in list_events()
    ]
    return write_csv(folder / "clicks.csv", rows)


def rated_texts(folder: Path) -> Path:
    """Both kinds fit: somebody took something at some time, and wrote about it."""
    pairs = make_texts(600)
    rows = [
        {"reviewer": f"r{user}", "asin": f"B{item}", "day": time.date().isoformat(), "text": text, "stars": stars}
        for (user, item, time), (_, text), stars in zip(list_events(), pairs, [1, 5] * 300, strict=True)
    ]
    return write_csv(folder / "rated.csv", rows)


def numbers(folder: Path) -> Path:
    return write_csv(folder / "numbers.csv", [{"age": 20 + n % 50, "income": 1000 + 7 * n} for n in range(200)])


EXPECTED: dict[Callable[[Path], Path], tuple[str, Row]] = {
    reviews: ("text-classification", {"text": "review", "label": {"column": "sentiment"}, "language": "en"}),
    tickets: (
        "text-classification",
        {
            "text": "body",
            "label": {"column": "queue"},
            "split": {"group": "customer_id"},
            "subject": "customer_id",
            "redact": ["email"],
        },
    ),
    headlines: (
        "text-classification",
        {"text": "headline", "label": {"column": "category"}, "split": {"time": "date"}},
    ),
    chinese_lines: ("text-classification", {"text": "text", "label": {"column": "label"}, "language": "zh"}),
    german_semicolons: ("text-classification", {"text": "Kommentar", "label": {"column": "Urteil"}, "language": "de"}),
    scored_sentences: (
        "text-classification",
        {"label": {"column": "polarity", "bins": {"negative": [None, 0.0], "positive": [0.0, None]}}},
    ),
    spoiled: ("text-classification", {"text": "message", "label": {"column": "intent"}}),
    event_parquet: (
        "recommendation",
        {"interactions": {"user": "user_id", "item": "product_id", "timestamp": "time"}},
    ),
    rated_clicks: (
        "recommendation",
        {
            "interactions": {
                "user": "visitorid",
                "item": "itemid",
                "timestamp": "timestamp",
                "event": "event",
                "weight": "rating",
            }
        },
    ),
    rated_texts: (
        "text-classification",
        {"text": "text", "label": {"column": "stars"}, "split": {"group": "reviewer"}},
    ),
}


@pytest.fixture(params=EXPECTED, ids=lambda make: make.__name__)
def shape(request: pytest.FixtureRequest) -> Callable[[Path], Path]:
    make: Callable[[Path], Path] = request.param
    return make


def run_init(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(build_app(), ["init", *map(str, words)])
    if isinstance(result.exception, SpecError):
        return result.exception.exit_code, str(result.exception)
    return result.exit_code, result.output


def test_a_table_becomes_a_spec_that_its_rows_pass(shape: Callable[[Path], Path], tmp_path: Path) -> None:
    table = shape(tmp_path)
    kind, data = EXPECTED[shape]

    code, out = run_init("--from", table, tmp_path / "shop")

    assert code == 0, out
    document = read_document(tmp_path / "shop/product.yaml")
    assert document["kind"] == kind
    assert {key: document["data"][key] for key in data} == data
    spec = load_spec(tmp_path / "shop/product.yaml")
    prepared = prepare_dataset(
        spec, Settings(home=tmp_path / "home"), base_dir=tmp_path / "shop", output_dir=tmp_path / "rows"
    )
    assert all(size > 0 for size in prepared.num_rows.values())


def test_evidence_is_shown_and_stands_beside_each_key(tmp_path: Path) -> None:
    code, out = run_init("--from", tickets(tmp_path), tmp_path / "shop")

    text = (tmp_path / "shop/product.yaml").read_text(encoding="utf-8")
    for evidence in (
        "2 labels: bad (120), good (120)",
        "40 of them, 6.0 rows each",
        "all rows of one stay in one split",
        "found in 240 texts: 240 of email",
        "MiniLM-L6, English",
    ):
        assert code == 0 and evidence in out and evidence in text
    assert "or       data.split: time by created_at, at random" in out


def test_what_looks_wrong_is_told_with_what_to_do(tmp_path: Path) -> None:
    _, out = run_init("--from", spoiled(tmp_path), tmp_path / "shop")

    assert "14% of the rows have no text or no label" in out
    assert "of the texts repeat another: one of each is kept" in out
    assert "labels 'good' and 'Good' look alike: make them one by data.label.map." in out
    assert "1 of 4 labels have fewer than 10 rows, such as 'other'" in out


def test_a_language_without_a_base_at_hand_gets_a_multilingual_one(tmp_path: Path) -> None:
    run_init("--from", chinese_lines(tmp_path), tmp_path / "shop")

    assert "multilingual" in read_document(tmp_path / "shop/product.yaml")["model"]["base"]


def test_another_kind_that_fits_is_named_with_its_command_which_works(tmp_path: Path) -> None:
    table = rated_texts(tmp_path)
    _, out = run_init("--from", table, tmp_path / "one")
    code, other = run_init("recommendation", tmp_path / "two", "--from", table)

    assert f"or       recommendation fits, too: launchyard init recommendation {tmp_path / 'one'} --from {table}" in out
    assert code == 0, other
    assert load_spec(tmp_path / "two/product.yaml").kind == "recommendation"


def test_a_table_that_no_kind_fits_is_refused_with_the_reasons_and_nothing_written(tmp_path: Path) -> None:
    code, out = run_init("--from", numbers(tmp_path), tmp_path / "shop")

    assert code == 2
    assert "text-classification: no column holds texts of several words." in out
    assert "Its columns: age (number), income (number)." in out
    assert not (tmp_path / "shop").exists()


@pytest.mark.parametrize("words", [["text-classification"], ["--from", "rows.csv"], ["a", "b", "c"]])
def test_a_command_without_what_it_needs_says_so(words: list[str], tmp_path: Path) -> None:
    code, _ = run_init(*words)

    assert code == 2


def test_what_is_there_is_kept_and_told_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "product.yaml").write_text("mine", encoding="utf-8")

    code, out = run_init("--from", tmp_path / "missing.csv", tmp_path)

    assert (code, "exists already" in out) == (2, True)
    assert (tmp_path / "product.yaml").read_text(encoding="utf-8") == "mine"


def test_answers_change_the_proposal(tmp_path: Path) -> None:
    table = sketch_table(fetch(str(tickets(tmp_path)), Settings(home=tmp_path / "home"), base_dir=tmp_path))
    asked: list[Choice] = []

    def take_the_last(choice: Choice) -> str:
        asked.append(choice)
        return choice.others[-1]

    draft = draft_product(table, None, take_the_last)

    assert [choice.key for choice in asked] == ["data.label.column", "data.split"]
    document = draft.proposal.blocks["data"]
    assert document["label"] == {"column": "channel"}
    assert "split" not in document
    assert "column: channel" in render_spec(draft, product="shop", source="tickets.tsv")


def test_at_a_terminal_each_doubt_is_asked_and_enter_takes_what_is_proposed(tmp_path: Path) -> None:
    tickets(tmp_path)
    ours, theirs = pty.openpty()
    command = [str(Path(sys.executable).with_name("launchyard")), "init", "--from", "tickets.tsv", "shop"]
    process = subprocess.Popen(command, cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True)
    os.close(theirs)
    said = ""
    for answer in ("2", ""):
        said += read_until(ours, "Number [1]: ")
        os.write(ours, f"{answer}\n".encode())
    said += read_until(ours, "launchyard run")
    process.wait(timeout=60)
    os.close(ours)

    assert process.returncode == 0
    assert "Which column holds the label?" in said and "How shall rows be divided?" in said
    data = read_document(tmp_path / "shop/product.yaml")["data"]
    assert (data["label"], data["split"]) == ({"column": "channel"}, {"group": "customer_id"})


def read_until(terminal: int, words: str) -> str:
    """Return what a terminal shows up to some words; fail when they have not come within a minute."""
    said = ""
    deadline = time.monotonic() + 60
    while words not in said and time.monotonic() < deadline:
        if select.select([terminal], [], [], 1)[0]:
            said += os.read(terminal, 4096).decode()
    assert words in said
    return said


def test_somebody_is_asked_for_the_kind_where_several_fit(tmp_path: Path) -> None:
    table = sketch_table(fetch(str(rated_texts(tmp_path)), Settings(home=tmp_path / "home"), base_dir=tmp_path))

    draft = draft_product(table, None, lambda choice: "recommendation" if choice.key == "kind" else choice.value)

    assert draft.kind.name == "recommendation"
    assert draft.other_kinds == ("text-classification",)


def test_of_a_long_table_the_first_rows_are_looked_at(tmp_path: Path) -> None:
    rows = [{"text": f"so many words in row {n}", "label": n % 2} for n in range(MAX_ROWS + 1)]
    path = write_csv(tmp_path / "long.csv", rows)

    table = sketch_table(fetch(str(path), Settings(home=tmp_path / "home"), base_dir=tmp_path))

    assert (table.rows.num_rows, table.is_whole) == (MAX_ROWS, False)


@pytest.mark.parametrize(
    ("name", "written"),
    [("a b", '"a b"'), ("true", '"true"'), ("7", '"7"'), ("x: y", '"x: y"'), ('"', '"\\""'), ("文本", '"文本"')],
)
def test_names_that_yaml_would_read_otherwise_are_quoted(name: str, written: str, tmp_path: Path) -> None:
    rows = [{name: text, "label": label} for label, text in make_texts(60)]

    run_init("--from", write_csv(tmp_path / "rows.csv", rows), tmp_path / "shop")

    assert f"  text: {written} " in (tmp_path / "shop/product.yaml").read_text(encoding="utf-8")
    assert read_document(tmp_path / "shop/product.yaml")["data"]["text"] == name


def test_a_relative_path_starts_at_the_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert place_source("rows.csv#encoding=latin-1", Path("shop")) == "../rows.csv#encoding=latin-1"
    assert place_source("shop/rows.csv", Path("shop")) == "rows.csv"
    for as_it_is in ("/data/rows.csv", "~/rows.csv", "https://example.org/rows.csv"):
        assert place_source(as_it_is, Path("shop")) == as_it_is
