"""The report's two languages stay complete and in step with the templates."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import launchyard.report
from launchyard.evaluation.figures import Caption
from launchyard.kind import Kind
from launchyard.kinds import iter_kinds
from launchyard.report.texts import as_data, load_texts, mark_up, name_in, phrase

CHINESE = re.compile(r"[\u4e00-\u9fff]")
PLACEHOLDER = re.compile(r"\{\w+\}")
FOLDER = Path(launchyard.report.__file__).parent
NAMES = {"metric", "split", "series", "slice", "check", "rule", "dropped", "redaction", "status"}
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
def test_every_metric_of_every_kind_has_a_name(kind: Kind) -> None:
    names = {name.partition("[")[0] for name in kind.metrics}

    assert [name for name in names if name_in("metric", name) == as_data(name)] == []


def test_phrase_fills_in_each_language_its_own_words() -> None:
    filled = phrase("rivals.help", metric=name_in("metric", "accuracy"))

    assert filled == Caption(
        en="Accuracy on the same test rows, with intervals.", zh="同样测试数据上的准确率，附置信区间。"
    )


def test_missing_phrase_and_missing_value_are_errors() -> None:
    with pytest.raises(KeyError):
        phrase("verdict.no_such_phrase")
    with pytest.raises(KeyError):
        phrase("rivals.help")


def test_names_with_numbers_are_translated_by_pattern() -> None:
    assert name_in("series", "54 to 1,200 characters").zh == "54 至 1,200 个字符"
    assert name_in("rule", "at most 0.5").zh == "至多 0.5"
    assert name_in("rule", "at most many") == as_data("at most many")


def test_mark_up_escapes_and_names_the_language() -> None:
    html = str(mark_up(Caption(en="a < b", zh="甲 < 乙")))

    assert html == '<span class="en" lang="en">a &lt; b</span><span class="zh" lang="zh-Hans">甲 &lt; 乙</span>'
    assert str(mark_up("<b>")) == '<span translate="no">&lt;b&gt;</span>'
