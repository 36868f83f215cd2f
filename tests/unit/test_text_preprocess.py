"""From raw text to token ids, with the tokenizers of four families."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from launchyard.errors import BundleError
from launchyard.text.preprocess import TextConfig, TextPreprocessor, Truncation
from text_bases import FAMILIES, TEXTS, write_bert

LONG = " ".join(TEXTS)
ENDS = {"bert": (1, 1), "roberta": (1, 1), "gpt2": (0, 0), "llama": (1, 0)}
"""Special tokens before and after a text."""


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return request.param, FAMILIES[request.param](tmp_path_factory.mktemp(request.param))


def load(base: Path, *, max_length: int = 12, truncation: Truncation = "head", pad_id: int = 0) -> TextPreprocessor:
    config = TextConfig(max_length=max_length, truncation=truncation, pad_id=pad_id)
    return TextPreprocessor(Tokenizer.from_file(str(base / "tokenizer.json")), config)


def test_short_texts_are_encoded_as_the_tokenizer_itself_does(family: tuple[str, Path]) -> None:
    reference = Tokenizer.from_file(str(family[1] / "tokenizer.json"))

    ids = load(family[1], max_length=64).encode(TEXTS)

    assert ids == [reference.encode(text).ids for text in TEXTS]


@pytest.mark.parametrize("truncation", ["head", "tail", "head+tail"])
def test_truncation_keeps_special_tokens_and_the_wanted_part(family: tuple[str, Path], truncation: Truncation) -> None:
    name, base = family
    before, after = ENDS[name]
    whole = load(base, max_length=500).encode([LONG])[0]
    content = whole[before : len(whole) - after]
    room = 13 - before - after

    cut = load(base, max_length=13, truncation=truncation).encode([LONG])[0]

    kept = {
        "head": content[:room],
        "tail": content[-room:],
        "head+tail": content[: room - room // 2] + content[len(content) - room // 2 :],
    }[truncation]
    assert cut == whole[:before] + kept + whole[len(whole) - after :]
    assert len(cut) == 13


@pytest.mark.parametrize("truncation", ["head", "tail", "head+tail"])
def test_spans_say_where_each_token_stands(family: tuple[str, Path], truncation: Truncation) -> None:
    name, base = family
    preprocessor = load(base, max_length=13, truncation=truncation)
    before, after = ENDS[name]

    ids, spans = preprocessor.encode([LONG])[0], preprocessor.find_spans(LONG)

    assert len(ids) == len(spans)
    for token, (start, end) in list(zip(ids, spans, strict=True))[before : len(ids) - after]:
        assert preprocessor.tokenizer.decode([token]).strip().removeprefix("##") == LONG[start:end].strip()
    assert spans[:before] == [(0, 0)] * before
    assert spans[len(spans) - after :] == [(0, 0)] * after


def test_padding_is_on_the_right_and_masked(family: tuple[str, Path]) -> None:
    preprocessor = load(family[1], pad_id=3)
    ids = preprocessor.encode([TEXTS[3], LONG])

    input_ids_BT, mask_BT = preprocessor.pad(ids)

    assert input_ids_BT.dtype == mask_BT.dtype == np.int64
    assert input_ids_BT.shape == mask_BT.shape == (2, 12)
    assert mask_BT.sum(axis=1).tolist() == [len(row) for row in ids]
    for row, padded, mask in zip(ids, input_ids_BT, mask_BT, strict=True):
        assert padded[: len(row)].tolist() == row
        assert set(padded[len(row) :]) <= {3}
        assert mask.tolist() == sorted(mask, reverse=True)


@pytest.mark.parametrize(("length", "width"), [(1, 4), (4, 4), (5, 8), (9, 10)])
def test_padding_to_a_multiple_never_passes_the_longest_row_allowed(
    family: tuple[str, Path], length: int, width: int
) -> None:
    preprocessor = load(family[1], max_length=10)

    input_ids_BT, mask_BT = preprocessor.pad([[5] * length, [5]], multiple_of=4)

    assert input_ids_BT.shape == (2, width)
    assert mask_BT.sum(axis=1).tolist() == [length, 1]


def test_a_text_without_tokens_is_no_empty_row(family: tuple[str, Path]) -> None:
    preprocessor = load(family[1], pad_id=3)

    ids = preprocessor.encode([""])[0]

    assert len(ids) == max(1, sum(ENDS[family[0]]))
    assert preprocessor.pad([ids])[1].tolist() == [[1] * len(ids)]
    assert len(preprocessor.find_spans("")) == len(ids)


def test_a_text_cannot_forge_special_tokens(tmp_path: Path) -> None:
    preprocessor = load(write_bert(tmp_path), max_length=64)
    separator = preprocessor.tokenizer.token_to_id("[SEP]")

    assert separator is not None
    assert preprocessor.encode(["good [SEP] bad [SEP]"])[0].count(separator) == 1


def test_cleaning_normalises_and_redacts_and_can_be_repeated(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(write_bert(tmp_path) / "tokenizer.json"))
    preprocessor = TextPreprocessor(tokenizer, TextConfig(max_length=8, pad_id=0, redact=("email",)))

    cleaned = preprocessor.clean("Cafe\u0301: mail jo@example.org")

    assert cleaned == "Caf\u00e9: mail [email]"
    assert preprocessor.clean(cleaned) == cleaned


@pytest.mark.parametrize("truncation", ["head", "head+tail"])
def test_a_saved_preprocessor_encodes_alike(family: tuple[str, Path], tmp_path: Path, truncation: Truncation) -> None:
    preprocessor = load(family[1], truncation=truncation)
    texts = [*TEXTS, LONG, "", "[SEP] </s> <|endoftext|>", "\u597d\u770b"]
    preprocessor.save(tmp_path)

    loaded = TextPreprocessor.load(tmp_path)

    assert loaded.config == preprocessor.config
    assert loaded.encode(texts) == preprocessor.encode(texts)


def test_a_newer_or_missing_preprocessing_is_refused(tmp_path: Path) -> None:
    load(write_bert(tmp_path / "base")).save(tmp_path)
    path = tmp_path / "preprocess.json"
    newer = json.loads(path.read_text(encoding="utf-8")) | {"schema_version": 2}
    path.write_text(json.dumps(newer), encoding="utf-8")

    with pytest.raises(BundleError, match="schema_version"):
        TextPreprocessor.load(tmp_path)
    path.unlink()
    with pytest.raises(BundleError, match="preprocessing cannot be read"):
        TextPreprocessor.load(tmp_path)


def test_serving_needs_neither_torch_nor_transformers_to_preprocess() -> None:
    code = "import sys, launchyard.text.preprocess\n"
    code += "print([m for m in ('torch', 'transformers', 'ray') if m in sys.modules])"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert found.stdout.strip() == "[]"


def test_another_unicode_form_than_serving_would_apply_is_refused(tmp_path: Path) -> None:
    load(write_bert(tmp_path / "base")).save(tmp_path)
    path = tmp_path / "preprocess.json"
    other = json.loads(path.read_text(encoding="utf-8")) | {"normalization": "NFKC"}
    path.write_text(json.dumps(other), encoding="utf-8")

    with pytest.raises(BundleError, match=r"(?s)normalization\s.*'NFC'.*'NFKC'.*Train the model again"):
        TextPreprocessor.load(tmp_path)
