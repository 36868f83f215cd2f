"""A recommender trained by two workers is the one that a single worker trains."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import recommendation_worker
from launchyard.kinds.recommendation.data.histories import History
from launchyard.kinds.recommendation.predict.scorers import load_scorer
from recommendation_rows import make_walks, write_walks
from recommendation_worker import SETTINGS, train_worker

pytestmark = pytest.mark.integration

WORKER_DEADLINE_S = 120


@pytest.mark.parametrize("architecture", SETTINGS)
def test_two_workers_train_what_one_trains(tmp_path: Path, architecture: str) -> None:
    write_walks(tmp_path / "rows", make_walks())
    train_worker(tmp_path, architecture, 0, 1)

    workers = [
        subprocess.Popen([sys.executable, recommendation_worker.__file__, str(tmp_path), architecture, str(rank)])
        for rank in range(2)
    ]
    codes = [worker.wait(WORKER_DEADLINE_S) for worker in workers]

    assert codes == [0, 0]
    histories = [
        History(np.array([3, 4, 5], np.int32), np.arange(3.0), np.ones(3, np.float32), 9.0),
        History(np.array([21, 22], np.int32), np.arange(2.0), np.ones(2, np.float32), 9.0),
    ]
    one, two = (load_scorer(tmp_path / f"candidate-{count}/model", threads=1) for count in (1, 2))
    np.testing.assert_allclose(two.score(histories), one.score(histories), atol=1e-3)
