"""Peak memory and time of data preparation, at several sizes, in process and mapped by Ray Data.

    python benchmarks/prepare_memory.py --rows 500000 2000000 --paths direct ray

Each measurement prepares the same generated file in a fresh process. What is counted: for ``direct`` the peak resident
set of that process (VmHWM), imports included. For ``ray`` two sums over its process tree, sampled ten times a second:
"driver and workers", the private memory (Pss) of the preparing process and of the Ray workers that run the recipe, and
"all", which adds Ray's own servers, agents and actors. Pages of the shared object store count once, for the processes
that map them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from launchyard.contract.rows import MapBatches
from launchyard.data.intake import map_in_process
from launchyard.data.prepare import prepare_dataset
from launchyard.kinds.text_classification.spec import TextClassification
from launchyard.settings import Settings

WORDS = 20_000
MEAN_WORDS = 18
BATCH_ROWS = 20_000
SAMPLE_S = 0.1
LIMIT_MB = 512
MOST_GROWTH = 0.10


@dataclass(frozen=True)
class Measurement:
    """One preparation in a process of its own."""

    path: str
    rows: int
    seconds: float
    peak_mb: float
    peak_all_mb: float
    digest: str


def write_rows(path: Path, num_rows: int) -> None:
    """Write reviews of random words, some with an e-mail address; 2 % are copies of another, 2 % nearly so."""
    random = np.random.default_rng(7)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = np.array(["".join(word) for word in letters[random.integers(0, 26, (WORDS, 5))]])
    schema = pa.schema([("text", pa.string()), ("label", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, num_rows, BATCH_ROWS):
            size = min(BATCH_ROWS, num_rows - start)
            lengths = 3 + random.poisson(MEAN_WORDS - 3, size)
            drawn = np.split(words[random.integers(0, WORDS, lengths.sum())], np.cumsum(lengths)[:-1])
            texts = [" ".join(row) for row in drawn]
            texts[::50] = texts[1::50][: len(texts[::50])]
            texts[3::50] = [f"{text}!" for text in texts[4::50][: len(texts[3::50])]]
            texts[7::100] = [f"{text} write to user{index}@example.org" for index, text in enumerate(texts[7::100])]
            labels = [str(row[0] < "n") for row in drawn]
            labels[::50] = labels[1::50][: len(labels[::50])]
            labels[3::50] = labels[4::50][: len(labels[3::50])]
            writer.write_table(pa.table([texts, labels], schema=schema))


def prepare(path: str, folder: Path) -> None:
    """Prepare the generated file; runs in the measured process and prints its own peak."""
    spec = TextClassification.model_validate(
        {
            "api": "launchyard/v1",
            "product": "memory",
            "kind": "text-classification",
            "data": {"source": "rows.parquet", "redact": ["email", "phone", "card", "ip"]},
            "model": {"base": "unused"},
        }
    )
    started = time.perf_counter()
    prepare_dataset(
        spec,
        Settings(home=folder / "home"),
        base_dir=folder,
        output_dir=folder / f"out-{path}",
        map_batches=_choose_map(path),
    )
    print(json.dumps({"seconds": time.perf_counter() - started, "peak_mb": _read_status("self", "VmHWM") / 1024}))


def _choose_map(path: str) -> MapBatches:
    if path == "direct":
        return map_in_process
    # Imported here so that the direct path is measured without Ray.
    from launchyard_pipelines.ray_data.map import map_with_ray  # noqa: PLC0415 - only one of the two ways needs Ray

    return map_with_ray


def measure(path: str, num_rows: int, folder: Path) -> Measurement:
    """Return time, peak and digest of one preparation of ``folder/rows.parquet``."""
    command = [sys.executable, __file__, "--child", path, str(folder)]
    peak_kb = peak_all_kb = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        while child.poll() is None:
            tree = _list_tree(child.pid)
            peak_all_kb = max(peak_all_kb, sum(map(_read_pss, tree)))
            peak_kb = max(peak_kb, sum(_read_pss(pid) for pid in tree if pid == child.pid or _is_worker(pid)))
            time.sleep(SAMPLE_S)
        output = child.stdout.read() if child.stdout else ""
    if child.returncode:
        raise SystemExit(f"{path}: the measured process ended with exit code {child.returncode}.")
    report = json.loads(output.splitlines()[-1])
    return Measurement(
        path=path,
        rows=num_rows,
        seconds=round(report["seconds"], 1),
        peak_mb=round(report["peak_mb"] if path == "direct" else peak_kb / 1024, 1),
        peak_all_mb=round(report["peak_mb"] if path == "direct" else peak_all_kb / 1024, 1),
        digest=_digest(folder / f"out-{path}"),
    )


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _list_tree(root: int) -> list[int]:
    """Return the process and all that descend from it."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            parents[int(entry.name)] = _read_status(entry.name, "PPid")
    tree = [root]
    for pid in tree:
        tree += [child for child, parent in parents.items() if parent == pid]
    return tree


def _is_worker(pid: int) -> bool:
    """Whether the process runs the recipe, or could; Ray's agents and actors of its own do not."""
    return _read_proc(pid, "cmdline").startswith(("ray::MapBatches", "ray::IDLE"))


def _read_pss(pid: int) -> int:
    lines = _read_proc(pid, "smaps_rollup").splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def _read_status(pid: str, name: str) -> int:
    lines = _read_proc(pid, "status").splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def _read_proc(pid: int | str, name: str) -> str:
    """Return a file of ``/proc``; empty once the process has ended."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""


def judge(measurements: list[Measurement]) -> list[str]:
    """Return which of the promises do not hold."""
    broken = [f"{m.path} {m.rows:,}: {m.peak_mb} MB" for m in measurements if m.peak_mb > LIMIT_MB]
    for path in {m.path for m in measurements}:
        peaks = [m.peak_mb for m in measurements if m.path == path]
        if max(peaks) > (1 + MOST_GROWTH) * min(peaks):
            broken.append(f"{path}: the peak depends on the rows: {peaks} MB")
    for rows in {m.rows for m in measurements}:
        if len({m.digest for m in measurements if m.rows == rows}) > 1:
            broken.append(f"{rows:,}: the paths differ in what they wrote")
    return broken


def main() -> int:
    """Measure all sizes and paths, print one JSON line each, and what does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[500_000, 2_000_000])
    parser.add_argument("--paths", nargs="+", choices=["direct", "ray"], default=["direct", "ray"])
    parser.add_argument("--child", nargs=2, metavar=("PATH", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        prepare(arguments.child[0], Path(arguments.child[1]))
        return 0
    measurements = []
    for num_rows in arguments.rows:
        with tempfile.TemporaryDirectory() as folder:
            write_rows(Path(folder) / "rows.parquet", num_rows)
            for path in arguments.paths:
                measurements.append(measure(path, num_rows, Path(folder)))
                print(json.dumps(asdict(measurements[-1])), flush=True)
    broken = judge(measurements)
    print(json.dumps({"holds": not broken, "broken": broken}))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
