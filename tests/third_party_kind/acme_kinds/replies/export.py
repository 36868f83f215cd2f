"""What serving loads: the questions, their replies, and how rare each word is. It is all of the model."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from typing import cast

import pyarrow.parquet as pq

from acme_kinds.replies.predict import INDEX_NAME, ReplyPredictor, split_words
from acme_kinds.replies.spec import Replies
from launchyard.contract.training import ExportJob
from launchyard.evaluation.results import RuntimeCandidate
from launchyard.files.atomic import write_text


def write_index(job: ExportJob) -> tuple[RuntimeCandidate, ...]:
    """Write the index of the training rows, and say that there was no other choice."""
    rows = pq.read_table(job.dataset_dir / "train.parquet", columns=["question", "reply"]).to_pylist()
    found_in = Counter(word for row in rows for word in set(split_words(row["question"])))
    rarity = {word: math.log(1 + len(rows) / count) for word, count in found_in.items()}
    spec = cast(Replies, job.spec)
    index = {
        "min_similarity": spec.model.min_similarity,
        "redact": spec.data.redact,
        "subject": spec.subject,
        "rarity": rarity,
        "questions": [row["question"] for row in rows],
        "replies": [row["reply"] for row in rows],
    }
    (job.bundle_dir / "model").mkdir(parents=True, exist_ok=True)
    write_text(job.bundle_dir / INDEX_NAME, json.dumps(index, ensure_ascii=False))
    predictor = ReplyPredictor.load(job.bundle_dir, job.device)
    questions = [row["question"] for row in job.validation.slice(0, 32).to_pylist()]
    started_s = time.perf_counter()
    for question in questions:
        predictor.find(question)
    took_ms = (time.perf_counter() - started_s) / max(1, len(questions)) * 1000
    size = (job.bundle_dir / INDEX_NAME).stat().st_size
    return (RuntimeCandidate(name="python", chosen=True, p50_ms=took_ms, size_bytes=size, reason="the only one"),)
