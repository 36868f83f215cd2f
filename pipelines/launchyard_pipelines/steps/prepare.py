"""The prepare step: source rows become a checked, split data set."""

from __future__ import annotations

from pathlib import Path

from launchyard.data.prepare import prepare_dataset
from launchyard.data.progress import PrepareProgress
from launchyard.settings import load_settings
from launchyard_pipelines.ray_data.large import map_when_large
from launchyard_pipelines.run_events import reported_step
from launchyard_pipelines.steps import STARTED_S
from launchyard_pipelines.steps.reference import Artifact, SpecReference


def prepare(reference: SpecReference, dataset: Artifact) -> str:
    """Write the prepared data set; returns its fingerprint."""
    settings = load_settings()
    with reported_step("prepare", settings, started_s=STARTED_S.get()) as report:
        spec = reference.load()
        manifest = prepare_dataset(
            spec,
            settings,
            base_dir=Path.cwd(),
            output_dir=Path(dataset.path),
            map_batches=map_when_large,
            watch=PrepareProgress(
                report.download, lambda num_rows: report.progress(0, None, f"{num_rows:,} rows read")
            ),
        )
        report.message = ", ".join(f"{count:,} {split}" for split, count in manifest.num_rows.items()) + " rows"
        report.data = {"fingerprint": manifest.fingerprint, "warnings": list(manifest.warnings)}
        return manifest.fingerprint
