"""The report's two languages stay complete and in step with the templates."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import launchyard.report
from launchyard.evaluation.figures import Caption
from launchyard.kind import Kind
from launchyard.kinds import get_kind, iter_kinds
from launchyard.report.terms import Terms
from launchyard.report.texts import as_data, load_texts, mark_up, name_in, phrase

CHINESE = re.compile(r"[\u4e00-\u9fff]")
PLACEHOLDER = re.compile(r"\{\w+\}")
FOLDER = Path(launchyard.report.__file__).parent
NAMES = {"quantity", "split", "series", "check", "rule", "dropped", "redaction", "status"}
"""Groups whose keys are terms of the records, looked up by what a record holds."""


def all_phrases() -> list[tuple[str, Caption]]:
    return [(f"{group}.{key}", text) for group, texts in load_texts().items() for key, text in texts.items()]


def test_every_phrase_is_there_in_both_languages() -> None:
    for path, text in all_phrases():
        assert text.en.strip(), path
        assert not CHINESE.search(text.en), path
        assert CHINESE.search(text.zh) or text.en == text.zh == "F1", path


def test_both_languages_have_the_same_placeholders() -> None:
    for path, text in all_phrases():
        assert set(PLACEHOLDER.findall(text.en)) == set(PLACEHOLDER.findall(text.zh)), path


def test_no_phrase_is_unused() -> None:
    sources = [path.read_text(encoding="utf-8") for path in FOLDER.rglob("*") if path.suffix in {".py", ".html"}]
    source = "\n".join(sources)
    built = {"section.", "lead.", "origin.", "rivals.", "gates.", "data.purpose_"}

    for path, _ in all_phrases():
        group = path.partition(".")[0]
        assert group in NAMES or f'"{path}"' in source or any(path.startswith(prefix) for prefix in built), path


@pytest.mark.parametrize("kind", iter_kinds(), ids=lambda kind: kind.name)
def test_every_text_of_every_kind_is_there_in_both_languages(kind: Kind) -> None:
    named = {name: [one.name, one.help] for name, one in kind.metrics.items()}
    own = {f"{group}.{key}": [text] for group, texts in Terms(kind).texts.items() for key, text in texts.items()}

    for path, captions in (named | own).items():
        for text in captions:
            assert text.en.strip(), path
            assert not CHINESE.search(text.en), path
            assert CHINESE.search(text.zh), path
            assert set(PLACEHOLDER.findall(text.en)) == set(PLACEHOLDER.findall(text.zh)), path


def test_a_kind_names_its_metrics_their_units_and_its_own_terms() -> None:
    terms = Terms(get_kind("recommendation"))

    assert terms.name_metric("novelty@10") == Caption(en="Novelty of the first 10 (bits)", zh="前 10 项新颖度（比特）")
    assert terms.name_metric("latency_p50_ms").en == "Latency, median (ms)"
    assert terms.name("check", "unknown_items").en == "Share of items outside the catalogue"
    assert terms.name("check", "rows").en == "Rows"
    assert terms.name("check", "moons") == as_data("moons")


def test_what_is_better_when_it_is_less_is_listed() -> None:
    texts, films = Terms(get_kind("text-classification")), Terms(get_kind("recommendation"))

    mixed = texts.explain_directions(["accuracy", "log_loss", "latency_p50_ms"])

    assert mixed.en == "Higher is better, except for log loss and latency, median."
    assert mixed.zh == "除对数损失、延迟中位数外，数值越高越好。"
    assert films.explain_directions(["ndcg@10"]).en == "Higher is better."
    assert films.explain_directions(["popularity_bias@10"]).en == "Lower is better."


def test_phrase_fills_in_each_language_its_own_words() -> None:
    filled = phrase("rivals.help", metric=Caption(en="Accuracy", zh="准确率"))

    assert filled == Caption(
        en="Accuracy on the same test rows, with intervals.", zh="同样测试数据上的准确率，附置信区间。"
    )


def test_missing_phrase_and_missing_value_are_errors() -> None:
    with pytest.raises(KeyError):
        phrase("verdict.no_such_phrase")
    with pytest.raises(KeyError):
        phrase("rivals.help")


def test_names_with_numbers_are_translated_by_pattern() -> None:
    assert Terms(get_kind("text-classification")).name("series", "54 to 1,200 characters").zh == "54 至 1,200 个字符"
    assert name_in("rule", "at most 0.5").zh == "至多 0.5"
    assert name_in("rule", "at most many") == as_data("at most many")


def test_mark_up_escapes_and_names_the_language() -> None:
    html = str(mark_up(Caption(en="a < b", zh="甲 < 乙")))

    assert html == '<span class="en" lang="en">a &lt; b</span><span class="zh" lang="zh-Hans">甲 &lt; 乙</span>'
    assert str(mark_up("<b>")) == '<span translate="no">&lt;b&gt;</span>'
