"""What people call the terms in the records of one kind: its metrics, slices, checks and reasons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

from launchyard.contract.evaluation import Better, Metric
from launchyard.evaluation.figures import Caption
from launchyard.evaluation.metrics.named import LATENCY
from launchyard.kind import Kind
from launchyard.report.formats import format_percent, format_score
from launchyard.report.texts import find_name, in_language, join_names, name_in, phrase, read_texts

TEXTS_NAME = "texts.yaml"
"""A kind's own phrases, in its folder: group -> term -> English and Chinese, as in the platform's."""


class Terms:
    """The terms of one kind."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    @cached_property
    def texts(self) -> Mapping[str, Mapping[str, Caption]]:
        """The kind's own phrases; none where it has no such file."""
        path = self.kind.folder / TEXTS_NAME
        return read_texts(path) if path.is_file() else {}

    def name(self, group: str, term: str) -> Caption:
        """Return what people call ``term``; the kind's word goes before the platform's, an unknown one stays."""
        return find_name(self.texts.get(group, {}), term) or name_in(group, term)

    def find_metric(self, name: str) -> Metric | None:
        """Return what is said of a metric; of a family such as ``f1``, what is said of each label's."""
        return self.kind.find_metric(name) or self.kind.find_metric(f"{name}[*]") or LATENCY.get(name)

    def find_direction(self, name: str) -> Better:
        """Return whether more or less of a metric is better; more, where nothing says it."""
        metric = self.find_metric(name)
        return "max" if metric is None else metric.better

    def name_metric(self, name: str) -> Caption:
        """Return what people call a metric, its unit in brackets; what training alone measures is named, too."""
        metric = self.find_metric(name)
        if metric is None:
            return self.name("quantity", name)
        if metric.unit is None:
            return metric.name
        return Caption(en=f"{metric.name.en} ({metric.unit.en})", zh=f"{metric.name.zh}（{metric.unit.zh}）")

    def show(self, name: str, value: float) -> str:
        """Return a value as sentences hold it: of a share that has a sentence, the per cent."""
        return format_score(value) if self.find_sentence(name) is None else format_percent(value)

    def find_sentence(self, name: str) -> Caption | None:
        """Return what a metric says in plain words; None for one that is told by name and value."""
        metric = self.find_metric(name)
        return None if metric is None else metric.sentence

    def tell(self, name: str, value: float) -> Caption | None:
        """Return what a metric says with ``value`` in it, or None."""
        sentence = self.find_sentence(name)
        if sentence is None:
            return None
        shown = self.show(name, value)
        return Caption(en=sentence.en.format(value=shown), zh=sentence.zh.format(value=shown))

    def explain_directions(self, names: Iterable[str]) -> Caption:
        """Return in a sentence which of the metrics are better when they are higher, and which are not."""
        directions = {name: self.find_direction(name) for name in names}
        lower = [self._name_plainly(name) for name, better in directions.items() if better == "min"]
        if not lower:
            return phrase("results.higher")
        if len(lower) == len(directions):
            return phrase("results.lower")
        return phrase("results.higher_except", names=join_names(lower))

    def _name_plainly(self, name: str) -> Caption:
        metric = self.find_metric(name)
        caption = self.name_metric(name) if metric is None else metric.name
        plain = in_language(caption, "en")
        # Inside a sentence; an abbreviation keeps its capitals.
        return Caption(en=plain if plain[:2].isupper() else plain[:1].lower() + plain[1:], zh=caption.zh)
