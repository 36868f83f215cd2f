"""Evaluation: a trained candidate becomes a measured bundle.

The files that are measured here are the files that serving loads: export and calibration come first, then every figure.
Rows: ``validation`` is chosen on (runtime, temperature, thresholds), ``test`` is reported and judged by the gates.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from launchyard.bundle.manifest import EVALUATION_NAME
from launchyard.bundle.self_test import EXAMPLES_NAME, Example, Examples
from launchyard.contract.evaluation import Better, Evaluator, Omitted
from launchyard.contract.predictor import Device, ExplainingPredictor, Output, Predictor
from launchyard.contract.training import ExportJob
from launchyard.data.manifest import MANIFEST_NAME, SPLITS, SplitName, load_manifest, read_split
from launchyard.errors import BundleError
from launchyard.evaluation.answers import answer, explain_in_time, make_inputs
from launchyard.evaluation.champion import Champion, find_common_rows
from launchyard.evaluation.drift import write_baseline
from launchyard.evaluation.figures import Figure
from launchyard.evaluation.gates import judge_incomparable, judge_prior, judge_rival, judge_rule
from launchyard.evaluation.metrics.bootstrap import Bootstrap, Measured, measure, paired_difference
from launchyard.evaluation.metrics.latency import describe_latency, measure_latency, time_calls
from launchyard.evaluation.results import (
    TRAINING_NAME,
    TUNE_NAME,
    Evaluation,
    GateResult,
    Measure,
    Rival,
    RuntimeCandidate,
    SliceResult,
)
from launchyard.files.atomic import new_folder, write_text
from launchyard.files.full_disk import is_disk_full
from launchyard.kind import Kind
from launchyard.kinds import get_kind
from launchyard.prediction.closing import close_predictor
from launchyard.prediction.media import spell_media
from launchyard.spec.blocks import ChampionComparison, Comparison, Product

CANDIDATE_FILES = ("preprocess.json", TRAINING_NAME, TUNE_NAME)
EXAMPLE_TOLERANCE = 0.02
"""How far a number in an answer may lie off on another machine: rounding differs, int8 kernels differ more."""
MAX_TIMED_ROWS = 500
"""Its slowest hundredth is five rows: fewer would say nothing of it, more would take minutes with a slow model."""
MAX_SLICES = 20
"""Most values of one slice column that are measured; the commonest are."""
NUM_STAGES = 5
"""Messages of an evaluation without a champion, for the progress that people watch."""
MAX_EXPLAIN_S = 5.0
"""Explanations take many passes through a large model, and the report shows a few rows' alone."""

Progress = Callable[[float, float, str], None]
"""Called with stages done, all stages, and what comes next."""


@dataclass(frozen=True)
class EvaluateJob:
    """One evaluation: where the parts are and where the bundle goes."""

    spec: Product
    dataset_dir: Path
    candidate_dir: Path | None
    """What training left: ``model/``, records, what else the predictor reads; None where nothing is trained."""
    bundle_dir: Path
    threads: int
    """CPU threads of one serving replica: latency is measured with as many."""
    batch_threads: int
    """CPU threads for passes over whole splits."""
    champion: Champion | None = None
    base_dir: Path | None = None
    """The base model, already fetched; None for a model that starts from nothing."""
    gpus: float = 0.0
    """GPUs of one serving replica; below 1, its share of one."""
    batch_gpus: int = 0
    """GPUs for passes over whole splits."""
    max_explain_s: float = MAX_EXPLAIN_S
    """No further row is explained after so many seconds."""

    @property
    def device(self) -> Device:
        """What one serving replica computes on."""
        return Device(self.threads, self.gpus)

    @property
    def batch_device(self) -> Device:
        """What computes where no time is taken."""
        return Device(self.batch_threads, self.batch_gpus)


@dataclass(frozen=True)
class _Duel:
    """The model and the champion on the test rows that neither was trained on, with the same resamples."""

    champion: Champion
    num_rows: int
    """0 when the two cannot be compared."""
    problem: str
    """Why they cannot."""
    ours: Measured
    theirs: Measured


@dataclass(frozen=True)
class _Rivals:
    """What a model is compared with, measured on the same test rows with the same resamples."""

    prior: Measured | Omitted
    baseline: Measured | Omitted
    duel: _Duel | None


