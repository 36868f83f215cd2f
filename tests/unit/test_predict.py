"""A trained text classifier as serving loads it: what it accepts, answers, explains and describes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE

from launchyard.contract.predictor import Device
from launchyard.contract.rows import Row
from launchyard.errors import BundleError, RequestError
from launchyard.kinds.text_classification.explain import merge_words
from launchyard.kinds.text_classification.predict import (
    MAX_TOKENS,
    PredictorConfig,
    TextPredictor,
    find_unknown_id,
    iter_groups,
)
from launchyard.kinds.text_classification.schemas import TextOutput
from launchyard.text.preprocess import TextConfig, TextPreprocessor
from tiny_candidate import BAD, GOOD

TEXTS = (
    "the film was brilliant and a story",
    "dull",
    "a tedious story with a weak cast , boring plot and awful acting !",
)


@pytest.fixture(scope="module")
def predictor(tiny_bundle: Path) -> TextPredictor:
    return TextPredictor.load(tiny_bundle, Device(1))


@pytest.fixture(scope="module")
def rows(predictor: TextPredictor) -> list[Row]:
    return [predictor.parse(text) for text in TEXTS]


def test_a_plain_text_and_an_object_are_the_same_input(predictor: TextPredictor) -> None:
    assert predictor.parse("a warm film") == predictor.parse({"text": "a warm film"}) == {"text": "a warm film"}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("", "text: String should have at least 1 character"),
        (" \n\t", "text: is empty"),
        ({"text": ""}, "text: String should have at least 1 character"),
        ({}, "text: Field required"),
        ({"text": 3}, "text: Input should be a valid string"),
        ({"text": None}, "text: Input should be a valid string"),
        ({"text": "good", "labels": 1}, "labels: Extra inputs are not permitted"),
        (3, "input: "),
        (["good"], "input: "),
        (None, "input: "),
        ("x" * 2001, "text: has 2001 characters, at most 2000 are accepted"),
        ("x" * 1_000_000, "text: has 1000000 characters, at most 2000 are accepted"),
    ],
)
def test_an_input_that_is_no_text_is_refused_in_words(predictor: TextPredictor, raw: object, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        predictor.parse(raw)

    assert str(caught.value).startswith(message)
    assert "errors.pydantic.dev" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_the_answer_is_right_and_fits_its_schema(predictor: TextPredictor, rows: list[Row]) -> None:
    outputs = predictor.predict(rows)

    assert [output["label"] for output in outputs] == ["positive", "negative", "negative"]
    for output in outputs:
        assert TextOutput.model_validate(output).confidence == max(output["scores"].values())
        assert sum(output["scores"].values()) == pytest.approx(1)
        json.dumps(output)


def test_no_rows_have_no_answers(predictor: TextPredictor) -> None:
    assert predictor.predict([]) == []


def test_answers_come_in_the_order_of_the_rows(predictor: TextPredictor) -> None:
    rows = [predictor.parse(text) for text in TEXTS * 20]

    outputs = predictor.predict(rows)

    assert [output["label"] for output in outputs] == ["positive", "negative", "negative"] * 20


def test_groups_hold_every_row_once_and_are_bounded_in_tokens_and_padding() -> None:
    lengths = np.random.default_rng(0).integers(1, 512, 400).tolist()

    groups = list(iter_groups(lengths))

    assert sorted(index for group in groups for index in group) == list(range(400))
    for group in groups:
        longest, shortest = max(lengths[index] for index in group), min(lengths[index] for index in group)
        assert len(group) * longest <= MAX_TOKENS
        assert shortest >= 0.75 * longest or longest - shortest <= 8


def test_a_row_longer_than_the_token_budget_goes_alone() -> None:
    assert list(iter_groups([MAX_TOKENS + 1, MAX_TOKENS + 1])) == [[0], [1]]


def test_describe_tells_nothing_of_the_words(predictor: TextPredictor) -> None:
    described = predictor.describe(predictor.parse("Call JOHN at 555-0199 now"))

    assert described["num_words"] == 5
    assert described["digit_share"] == pytest.approx(7 / 25)
    assert described["uppercase_share"] == pytest.approx(5 / 25)
    assert described["script"] == "latin"
    assert "JOHN" not in str(described)
    assert all(isinstance(value, float | str) for value in described.values())


def test_a_text_in_another_script_is_seen_and_not_answered_surely(predictor: TextPredictor) -> None:
    row = predictor.parse("这部电影非常好看")

    described = predictor.describe(row)

    assert described["script"] == "cjk"
    assert float(described["unknown_share"]) > 0.5
    assert predictor.predict([row])[0]["abstained"]


NOTHING_TO_READ = ("\u200b", "\0", "\u200b\ufeff\u2060 \x07", "\ufe0f", "\u0301", "\u202a\u202c")


@pytest.mark.parametrize("text", NOTHING_TO_READ)
def test_a_text_with_nothing_to_read_is_abstained_from_whatever_the_threshold(
    predictor: TextPredictor, tiny_bundle: Path, tmp_path: Path, text: str
) -> None:
    shutil.copytree(tiny_bundle, tmp_path / "bundle")
    predictor.config.model_copy(update={"min_confidence": None}).save(tmp_path / "bundle")
    never = TextPredictor.load(tmp_path / "bundle", Device(1))

    for loaded in (predictor, never):
        alone = loaded.predict([loaded.parse(text)])[0]
        among = loaded.predict([loaded.parse(TEXTS[0]), loaded.parse(text)])

        assert alone["abstained"]
        assert among[1]["abstained"]
    assert not never.predict([never.parse("\u200bgood\u200b")])[0]["abstained"]


def test_a_text_without_any_token_is_told_from_one_with(predictor: TextPredictor) -> None:
    bare = TextPreprocessor(Tokenizer(BPE(vocab={"a": 1}, merges=[])), TextConfig(max_length=8, pad_id=0))

    for preprocessor in (predictor.preprocessor, bare):
        nothing, something = preprocessor.encode(["\u200b", "a"])
        assert not preprocessor.has_content(nothing)
        assert preprocessor.has_content(something)


def test_a_sure_answer_to_a_text_like_those_trained_on_is_not_abstained_from(
    predictor: TextPredictor, tiny_dataset: Path
) -> None:
    texts = pq.read_table(tiny_dataset / "test.parquet")["text"].to_pylist()

    outputs = predictor.predict([predictor.parse(text) for text in texts])

    assert np.mean([output["abstained"] for output in outputs]) < 0.2


def test_a_tokenizer_with_an_entry_for_every_byte_has_no_unknown_token() -> None:
    alphabet = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(BPE(alphabet, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()

    assert find_unknown_id(TextPreprocessor(tokenizer, TextConfig(max_length=8, pad_id=0))) is None


def test_explain_finds_the_words_that_decide(predictor: TextPredictor, tiny_dataset: Path) -> None:
    texts = pq.read_table(tiny_dataset / "test.parquet")["text"].to_pylist()[:20]

    outputs = predictor.explain([predictor.parse(text) for text in texts])

    per_text = [output["explanation"]["words"] for output in outputs]
    strongest = [max(words, key=lambda word: word["attribution"])["word"] for words in per_text]
    # One word in ten decides: words picked blindly would be right twice in twenty.
    assert sum(word in GOOD + BAD for word in strongest) >= 10


def test_an_explanation_fits_the_schema_and_points_into_the_text(predictor: TextPredictor, rows: list[Row]) -> None:
    for text, output in zip(TEXTS, predictor.explain(rows), strict=True):
        explanation = TextOutput.model_validate(output).explanation
        assert explanation is not None
        assert explanation.target == output["label"]
        assert explanation.words
        assert all(text[word.start : word.end] == word.word for word in explanation.words)


def test_attributions_add_up_to_what_the_text_changes(predictor: TextPredictor, rows: list[Row]) -> None:
    explanations = [output["explanation"] for output in predictor.explain(rows)]

    for explanation in explanations:
        total = sum(word["attribution"] for word in explanation["words"])
        assert abs(explanation["delta"]) < 0.1 * abs(total)


def test_tokens_are_merged_into_words_and_lose_nothing() -> None:
    text = "don't watch 电影!"
    spans = [(0, 0), (0, 3), (3, 4), (4, 5), (6, 11), (12, 14), (14, 15), (0, 0)]

    words = merge_words(text, spans, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0])

    assert [text[start:end] for (start, end), _ in words] == ["don't", "watch", "电", "影", "!"]
    assert [value for _, value in words] == [6.0, 4.0, 2.5, 2.5, 6.0]


def test_a_token_that_holds_the_space_before_its_word_belongs_to_the_word() -> None:
    words = merge_words("a film", [(0, 1), (1, 6)], [1.0, 2.0])

    assert words == [((0, 1), 1.0), ((2, 6), 2.0)]


def test_a_token_over_thousands_of_characters_is_one_word() -> None:
    assert merge_words("." * 5000 + " film", [(0, 5000), (5001, 5005)], [1.0, 2.0]) == [
        ((0, 5000), 1.0),
        ((5001, 5005), 2.0),
    ]


@pytest.mark.parametrize("name", ["model/predictor.json", "model/model.onnx", "preprocess.json"])
def test_a_missing_file_is_named(tiny_bundle: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(tiny_bundle, tmp_path / "bundle")
    (tmp_path / "bundle" / name).unlink()

    with pytest.raises(BundleError, match=name.rsplit("/", maxsplit=1)[-1].replace(".", r"\.")):
        TextPredictor.load(tmp_path / "bundle", Device(1))


def test_a_damaged_graph_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_bundle, tmp_path / "bundle")
    (tmp_path / "bundle/model/model.onnx").write_bytes(b"not a graph")

    with pytest.raises(BundleError, match="ONNX Runtime cannot load it"):
        TextPredictor.load(tmp_path / "bundle", Device(1))


def test_a_newer_configuration_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_bundle, tmp_path / "bundle")
    newer = PredictorConfig.load(tiny_bundle).model_dump(mode="json") | {"schema_version": 2}
    (tmp_path / "bundle/model/predictor.json").write_text(json.dumps(newer), encoding="utf-8")

    with pytest.raises(BundleError, match="schema_version"):
        TextPredictor.load(tmp_path / "bundle", Device(1))


def test_an_onnx_replica_loads_neither_torch_nor_transformers(tiny_bundle: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from launchyard.contract.predictor import Device; "
        "from launchyard.kinds import get_kind; "
        "predictor = get_kind('text-classification').load_predictor(Path(sys.argv[1]), Device(1)); "
        "print(predictor.predict([predictor.parse('a dull film')])[0]['label']); "
        "sys.exit(bool({'torch', 'transformers', 'sklearn', 'captum'} & sys.modules.keys()))"
    )

    start_s = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", script, str(tiny_bundle)], check=False, capture_output=True, text=True, timeout=60
    )

    assert (done.returncode, done.stdout.strip()) == (0, "negative"), done.stderr
    assert time.perf_counter() - start_s < 30
