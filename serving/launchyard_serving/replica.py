"""What one replica of a product runs, put together; knows nothing of Ray."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from starlette.applications import Starlette

from launchyard.bundle_store import BundleStore
from launchyard.identity import IdentitySigner
from launchyard.record_tables import SERVING_WAIT_S
from launchyard.records import Records
from launchyard.rollout import Release
from launchyard.settings import Settings
from launchyard_serving.follow import Follower
from launchyard_serving.ingress import ProductEndpoint
from launchyard_serving.model import ModelLoader


def build_replica(settings: Settings, product: str, *, threads: int) -> Starlette:
    """Return the ASGI application of ``product``, which follows its rollout record while it runs.

    Args:
        settings: Where records and bundles are.
        product: The product, whose routes are relative to where the application is mounted.
        threads: CPU threads that one forward pass computes on.
    """
    records = Records(settings, wait_s=SERVING_WAIT_S)
    loader = ModelLoader(
        settings=settings,
        store=BundleStore(settings),
        prediction_executor=ThreadPoolExecutor(1, "predict"),
        explanation_executor=ThreadPoolExecutor(1, "explain"),
        threads=threads,
    )

    def find_champion() -> Release | None:
        rollout = records.find_rollout(product)
        return rollout.champion if rollout else None

    follower = Follower(find_champion, loader.load)
    signer = IdentitySigner(records.get_signing_key(), namespace=settings.namespace, product=product)
    return ProductEndpoint(product, follower, signer, records).build_app()