def evaluate_candidate(job: EvaluateJob, on_progress: Progress) -> Evaluation:
    """Write a whole bundle but its manifest and report to ``job.bundle_dir``; return what was measured.

    A model that a gate refuses gets its bundle too, so that it can be looked at; the caller refuses to register it.

    Raises:
        BundleError: the candidate (or the champion's bundle) cannot be loaded, or the disk is full.
        DataError: there is no prepared data set.
    """
    try:
        with new_folder(job.bundle_dir) as folder:
            copy_candidate(job, folder)
            evaluation = _Evaluation(job, folder, on_progress).run()
            write_text(folder / EVALUATION_NAME, evaluation.model_dump_json(indent=2) + "\n")
    except OSError as err:
        if is_disk_full(err):
            raise BundleError(f"{job.bundle_dir}: the disk is full. Free some space and run again.") from err
        raise
    return evaluation


def copy_candidate(job: EvaluateJob, folder: Path) -> None:
    """Copy what a bundle takes from the candidate, if anything was trained, and the data set into ``folder``.

    Raises:
        BundleError: the candidate holds no model.
        DataError: there is no prepared data set.
    """
    write_text(folder / MANIFEST_NAME, load_manifest(job.dataset_dir).model_dump_json(indent=2) + "\n")
    if job.candidate_dir is None:
        return
    model_dir = job.candidate_dir / "model"
    if not model_dir.is_dir():
        raise BundleError(f"{job.candidate_dir}: no trained model here. Run the train step first.")
    # One by one: copytree would hide that the disk is full in a list of messages.
    for path in (*model_dir.rglob("*"), *(job.candidate_dir / name for name in CANDIDATE_FILES)):
        if path.is_file():
            target = folder / path.relative_to(job.candidate_dir)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


