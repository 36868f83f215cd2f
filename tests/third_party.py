"""The distribution of ``third_party_kind/``, installed as pip does it, and a product of real rows for each kind."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from PIL import Image
from sklearn.datasets import load_diabetes, load_digits

from launchyard.data.prepare import prepare_dataset
from launchyard.settings import Settings
from launchyard.spec.blocks import Product

SOURCE = Path(__file__).with_name("third_party_kind")
REFERENCE = Path(__file__).parent.parent / "docs" / "spec.md"
PHRASES = ("What is {}?", "How do I set {} in my product?", "Explain {} to me, please.", "{} - what does that do?")
NUM_CUSTOMERS = 40
NUM_REPEATED = 20
NUM_PICTURES = 400
NOISE = 0.25
_KEY = re.compile(r"^\| `([a-z_.]+)` \|.*\| ([^|]+) \|$", re.MULTILINE)


def install_kinds(site: Path) -> None:
    """Install the distribution into ``site``, a folder to be put into ``sys.path``."""
    # A build leaves files beside the source.
    source = shutil.copytree(SOURCE, site.parent / "source", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    command += ["--no-deps", "--no-build-isolation", "--target", str(site), str(source)]
    subprocess.run(command, check=True, timeout=300)


@dataclass(frozen=True)
class OutsideProduct:
    """A product of a kind that the platform does not know."""

    kind: str
    blocks: Mapping[str, Any]
    write_rows: Callable[[Path], None]

    @property
    def name(self) -> str:
        """Name of the product."""
        return f"our-{self.kind}"

    @property
    def document(self) -> dict[str, Any]:
        """Content of its product.yaml."""
        return {"api": "launchyard/v1", "product": self.name, "kind": self.kind, **self.blocks}

    def write(self, folder: Path) -> Path:
        """Write the product and its rows below ``folder``; return its own folder."""
        (folder / self.name).mkdir(parents=True)
        self.write_rows(folder / self.name)
        (folder / self.name / "product.yaml").write_text(json.dumps(self.document), encoding="utf-8")
        return folder / self.name


def prepare_product(product: OutsideProduct, spec: Product, folder: Path) -> Path:
    """Prepare the product's rows into ``folder``, and return it."""
    home = folder.with_name(f"{folder.name}-home")
    prepare_dataset(spec, Settings(home=home), base_dir=product.write(home), output_dir=folder)
    return folder


def write_questions(folder: Path) -> None:
    """Write what customers ask about the keys of a spec, each in several ways, and what its reference says."""
    found = dict(_KEY.findall(REFERENCE.read_text(encoding="utf-8")))
    rows = [
        {"question": phrase.format(key), "reply": reply.strip(), "customer": f"c{(number * 7 + turn) % NUM_CUSTOMERS}"}
        for number, (key, reply) in enumerate(found.items())
        for turn, phrase in enumerate(PHRASES)
    ]
    pyarrow.csv.write_csv(pa.Table.from_pylist(rows), folder / "questions.csv")


def write_patients(folder: Path) -> None:
    """Write how far diabetes came in a year, by ten measures (Efron et al. 2004); some rows are there twice."""
    table = load_diabetes(as_frame=True, scaled=False).frame
    table["patient"] = [f"p{number}" for number in range(len(table))]
    rows = pa.Table.from_pandas(table, preserve_index=False)
    pyarrow.csv.write_csv(pa.concat_tables([rows, rows.slice(0, NUM_REPEATED)]), folder / "patients.csv")


def write_digits(folder: Path) -> None:
    """Write handwritten digits (Alpaydin and Kaynak 1998) with noise and without, and a table that names the files."""
    digits = load_digits()
    generator = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    rows = []
    for number, shades in enumerate(digits.images[:NUM_PICTURES] / 16):
        names = {"noisy": f"pictures/{number}-noisy.png", "clean": f"pictures/{number}.png"}
        noisy = (shades + generator.normal(0, NOISE, shades.shape)).clip(0, 1)
        for name, picture in (("noisy", noisy), ("clean", shades)):
            (folder / names[name]).write_bytes(make_png(picture))
        rows.append({**names, "digit": int(digits.target[number]), "sender": f"s{number % NUM_CUSTOMERS}"})
    # A file that is not there is counted, and stops nothing.
    rows.append({"noisy": "pictures/lost.png", "clean": "pictures/0.png", "digit": 0, "sender": "s0"})
    pyarrow.csv.write_csv(pa.Table.from_pylist(rows), folder / "pairs.csv")


def make_png(shades: np.ndarray) -> bytes:
    """Return shades of grey, 0 to 1, as a picture."""
    file = io.BytesIO()
    Image.fromarray((shades * 255).round().astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


REPLIES = OutsideProduct(
    "acme-replies",
    {
        "data": {"source": "questions.csv", "subject": "customer", "redact": ["email"]},
        "evaluate": {"gates": {"word_f1": ">= 0.5"}, "bootstrap": 100},
    },
    write_questions,
)
ESTIMATE = OutsideProduct(
    "acme-estimate",
    {
        "data": {
            "source": "patients.csv",
            "features": ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"],
            "subject": "patient",
        },
        "evaluate": {"gates": {"mae": "<= 55"}, "bootstrap": 100},
    },
    write_patients,
)
RESTORE = OutsideProduct(
    "acme-restore",
    {
        "data": {"source": "pairs.csv", "subject": "sender"},
        "evaluate": {"gates": {"psnr": ">= 15"}, "slices": ["digit"], "bootstrap": 100},
    },
    write_digits,
)
