"""Which products a server serves, and how their specs want them served."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from launchyard.bundle.manifest import read_spec
from launchyard.bundle.store import BundleStore
from launchyard.errors import RegistryError, ServerError
from launchyard.records.records import opening_records
from launchyard.rollout.rules import Release
from launchyard.settings import Settings
from launchyard.spec.blocks import Product
from launchyard.threads import count_gpus


def read_served_specs(settings: Settings, products: Sequence[str]) -> dict[str, Product]:
    """Return name -> spec of the champion of each of ``products``, or of all that have a champion.

    Raises:
        RegistryError: one of them (or nothing at all) was never deployed; the message says which command does it.
        BundleError: a champion's spec cannot be read.
    """
    with opening_records(settings) as records:
        champions = {
            record.product: record.champion for record in records.list_rollouts() if record.champion is not None
        }
    store = BundleStore(settings)
    chosen = _choose(champions, products)
    return {name: read_spec(store.find_path(release.bundle_uri)) for name, release in chosen.items()}


def count_serving_gpus(specs: Iterable[Product]) -> int:
    """Return the GPUs that the replicas of all products need at least; shares of several are put on one.

    Raises:
        ServerError: this machine has fewer.
    """
    shares = [spec.resources.serve.gpus for spec in specs for _ in range(spec.serve.replicas.min)]
    needed = math.ceil(sum(shares))
    if needed and needed > (found := count_gpus()):
        raise ServerError(
            f"resources.serve.gpus: the replicas of these products need {needed}, {found} found on this machine. "
            "Serve fewer products, or set resources.serve.gpus and resources.evaluate.gpus to 0 and run again."
        )
    return needed


def _choose(champions: dict[str, Release], products: Sequence[str]) -> dict[str, Release]:
    for name in products:
        if name not in champions:
            known = f" Deployed: {', '.join(champions)}." if champions else ""
            raise RegistryError(
                f"{name}: was never deployed, there is no rollout record of it. "
                f"Run 'launchyard run PATH' on its spec first.{known}"
            )
    if not champions:
        raise RegistryError("serve: no product was deployed yet. Run 'launchyard run PATH' on a spec first.")
    return {name: champions[name] for name in products} if products else champions
