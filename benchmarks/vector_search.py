"""Search a large catalogue of item vectors: the time of one query on one thread, and the recall against exact search.

    python benchmarks/vector_search.py [--items 1000000] [--dimensions 64] [--queries 1000] [--peers]

Two catalogues. `mixture` is made as trained recommenders' vectors look: items in 2,000 clusters whose sizes follow a
power law (exponent 0.7), within-cluster noise of 0.6, a spectrum that falls with the root of the dimension, and norms
that grow with the logarithm of a popularity of exponent 0.8 (standard deviation a quarter of the mean, at least 0.3);
a query blends three clusters. `gaussian` is independent normal numbers, which no catalogue is but which hides nothing:
there are no clusters to lean on. Fails when the default takes more than 10 ms (p99) or finds less than 0.95.

`--peers` measures the library's clusters (IVF) and its graph (HNSW, minutes to build) beside it.

Array suffixes: Q queries, I items, D dimensions, K results.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from launchyard.vector_index import CANDIDATES, VectorIndex

Floats = NDArray[np.float32]
K = 10
LIMIT_MS = 10.0
LEAST_RECALL = 0.95
NUM_CLUSTERS = 2000
DEFAULT = f"default ({CANDIDATES} candidates)"
COLD_START = """
import sys, time
from pathlib import Path
import numpy as np
from launchyard.vector_index import VectorIndex
start = time.perf_counter()
index = VectorIndex.load(Path(sys.argv[1]), threads=1)
index.search(index.vectors_ID[:1], 10)
seconds = time.perf_counter() - start
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(seconds, int(status["VmRSS"].split()[0]) / 1024)
"""


@dataclass(frozen=True)
class Catalogue:
    """Vectors, queries and what exact search finds for them."""

    name: str
    vectors_ID: Floats
    queries_QD: Floats
    truth_QK: NDArray[np.int64]


def make_gaussian(num_items: int, num_dimensions: int, num_queries: int) -> tuple[Floats, Floats]:
    """Return independent normal vectors and queries."""
    rng = np.random.default_rng(0)
    return _draw(rng, num_items, num_dimensions), _draw(rng, num_queries, num_dimensions)


def make_mixture(num_items: int, num_dimensions: int, num_queries: int) -> tuple[Floats, Floats]:
    """Return vectors in clusters of uneven size and spectrum, with norms that follow popularity, and queries."""
    rng = np.random.default_rng(0)
    spectrum_D = np.arange(1, num_dimensions + 1) ** -0.5
    shape_DD = np.linalg.qr(rng.standard_normal((num_dimensions, num_dimensions)))[0] * spectrum_D[:, None]
    centres_CD = _draw(rng, NUM_CLUSTERS, num_dimensions)
    sizes_C = np.arange(1, NUM_CLUSTERS + 1) ** -0.7
    sizes_C /= sizes_C.sum()
    vectors_ID = centres_CD[rng.choice(NUM_CLUSTERS, num_items, p=sizes_C)]
    vectors_ID = (vectors_ID + 0.6 * _draw(rng, num_items, num_dimensions)) @ shape_DD.astype(np.float32)
    popularity_I = -0.8 * np.log(np.arange(1, num_items + 1))
    norms_I = np.maximum(0.3, 1 + 0.25 * (popularity_I - popularity_I.mean()) / popularity_I.std())
    vectors_ID *= (rng.permutation(norms_I) / np.linalg.norm(vectors_ID, axis=1))[:, None].astype(np.float32)
    taste_QD = 0.6 * _draw(rng, num_queries, num_dimensions)
    for _ in range(3):
        liked_QD = centres_CD[rng.choice(NUM_CLUSTERS, num_queries, p=sizes_C)]
        taste_QD += liked_QD * rng.random((num_queries, 1), dtype=np.float32)
    return vectors_ID, taste_QD @ shape_DD.astype(np.float32)


def _draw(rng: np.random.Generator, rows: int, columns: int) -> Floats:
    return rng.standard_normal((rows, columns), dtype=np.float32)


def measure(name: str, catalogue: Catalogue, search: Callable[[Floats], NDArray[np.int64]], prefix: str) -> bool:
    """Print what single queries take and find; return whether both limits are kept."""
    times_ms, recalls = [], []
    search(catalogue.queries_QD[:1])
    for query_D, truth_K in zip(catalogue.queries_QD, catalogue.truth_QK, strict=True):
        start = time.perf_counter()
        found_K = search(query_D[None])[0]
        times_ms.append(1000 * (time.perf_counter() - start))
        recalls.append(len(set(found_K.tolist()) & set(truth_K.tolist())) / np.count_nonzero(truth_K >= 0))
    p50, p99, recall = np.quantile(times_ms, 0.5), np.quantile(times_ms, 0.99), float(np.mean(recalls))
    print(f"{catalogue.name:<9} {name:<30} {prefix:<32} {p50:>7.2f} {p99:>7.2f} {recall:>7.4f}", flush=True)
    return bool(p99 <= LIMIT_MS and recall >= LEAST_RECALL)


def measure_ours(catalogue: Catalogue, folder: Path) -> bool:
    """Print a line for exact search and for each number of candidates; return whether the default keeps the limits."""
    vectors_ID = catalogue.vectors_ID
    exact = VectorIndex.build(vectors_ID, approximate_from=len(vectors_ID) + 1)
    measure("exact", catalogue, lambda query_QD: exact.search(query_QD, K)[0], "")
    kept = False
    for candidates in sorted({10, CANDIDATES, 200}):
        start = time.perf_counter()
        index = VectorIndex.build(vectors_ID, approximate_from=0, candidates=candidates, threads=2)
        build_s = time.perf_counter() - start
        size_mb = index.save(folder).stat().st_size / 1e6
        command = [sys.executable, "-c", COLD_START, str(folder)]
        load_s, memory_mb = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        loaded = VectorIndex.load(folder, threads=1)
        name = DEFAULT if candidates == CANDIDATES else f"{candidates} candidates"
        prefix = f"{build_s:>7.1f} {float(load_s):>7.2f} {size_mb:>8.0f} {float(memory_mb):>7.0f}"
        inside = measure(name, catalogue, lambda query_QD, index=loaded: index.search(query_QD, K)[0], prefix)  # type: ignore[misc]
        if candidates == CANDIDATES:
            kept = all([inside, measure_filters(catalogue, exact, loaded)])
    return kept


def measure_filters(catalogue: Catalogue, exact: VectorIndex, index: VectorIndex) -> bool:
    """Print a line for each filter, against exact search under the same filter; return whether all keep the limits."""
    num_items = len(catalogue.vectors_ID)
    rng = np.random.default_rng(1)
    filters: dict[str, dict[str, Any]] = {
        "  without the best 100": {"excluded": [exact.search(catalogue.queries_QD[:1], 100)[0][0]]}
    }
    filters |= {f"  {share:.1%} allowed": {"allowed_I": rng.random(num_items) < share} for share in (0.5, 0.1, 0.01)}
    kept = []
    for name, kept_items in filters.items():
        queries_QD = catalogue.queries_QD[:200]
        truth_QK = np.concatenate([exact.search(query_D[None], K, **kept_items)[0] for query_D in queries_QD])
        part = Catalogue(catalogue.name, catalogue.vectors_ID, queries_QD, truth_QK)

        def search(query_QD: Floats, kept_items: dict[str, Any] = kept_items) -> NDArray[np.int64]:
            return index.search(query_QD, K, **kept_items)[0]

        kept.append(measure(name, part, search, ""))
    return all(kept)


def measure_peers(catalogue: Catalogue) -> None:
    """Print a line for the library's clusters and graph at some settings."""
    import faiss  # noqa: PLC0415 - slow to import

    vectors_ID = catalogue.vectors_ID
    for factory, settings in (
        ("IVF1024,Flat", ("nprobe=64", "nprobe=256")),
        ("HNSW32", ("efSearch=64", "efSearch=256")),
    ):
        faiss.omp_set_num_threads(2)
        index: Any = faiss.index_factory(vectors_ID.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        start = time.perf_counter()
        index.train(vectors_ID[np.random.default_rng(0).permutation(len(vectors_ID))[:65_536]])
        index.add(vectors_ID)
        prefix = f"{time.perf_counter() - start:>7.1f} {'':>7} {len(faiss.serialize_index(index)) / 1e6:>8.0f}"
        faiss.omp_set_num_threads(1)
        for setting in settings:
            space: Any = faiss.ParameterSpace()
            space.set_index_parameters(index, setting)
            measure(
                f"{factory} {setting}",
                catalogue,
                lambda query_QD, index=index: index.search(query_QD, K)[1],  # type: ignore[misc]
                prefix,
            )


def main() -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description="Measure the search for the largest inner products.")
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--dimensions", type=int, default=64)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--peers", action="store_true", help="also measure other indexes of the library")
    options = parser.parse_args()
    threadpool_limits(limits=1, user_api="blas")
    print(f"{options.items:,} items of {options.dimensions} dimensions, k = {K}, one query at a time on one thread")
    print(f"{'catalogue':<9} {'search':<30} {'build s':>7} {'load s':>7} {'file MB':>8} {'RSS MB':>7} ", end="")
    print(f"{'p50 ms':>7} {'p99 ms':>7} {'recall':>7}")
    kept = []
    for name, make in {"mixture": make_mixture, "gaussian": make_gaussian}.items():
        vectors_ID, queries_QD = make(options.items, options.dimensions, options.queries)
        exact = VectorIndex.build(vectors_ID, approximate_from=options.items + 1)
        catalogue = Catalogue(name, vectors_ID, queries_QD, exact.search(queries_QD, K)[0])
        with tempfile.TemporaryDirectory() as folder:
            kept.append(measure_ours(catalogue, Path(folder)))
        if options.peers:
            measure_peers(catalogue)
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
