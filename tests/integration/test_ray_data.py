"""The recipe mapped by Ray Data gives what it gives in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import cast

import pyarrow as pa
import pytest
import ray

from launchyard.contract.rows import MapBatches, PrepareJob, Recipe
from launchyard.data.intake import map_in_process
from launchyard.data.manifest import DatasetManifest
from launchyard.data.prepare import UNWATCHED, prepare_in_blocks
from launchyard.data.sizes import BlockSizes
from launchyard.errors import DataError
from launchyard.kinds.text_classification.spec import TextClassification
from launchyard.settings import Settings
from launchyard_pipelines.local.ray import local_ray
from launchyard_pipelines.ray_data.large import map_when_large
from launchyard_pipelines.ray_data.map import map_with_ray

pytestmark = pytest.mark.integration

NUM_ROWS = 400
MAP_IN_WINDOWS = partial(map_with_ray, window_bytes=15_000)
"""Takes several windows for so few rows."""


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with local_ray(num_cpus=2):
        yield


@pytest.fixture
def source_dir(tmp_path: Path) -> Path:
    """A folder with reviews, some of which hold a phone number, are empty, or stand there twice."""
    rows = [
        {
            "text": f"review {i % 390} of thing {i % 390 * 7} by {'13800138000' if i % 9 == 0 else 'nobody'}",
            "score": i % 2,
        }
        for i in range(NUM_ROWS)
    ]
    rows[5]["text"] = ""
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tmp_path


def _spec(label_map: dict[str, str]) -> TextClassification:
    return TextClassification.model_validate(
        {
            "api": "launchyard/v1",
            "product": "reviews",
            "kind": "text-classification",
            "data": {
                "source": "rows.jsonl",
                "label": {"column": "score", "map": label_map},
                "redact": ["phone"],
                "checks": {"near_duplicates": "allow"},
            },
            "model": {"base": "unused"},
        }
    )


def prepare(folder: Path, spec: TextClassification, output: str, map_batches: MapBatches) -> DatasetManifest:
    """Prepare the rows in many tables."""
    job = PrepareJob(spec, Settings(home=folder / "home"), folder, folder / output, map_batches, UNWATCHED)
    return prepare_in_blocks(job, BlockSizes(table_rows=50))


def test_ray_writes_the_same_files_as_this_process(source_dir: Path) -> None:
    spec = _spec({"0": "bad", "1": "good"})

    direct = prepare(source_dir, spec, "direct", map_in_process)
    mapped = prepare(source_dir, spec, "mapped", MAP_IN_WINDOWS)

    assert direct.redactions["phone"] == 45
    assert mapped == direct
    for path in (source_dir / "direct").iterdir():
        assert (source_dir / "mapped" / path.name).read_bytes() == path.read_bytes()


def test_an_error_in_a_worker_arrives_as_itself_with_its_row(source_dir: Path) -> None:
    with pytest.raises(DataError, match=r"^data\.label\.map: knows only '0', found '1' in row 2,"):
        prepare(source_dir, _spec({"0": "bad"}), "out", MAP_IN_WINDOWS)


def _make_doubling() -> Recipe:
    """A recipe that says in which process it ran; converting is all that mapping asks of one.

    Its class is made here, as workers are sent such a class whole: they look for no module in the working folder.
    """

    class Doubling:
        def convert(self, batch: pa.Table) -> pa.Table:
            worker = ray.get_runtime_context().get_worker_id()
            return batch.append_column("worker", pa.array([worker] * batch.num_rows))

    return cast(Recipe, Doubling())


DOUBLING = _make_doubling()


def test_order_is_kept_and_only_what_follows_the_first_rows_goes_to_ray() -> None:
    tables = [pa.table({"n": pa.array(range(start, start + 40), pa.int64())}) for start in range(0, 600, 40)]

    result = pa.concat_tables(map_when_large(DOUBLING, tables, large_rows=200, cores=4))

    here = ray.get_runtime_context().get_worker_id()
    workers = result["worker"].to_pylist()
    assert result["n"].to_pylist() == list(range(600))
    assert set(workers[:200]) == {here}
    assert here not in workers[200:]


@pytest.mark.parametrize(("large_rows", "cores"), [(3, 4), (1, 2)])
def test_few_rows_or_cores_never_reach_ray(large_rows: int, cores: int) -> None:
    tables = [pa.table({"n": [1, 2]}), pa.table({"n": [3]})]

    result = pa.concat_tables(map_when_large(DOUBLING, tables, large_rows=large_rows, cores=cores))

    assert set(result["worker"].to_pylist()) == {ray.get_runtime_context().get_worker_id()}