class _Evaluation:
    """The steps of one evaluation, which share rows, evaluator and resamples."""

    def __init__(self, job: EvaluateJob, folder: Path, on_progress: Progress) -> None:
        self.job = job
        self.folder = folder
        self.on_progress = on_progress
        self.spec = job.spec
        self.kind: Kind = get_kind(job.spec.kind)
        self.rows: dict[SplitName, pa.Table] = {split: read_split(job.dataset_dir, split) for split in SPLITS}
        self.evaluator: Evaluator = self.kind.load_evaluator(job.spec, job.dataset_dir)
        self.bootstrap = Bootstrap(job.spec.evaluate.bootstrap, job.spec.evaluate.confidence)
        self.notes: list[str] = []
        self.num_told = 0

    def run(self) -> Evaluation:
        """Return everything that is measured, the bundle's other files written on the way."""
        runtimes = self._export()
        predictor = self.kind.load_predictor(self.folder, self.job.batch_device)
        test, validation = self.rows["test"], self.rows["validation"]
        self._tell(f"answering {validation.num_rows} validation and {test.num_rows} test rows")
        chosen_on, outputs = answer(predictor, validation), answer(predictor, test)
        self._write_baseline(predictor)
        self._write_examples(predictor, chosen_on)
        self._tell("measuring")
        model = self._measure(test, outputs)
        rivals = self._measure_rivals(model, outputs)
        figures = (*self.evaluator.figures(self.folder, test, outputs), *self._explain(predictor, test, outputs))
        # Last: it may set another number of threads for all of torch.
        latencies_B = self._time(predictor)
        measures = model.measures | measure_latency(latencies_B, self.bootstrap)
        self._note_undefined(measures)
        return Evaluation(
            metrics={"validation": self._measure(validation, chosen_on).measures, "test": measures},
            baseline_name=self.evaluator.baseline_name,
            baseline=_list_measures(rivals.baseline),
            baseline_omitted=_explain_omission(rivals.baseline),
            prior=_list_measures(rivals.prior),
            prior_omitted=_explain_omission(rivals.prior),
            champion_version=self.job.champion.version if self.job.champion else None,
            champion=rivals.duel.theirs.measures if rivals.duel else {},
            slices=tuple(self._measure_slices(test, outputs)),
            latency=describe_latency(latencies_B, self.job.threads),
            runtimes=runtimes,
            abstention=self.evaluator.measure_abstention(self.folder, test, outputs),
            gates=tuple(self._judge(Measured(measures, model.samples), rivals)),
            figures=figures,
            notes=tuple(self.notes),
        )

    def _tell(self, message: str) -> None:
        self.on_progress(self.num_told, NUM_STAGES + (self.job.champion is not None), message)
        self.num_told += 1

    def _export(self) -> tuple[RuntimeCandidate, ...]:
        export = self.kind.load_export_function()
        if export is None:
            return ()
        self._tell("exporting and choosing the fastest runtime")
        job = ExportJob(
            self.spec,
            self.folder,
            self.job.dataset_dir,
            self.rows["validation"],
            base_dir=self.job.base_dir,
            threads=self.job.threads,
            batch_threads=self.job.batch_threads,
            gpus=self.job.gpus,
            batch_gpus=self.job.batch_gpus,
        )
        return export(job)

    def _measure(self, rows: pa.Table, outputs: Sequence[Output]) -> Measured:
        return measure(self.evaluator.score(rows, outputs), self.bootstrap)

    def _measure_rivals(self, model: Measured, outputs: Sequence[Output]) -> _Rivals:
        train, test = self.rows["train"], self.rows["test"]
        duel = None if self.job.champion is None else self._fight(self.job.champion, outputs)
        return _Rivals(
            prior=self._measure_rival("the prior", self.evaluator.answer_prior(train, test)),
            baseline=self._measure_baseline(model),
            duel=duel,
        )

    def _fight(self, champion: Champion, outputs: Sequence[Output]) -> _Duel:
        """Return how the model and the champion do on the rows that are new to both."""
        self._tell(f"answering the same rows with the champion, version {champion.version}")
        test = self.rows["test"]
        common = find_common_rows(champion, self.spec, self.job.dataset_dir, test)
        if common.problem:
            self.notes.append(f"Not compared with version {champion.version}, which serves: {common.problem}.")
            return _Duel(champion, 0, common.problem, Measured({}, {}), Measured({}, {}))
        num_left_out = test.num_rows - len(common.places)
        if num_left_out:
            self.notes.append(
                f"Version {champion.version}, which serves, was trained on {num_left_out:,} of the {test.num_rows:,} "
                f"test rows. The two models are compared on the other {len(common.places):,}."
            )
        rows = test.take(pa.array(common.places)) if num_left_out else test
        predictor = self.kind.load_predictor(champion.bundle_dir, self.job.batch_device)
        theirs = self._measure(rows, answer(predictor, rows))
        close_predictor(predictor)
        ours = self._measure(rows, [outputs[place] for place in common.places.tolist()])
        return _Duel(champion, rows.num_rows, "", ours, theirs)

    def _measure_rival(self, name: str, outputs: list[Output] | Omitted) -> Measured | Omitted:
        """Return how a rival does on the test rows, or why there is none, which is noted, too."""
        if isinstance(outputs, Omitted):
            self.notes.append(f"Not compared with {name}: {outputs.reason}.")
            return outputs
        return self._measure(self.rows["test"], outputs)

    def _measure_baseline(self, model: Measured) -> Measured | Omitted:
        """Return the measured baseline; the model's own figures when the two are one, whatever rounding makes of it."""
        if self.evaluator.is_baseline(self.folder):
            self._tell("leaving the baseline out: the model is the same")
            self.notes.append(
                f"The model is the cheap baseline ({self.evaluator.baseline_name}) itself: no comparison."
            )
            return model
        self._tell(f"training the baseline: {self.evaluator.baseline_name or 'none'}")
        outputs = self.evaluator.answer_baseline(self.rows["train"], self.rows["test"])
        return self._measure_rival("a cheap baseline", outputs)

    def _time(self, predictor: Predictor) -> NDArray[np.float64]:
        """Return the milliseconds of single predictions; the predictor is closed then."""
        self._tell("timing single predictions")
        if self.job.device != self.job.batch_device:
            # First, for two may not fit.
            close_predictor(predictor)
            predictor = self.kind.load_predictor(self.folder, self.job.device)
        inputs = make_inputs(predictor, self.rows["test"].slice(0, MAX_TIMED_ROWS))
        latencies_B = time_calls(lambda raw: predictor.predict([predictor.parse(raw)]), inputs)
        close_predictor(predictor)
        return latencies_B

    def _measure_slices(self, rows: pa.Table, outputs: Sequence[Output]) -> Iterator[SliceResult]:
        for name, values in self.evaluator.slices(rows).items():
            counts = Counter(values)
            if len(counts) > MAX_SLICES:
                self.notes.append(f"Of the {len(counts)} values of {name} the {MAX_SLICES} commonest are measured.")
            for value, _ in counts.most_common(MAX_SLICES):
                index = [number for number, found in enumerate(values) if found == value]
                measures = self._measure(rows.take(index), [outputs[number] for number in index]).measures
                # One slice's metric per label is more figures than anybody reads.
                overall = {metric: found for metric, found in measures.items() if "[" not in metric}
                yield SliceResult(slice=name, value=value, metrics=overall)

    def _judge(self, model: Measured, rivals: _Rivals) -> Iterator[GateResult]:
        wanted = self.spec.evaluate
        for metric, rule in wanted.gates.items():
            yield judge_rule(metric, rule, model.measures)
        if wanted.beat_prior and not isinstance(rivals.prior, Omitted):
            metric = self.kind.resolve_metric(self.evaluator.prior_metric)
            yield judge_prior(metric, self._better(metric), *self._compare(model, rivals.prior, metric))
        if wanted.beat_baseline and not isinstance(rivals.baseline, Omitted):
            baseline = Rival(role="baseline", name=self.evaluator.baseline_name)
            yield self._judge_rival(model, rivals.baseline, wanted.beat_baseline, baseline)
        if wanted.beat_champion and rivals.duel:
            metric = self.kind.resolve_metric(wanted.beat_champion.metric)
            yield self._judge_duel(rivals.duel, wanted.beat_champion, model.measures.get(metric))

    def _judge_duel(self, duel: _Duel, wanted: ChampionComparison, value: Measure | None) -> GateResult:
        rival = Rival(role="champion", name=duel.champion.name)
        metric = self.kind.resolve_metric(wanted.metric)
        if duel.problem:
            must = wanted.when_unknown == "refuse"
            return judge_incomparable(metric, value, rival=rival, problem=duel.problem, must_compare=must)
        judged = self._judge_rival(duel.ours, duel.theirs, wanted, rival)
        if duel.num_rows == self.rows["test"].num_rows:
            return judged
        return judged.model_copy(update={"rule": f"{judged.rule} on the {duel.num_rows:,} rows new to both"})

    def _judge_rival(self, model: Measured, other: Measured, wanted: Comparison, rival: Rival) -> GateResult:
        metric = self.kind.resolve_metric(wanted.metric)
        value, difference = self._compare(model, other, metric)
        better = self._better(metric)
        return judge_rival(metric, better, value, difference, rival=rival, tolerance=wanted.tolerance)

    def _compare(self, model: Measured, other: Measured, metric: str) -> tuple[Measure | None, Measure | None]:
        return model.measures.get(metric), paired_difference(model, other, metric, self.bootstrap)

    def _better(self, metric: str) -> Better:
        return self.kind.find_direction(metric) or "max"

    def _explain(self, predictor: Predictor, rows: pa.Table, outputs: Sequence[Output]) -> list[Figure]:
        if not isinstance(predictor, ExplainingPredictor):
            return []
        chosen = rows.take(pa.array(self.evaluator.choose_explained(rows, outputs), pa.int64()))
        explained = explain_in_time(predictor, chosen, self.job.max_explain_s)
        if len(explained) < chosen.num_rows:
            self.notes.append(
                f"{len(explained)} of {chosen.num_rows} chosen answers are explained: the rest would take longer "
                f"than {self.job.max_explain_s:g} s."
            )
        return self.evaluator.draw_explanations(chosen.slice(0, len(explained)), explained)

    def _note_undefined(self, measures: Mapping[str, Measure]) -> None:
        for name, metric in self.kind.metrics.items():
            if "[" not in name and name not in measures:
                self.notes.append(f"{name}: undefined, as {metric.undefined}.")

    def _write_baseline(self, predictor: Predictor) -> None:
        rows = [predictor.parse(raw) for raw in make_inputs(predictor, self.rows["validation"])]
        write_baseline(self.folder, [predictor.describe(row) for row in rows])

    def _write_examples(self, predictor: Predictor, outputs: Sequence[Output]) -> None:
        rows = self.rows["validation"]
        chosen = self.evaluator.choose_examples(rows, outputs)
        inputs = make_inputs(predictor, rows.take(chosen))
        examples = Examples(
            tuple(
                Example(input=spell_media(raw), expected=spell_media(outputs[number]), tolerance=EXAMPLE_TOLERANCE)
                for raw, number in zip(inputs, chosen, strict=True)
            )
        )
        write_text(self.folder / EXAMPLES_NAME, examples.model_dump_json(indent=2) + "\n")


def _list_measures(rival: Measured | Omitted) -> dict[str, Measure]:
    return {} if isinstance(rival, Omitted) else rival.measures


def _explain_omission(rival: Measured | Omitted) -> str:
    return rival.reason if isinstance(rival, Omitted) else ""
