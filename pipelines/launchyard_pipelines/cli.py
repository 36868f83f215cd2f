"""Commands this package adds to the ``launchyard`` command line: ``run``, ``compile`` and ``batch``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from launchyard.cli.arguments import AsJson, Overrides, SpecPath

FromStep = Annotated[
    str | None,
    typer.Option("--from", metavar="STEP", help="Do this step and all later ones again; go on with a broken one."),
]

RUN_EPILOG = """
Examples:

  launchyard run examples/review-sentiment/product.yaml

  launchyard run product.yaml --set train.epochs=1 --from train

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by a gate, 130 cancelled.
"""

COMPILE_EPILOG = """
Examples:

  launchyard compile product.yaml --output pipeline.yaml --spec-uri s3://team/specs/product.json

Upload the file in the Kubeflow Pipelines UI; the values under `train` can be edited for each run there.

The file holds no passwords, so it sets none of this. All pods need the same LAUNCHYARD_DATABASE_URL (records),
LAUNCHYARD_TRACKING_URL (MLflow), LAUNCHYARD_ONLINE_STORE (features, if the kind has any) and LAUNCHYARD_HOME (a folder
on storage that they share: bundles, checkpoints, cache) in their environment.
"""

BATCH_EPILOG = """
Examples:

  launchyard batch review-sentiment --input reviews.parquet --output answers.parquet

  launchyard batch review-sentiment --input s3://team/reviews/ --column text=review --output answers.jsonl

  launchyard batch movie-recommender --all-users --output recommendations.parquet
"""


def add_commands(app: typer.Typer) -> None:
    """Add this package's commands to the command line."""
    app.command("run", epilog=RUN_EPILOG)(run)
    app.command("compile", epilog=COMPILE_EPILOG)(compile_)
    app.command("batch", epilog=BATCH_EPILOG)(batch)


def run(
    path: SpecPath,
    set_: Overrides = None,
    from_: FromStep = None,
    release: Annotated[bool, typer.Option("--deploy/--no-deploy", help="Let a passing model serve.")] = True,
    as_json: AsJson = False,
) -> None:
    """Run the whole pipeline here: data to deployed model, one line a step."""
    from launchyard.cli.console import PlainConsole
    from launchyard_pipelines.local.command import run_command

    # With --json standard output is for the document alone.
    console = PlainConsole(stderr=as_json, highlight=False, soft_wrap=True)
    record = run_command(path, set_ or (), from_step=from_, release=release, console=console, as_json=as_json)
    raise typer.Exit(record.exit_code)


def compile_(
    path: SpecPath,
    set_: Overrides = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("pipeline.yaml"),
    spec_uri: Annotated[
        str | None,
        typer.Option(help="Where the cluster finds the spec; default: the path of the snapshot written here."),
    ] = None,
    image: Annotated[str | None, typer.Option(help="Image of every step, best pinned by digest.")] = None,
) -> None:
    """Write the pipeline for a Kubeflow Pipelines cluster."""
    from launchyard.cli.console import PlainConsole
    from launchyard.settings import load_settings
    from launchyard.spec.load import load_spec
    from launchyard_pipelines.build import build_pipeline, compile_pipeline
    from launchyard_pipelines.cluster_notes import check_spec_uri, iter_notes
    from launchyard_pipelines.code_version import compute_code_version
    from launchyard_pipelines.plan import PipelineOptions
    from launchyard_pipelines.snapshot import write_snapshot

    settings = load_settings()
    if spec_uri is not None:
        check_spec_uri(spec_uri)
    spec = load_spec(path, set_ or ())
    snapshot = write_snapshot(spec, (path if path.is_dir() else path.parent).resolve(), settings)
    image = image or settings.image
    options = PipelineOptions(
        spec_uri=spec_uri or str(snapshot.path),
        spec_sha256=snapshot.sha256,
        code_version=compute_code_version(),
        image=image,
    )
    compile_pipeline(build_pipeline(spec, options, settings), output)
    console = PlainConsole(highlight=False, markup=False, soft_wrap=True)
    console.print(f"wrote    {output}")
    if spec_uri is not None:
        console.print(f"upload   {snapshot.path} to {spec_uri}")
    for note in iter_notes(spec, snapshot=snapshot.path, spec_uri=spec_uri, image=image):
        console.print(f"note     {note}")
    console.print(f"next     upload {output} in the Kubeflow Pipelines UI and start a run")


def batch(  # noqa: PLR0913, PLR0917 - one parameter for each option
    product: Annotated[str, typer.Argument(help="Name of the product.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PATH", help="File to write, .parquet or .jsonl; whole or not.")
    ],
    input_: Annotated[
        str | None,
        typer.Option("--input", "-i", metavar="SOURCE", help="The rows: a path or URI, as data.source takes it."),
    ] = None,
    all_users: Annotated[
        bool, typer.Option("--all-users", help="Instead of --input: every user of the product's own source.")
    ] = False,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=COLUMN",
            help="Column that holds a field of the inputs under another name; without COLUMN: leave the field out.",
        ),
    ] = None,
    version: Annotated[int | None, typer.Option(help="Version that answers; default: the one that serves.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that each load the model; default: this one, or several for many rows."),
    ] = None,
    max_errors: Annotated[
        float, typer.Option(min=0, max=1, help="Largest share of rows without an answer; with more nothing is written.")
    ] = 0.1,
    as_json: AsJson = False,
) -> None:
    """Answer all rows of a source and write a file of answers."""
    from launchyard_pipelines.batch.batch import BatchRequest
    from launchyard_pipelines.batch.command import batch_command, check_output, parse_columns

    if (input_ is None) != all_users:
        raise typer.BadParameter("give either --input or --all-users")
    request = BatchRequest(
        product=product,
        input=input_,
        output=check_output(output),
        columns=parse_columns(column or ()),
        version=version,
        workers=workers,
        max_errors=max_errors,
    )
    batch_command(request, as_json=as_json)
