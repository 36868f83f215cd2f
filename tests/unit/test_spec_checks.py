"""What only a whole spec can answer: metrics, searched keys, keys without effect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from acme_rows import installed
from launchyard.errors import SpecError
from launchyard.kinds import get_kind
from launchyard.spec.blocks import find_tune
from launchyard.spec.load import load_spec
from spec_samples import write_spec


def problems_of(folder: Path, **changes: Any) -> list[str]:
    path = write_spec(folder, **changes)
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    return [line.removeprefix(f"{path}: ") for line in str(caught.value).splitlines()]


@pytest.mark.parametrize("metric", ["accuracy", "log_loss", "f1[so so]", "recall[negative]", "latency_p99_ms"])
def test_gates_may_name_every_metric_that_is_reported(tmp_path: Path, metric: str) -> None:
    spec = load_spec(write_spec(tmp_path, evaluate={"gates": {metric: "> 0.1"}}))

    assert metric in spec.evaluate.gates


@pytest.mark.parametrize(
    ("evaluate", "problem"),
    [
        ({"gates": {"acuracy": "> 0"}}, "evaluate.gates.acuracy: 'acuracy' is not a metric of text-classification. "
                                        "Did you mean 'accuracy'?"),
        ({"gates": {"f1": "> 0"}}, "evaluate.gates.f1: 'f1' is not a metric of text-classification."),
        ({"gates": {"f1[]": "> 0"}}, "evaluate.gates.f1[]: 'f1[]' is not a metric of text-classification."),
        ({"beat_baseline": {"metric": "f1_makro"}}, "evaluate.beat_baseline.metric: 'f1_makro' is not a metric"),
        ({"beat_champion": {"metric": "latency_p50_ms"}}, "evaluate.beat_champion.metric: 'latency_p50_ms' is not a"),
    ],
)  # fmt: skip
def test_a_metric_that_nobody_reports_is_refused(tmp_path: Path, evaluate: dict[str, Any], problem: str) -> None:
    (found,) = problems_of(tmp_path, evaluate=evaluate)

    assert found.startswith(problem)
    assert "Known metrics: accuracy, " in found


def search(name: str, candidates: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"trials": 2, "parameters": {name: candidates}, **more}


@pytest.mark.parametrize(
    ("name", "candidates"),
    [
        ("train.learning_rate", {"min": 1e-6, "max": 10, "log": True}),
        ("train.epochs", {"min": 1, "max": 9, "step": 2}),
        ("train.warmup", {"values": [0, 0.1, 100]}),
        ("train.optimizer", {"values": ["adamw", "sgd"]}),
        ("train.length_grouped", {"values": [True, False]}),
        ("train.max_steps", {"values": [None, 50]}),
        ("train.early_stopping.patience", {"values": [1, 2]}),
        ("train.class_weights", {"values": [None, "balanced"]}),
        ("model.dropout", {"min": 0, "max": 0.5}),
        ("model.base", {"values": ["minilm", "smollm"]}),
    ],
)
def test_every_single_value_of_model_and_train_can_be_searched(
    tmp_path: Path, name: str, candidates: dict[str, Any]
) -> None:
    spec = load_spec(write_spec(tmp_path, tune=search(name, candidates)))

    assert find_tune(spec) is not None


@pytest.mark.parametrize(
    ("name", "candidates", "problem"),
    [
        ("train.lerning_rate", {"values": [1, 2]}, "'train.lerning_rate' is not a key of the spec. "
                                                   "Did you mean 'train.learning_rate'?"),
        ("train.early_stopping", {"values": [1, 2]}, "'train.early_stopping' is not a single value, so it cannot be "
                                                     "searched. Name one of the keys inside it."),
        ("train.scheduler", {"min": 1, "max": 2}, "'train.scheduler' is not a number, so it has no range. "
                                                  "List candidates: {values: [...]}."),
        ("train.epochs", {"min": 1, "max": 2.5}, "'train.epochs' takes whole numbers, got 2.5."),
        ("train.epochs", {"min": 1, "max": 5, "step": 0.5}, "'train.epochs' takes whole numbers, got 0.5."),
        ("train.learning_rate", {"min": 0.1, "max": 20}, "a candidate must be at most 10, got 20.0."),
        ("train.epochs", {"values": [0, 2]}, "a candidate must be at least 1, got 0."),
        ("train.epochs", {"values": ["2", 3]}, "a candidate must be a whole number, got '2'. Remove the quotes."),
        ("train.optimizer", {"values": ["adam", "adamm"]}, "a candidate must be 'adamw', 'adam', 'rmsprop' or 'sgd', "
                                                           "got 'adamm'. Did you mean 'adam'?"),
    ],
)  # fmt: skip
def test_a_search_that_some_trial_would_fail_in_is_refused(
    tmp_path: Path, name: str, candidates: dict[str, Any], problem: str
) -> None:
    assert problems_of(tmp_path, tune=search(name, candidates)) == [f"tune.parameters.{name}: {problem}"]


@pytest.mark.parametrize(
    ("candidates", "problem"),
    [
        ({"values": [2, 2]}, "all values are alike, so every trial would be the same. Give two or more."),
        ({"min": 1, "max": 3, "step": 5}, "step 5 is more than max - min, so there is one candidate. Lower it."),
    ],
)
def test_a_search_of_one_candidate_is_refused(tmp_path: Path, candidates: dict[str, Any], problem: str) -> None:
    (found,) = problems_of(tmp_path, tune=search("train.epochs", candidates))

    assert found.endswith(problem)


def test_a_searched_key_that_nothing_reads_is_refused(tmp_path: Path) -> None:
    document = {
        "api": "launchyard/v1",
        "product": "films",
        "kind": "recommendation",
        "data": {"source": "events.csv"},
        "model": {"architecture": "ease"},
        "tune": search("train.learning_rate", {"min": 1e-4, "max": 1e-2}, metric="diversity@10"),
    }
    (tmp_path / "product.yaml").write_text(json.dumps(document))

    with pytest.raises(SpecError) as caught:
        load_spec(tmp_path)

    assert (
        "tune.parameters.train.learning_rate: has no effect: model.architecture ease has a closed form. Remove it."
        in str(caught.value)
    )
    assert "tune.metric: 'diversity@10' is measured after training only. Take one of: ndcg@10, " in str(caught.value)


GIVEN = {"train": "a.csv", "validation": "b.csv", "test": "c.csv"}
EASE = {"kind": "recommendation", "data": {"source": "e.csv"}, "model": {"architecture": "ease"}}


@pytest.mark.parametrize(
    ("blocks", "problem"),
    [
        ({"data": {"source": "a.csv", "split": {"time": "at", "seed": 3}}}, "data.split.seed: has no effect"),
        ({"data": {"source": GIVEN, "split": {"seed": 3}}}, "data.split.seed: has no effect: every split has a source"),
        ({"data": {"source": GIVEN, "split": {"stratify": False}}}, "data.split.stratify: has no effect: every split"),
        ({"evaluate": {"slices": ["shop", "shop"]}}, "evaluate.slices: has no effect: 'shop' is named twice"),
        (EASE | {"serve": {"search": "approximate"}}, "serve.search: has no effect"),
        (EASE | {"resources": {"train": {"workers": 2}}}, "resources.train.workers: has no effect"),
        (EASE | {"tune": search("model.l2", {"values": [100, 500]}, grace_epochs=2)},
         "tune.grace_epochs: has no effect: the model is fitted at once, so no trial is stopped early"),
        (EASE | {"tune": search("model.l2", {"values": [100, 500]}, reduction_factor=2)},
         "tune.reduction_factor: has no effect: the model is fitted at once"),
        (EASE | {"train": {"epochs": 3}}, "train.epochs: has no effect: model.architecture ease has a closed form"),
        ({"train": {"sharding": "full"}}, "train.sharding: has no effect: resources.train.workers is 1"),
        ({"data": {"source": {"classes": {"a": "a.txt", "b": "b.txt"}}}, "evaluate": {"slices": ["shop"]}},
         "evaluate.slices: 'shop' is a column, and the files of source.classes have none"),
        ({"train": {"learning_rate": 0.5}}, "train.learning_rate: 0.5 would destroy the base model"),
        ({"train": {"class_weights": {"a": 0.0}}}, "train.class_weights.a: must be greater than 0"),
        (EASE | {"serve": {"k": 5, "max_k": 5}}, "serve.max_k: must be at least 20"),
        (EASE | {"evaluate": {"gates": {"diversity@10": "> 0"}}}, "evaluate.gates.diversity@10: "),
        (EASE | {"model": {"architecture": "content"}}, "model.architecture: content reads what items are about"),
    ],
)  # fmt: skip
def test_what_a_run_would_ignore_or_fail_on_is_refused(tmp_path: Path, blocks: dict[str, Any], problem: str) -> None:
    (found,) = problems_of(tmp_path, **blocks)

    assert found.startswith(problem)


@pytest.mark.parametrize(
    "blocks",
    [
        {"data": {"source": "a.csv", "split": {"group": "shop", "seed": 3}}},
        {"data": {"source": {"train": "a.csv", "test": "b.csv"}, "split": {"seed": 3}}},
        {"data": {"source": GIVEN, "split": {"train": 100, "validation": 10, "test": 10, "seed": 3}}},
        {"data": {"source": GIVEN, "split": {"group": "shop"}}},
        EASE | {"model": {"architecture": "lightgcn"}, "serve": {"search": "approximate"}},
    ],
)
def test_what_is_read_is_not_refused(tmp_path: Path, blocks: dict[str, Any]) -> None:
    assert load_spec(write_spec(tmp_path, **blocks))


def test_a_key_inside_a_block_can_be_searched_when_the_block_is_there(tmp_path: Path) -> None:
    tune = search("model.lora.rank", {"values": [4, 8]})

    assert load_spec(write_spec(tmp_path, model={"base": "minilm", "lora": {}}, tune=tune))
    assert problems_of(tmp_path, tune=tune) == [
        "tune.parameters.model.lora.rank: 'model.lora' is null, so it has no 'rank' to search. Write 'model.lora: {}'."
    ]


@pytest.mark.parametrize(
    "data",
    [
        {"source": "a", "label": {"bins": {"bad": [None, 0], "good": [0, None]}}},
        {"source": "a", "label": {"map": {"1": "good", "2": "good", "0": "bad"}}},
        {"source": {"classes": {"good": "good.txt", "bad": "bad.txt"}}},
    ],
)
def test_labels_that_the_spec_defines_are_the_only_ones_it_may_name(tmp_path: Path, data: dict[str, Any]) -> None:
    train = {"class_weights": {"good": 1.0, "bda": 2.0}}
    evaluate = {"gates": {"f1[good]": "> 0.5", "recall[badd]": "> 0.5"}}

    (found,) = problems_of(tmp_path, data=data, train=train, evaluate=evaluate)

    problem, _, labels = found.partition(". Labels: ")
    assert problem == (
        "train.class_weights.bda: no label is called 'bda'; evaluate.gates.recall[badd]: no label is called 'badd'"
    )
    assert sorted(labels.removesuffix(".").split(", ")) == ["bad", "good"]


def test_labels_that_only_the_rows_define_are_not_checked_yet(tmp_path: Path) -> None:
    assert load_spec(write_spec(tmp_path, train={"class_weights": {"anything": 2.0}}))


def test_columns_of_files_that_have_none_are_refused(tmp_path: Path) -> None:
    data = {"source": {"classes": {"good": "good.txt", "bad": "bad.txt"}}, "text": "review"}

    assert problems_of(tmp_path, data=data) == [
        "data: text and label name columns, and the files of source.classes have none. Remove them."
    ]


def test_only_model_and_train_can_be_searched(tmp_path: Path) -> None:
    tune = search("data.split.seed", {"values": [1, 2]})

    assert problems_of(tmp_path, tune=tune) == [
        "tune: 'data.split.seed' cannot be tuned. Keys start with 'model.' or 'train.'."
    ]


def test_a_search_goes_the_way_that_is_better(tmp_path: Path) -> None:
    candidates = {"values": [1, 2]}

    assert load_spec(write_spec(tmp_path, tune=search("train.epochs", candidates, metric="log_loss", mode="min")))
    assert load_spec(write_spec(tmp_path, tune=search("train.epochs", candidates, metric="log_loss")))
    assert problems_of(tmp_path, tune=search("train.epochs", candidates, metric="log_loss", mode="max")) == [
        "tune.mode: less log_loss is better, got max. Write mode: min."
    ]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"train": {"momentum": 0.5}}, "train.momentum: has no effect: the optimizer adamw has none. Remove it."),
        (
            {"serve": {"runtime": "onnx", "runtime_tolerance": 0.01}},
            "serve.runtime_tolerance: has no effect: the runtime is set to onnx. Remove it.",
        ),
        ({"resources": {"tune": {"cpus": 1}}}, "resources.tune: has no effect: there is no 'tune' block. Remove it."),
        (
            {"resources": {"train": {"gpu_type": "amd.com/gpu"}}},
            "resources.train.gpu_type: has no effect: gpus is 0. Remove it.",
        ),
        (
            {"data": {"source": "a", "split": {"group": "author", "stratify": False}}},
            "data.split.stratify: has no effect: data.split.group divides the rows. Remove it.",
        ),
        (
            {"data": {"source": "a", "split": {"time": "date", "stratify": False}}},
            "data.split.stratify: has no effect: data.split.time divides the rows. Remove it.",
        ),
        (
            {"evaluate": {"abstain": {"coverage": 0.8, "accuracy": 0.9}}},
            "evaluate.abstain.coverage: has no effect: evaluate.abstain.accuracy takes its place. Remove it.",
        ),
        (
            {"tune": search("train.momentum", {"min": 0.1, "max": 0.9})},
            "tune.parameters.train.momentum: has no effect: the optimizer adamw has none. Remove it.",
        ),
        (
            {"train": {"momentum": 0.5}, "tune": search("train.optimizer", {"values": ["adam", "adamw"]})},
            "train.momentum: has no effect: the optimizer adam or adamw has none. Remove it.",
        ),
        (
            {"data": {"source": {"train": "a", "test": "b"}, "split": {"train": 0.7, "validation": 0.1}}},
            "data.split.train: has no effect: all rows that are not split off are for training. Remove it.",
        ),
        (
            {"data": {"source": {"train": "a", "test": "b"}, "split": {"test": 0.05}}},
            "data.split.test: has no effect: data.source.test gives these rows. Remove it.",
        ),
    ],
)
def test_a_key_without_effect_is_refused(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    assert problems_of(tmp_path, **changes) == [problem]


@pytest.mark.parametrize(
    "changes",
    [
        {"train": {"momentum": 0.5, "optimizer": "sgd"}},
        {"train": {"momentum": 0.9}},
        {"train": {"momentum": 0.5}, "tune": search("train.optimizer", {"values": ["adamw", "sgd"]})},
        {"serve": {"runtime_tolerance": 0.01}},
        {"resources": {"train": {"gpus": 1, "gpu_type": "amd.com/gpu"}}},
        {"data": {"source": "a", "split": {"stratify": False}}},
        {"evaluate": {"abstain": {"coverage": 0.8}}},
        {"train": {"optimizer": "sgd"}, "tune": search("train.momentum", {"min": 0.1, "max": 0.9})},
        {"data": {"source": {"train": "a", "test": "b"}, "split": {"train": 900, "validation": 50, "test": 50}}},
    ],
)
def test_a_key_with_effect_is_accepted(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert load_spec(write_spec(tmp_path, **changes))


@pytest.mark.parametrize(
    ("step", "key", "value"),
    [
        *[("prepare", key, value) for key, value in (("workers", 2), ("gpus", 1), ("gpu_type", "nvidia.com/gpu"))],
        ("evaluate", "workers", 2),
        ("tune", "workers", 2),
        *[("serve", key, value) for key, value in (("workers", 2), ("gpu_type", "nvidia.com/gpu"), ("memory", "4Gi"))],
    ],
)
def test_a_step_has_only_the_resources_that_it_reads(tmp_path: Path, step: str, key: str, value: int | str) -> None:
    tune = search("train.epochs", {"values": [1, 2]})

    (found,) = problems_of(tmp_path, resources={step: {key: value}}, tune=tune)

    assert found.startswith(f"resources.{step}.{key}: is not a key of the spec.")


@pytest.mark.parametrize(
    ("resources", "place", "words"),
    [
        ({"serve": {"gpus": 1.5}}, "resources.serve.gpus", "must be a whole number, or below 1"),
        ({"serve": {"gpus": 0.5}}, "resources.evaluate.gpus", "must be at least resources.serve.gpus, 0.5, got 0"),
        ({"evaluate": {"gpu_type": "amd.com/gpu"}}, "resources.evaluate.gpu_type", "has no effect: gpus is 0"),
    ],
)
def test_gpus_of_the_endpoint_are_shares_or_whole_and_those_of_evaluation_as_many(
    tmp_path: Path, resources: dict[str, Any], place: str, words: str
) -> None:
    (found,) = problems_of(tmp_path, resources=resources)

    assert found.startswith(f"{place}: ")
    assert words in found


def test_what_to_do_with_near_copies_is_refused_where_rows_are_not_compared_by_words(tmp_path: Path) -> None:
    acme = {"kind": "acme-notes", "data": {"source": "a.csv", "image": "a", "checks": {"near_duplicates": "fail"}}}
    with installed(tmp_path / "site"):
        (found,) = problems_of(tmp_path, **acme)

    assert found == (
        "data.checks.near_duplicates: has no effect: acme-notes does not compare these rows by their words. Remove it."
    )
    assert load_spec(write_spec(tmp_path, data={"source": "a.csv", "checks": {"near_duplicates": "fail"}}))


def test_gpus_are_refused_where_the_runtime_computes_on_the_cpu(tmp_path: Path) -> None:
    gpus = {"serve": {"gpus": 0.5}, "evaluate": {"gpus": 1}}

    found = problems_of(tmp_path, resources=gpus, serve={"runtime": "onnx"})

    assert [problem.partition(": ")[0] for problem in found] == ["resources.serve.gpus", "resources.evaluate.gpus"]
    assert load_spec(write_spec(tmp_path, resources=gpus, serve={"runtime": "torch"}))


def test_a_gpu_is_named_as_kubernetes_names_it(tmp_path: Path) -> None:
    (found,) = problems_of(tmp_path, resources={"train": {"gpus": 1, "gpu_type": "a100"}})

    assert found.startswith("resources.train.gpu_type: ")
    assert "'a100'" in found


def test_a_metric_of_one_label_has_the_direction_of_its_family() -> None:
    kind = get_kind("text-classification")

    assert kind.find_direction("f1[negative]") == "max"
    assert kind.find_direction("log_loss") == "min"
    assert kind.find_direction("log_loss[negative]") is None
    assert kind.find_direction("f1[negative") is None
