"""What one replica of a product runs, put together; knows nothing of Ray."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

from starlette.applications import Starlette

from launchyard.bundle.store import BundleStore
from launchyard.contract.feedback import FeedbackRules
from launchyard.contract.predictor import Device
from launchyard.kinds import get_kind
from launchyard.privacy.pseudonyms import IdentitySigner
from launchyard.records.records import Records
from launchyard.records.tables import SERVING_WAIT_S
from launchyard.rollout.rules import Release
from launchyard.settings import Settings
from launchyard_serving.ingress import ProductEndpoint
from launchyard_serving.replica.follow import Follower
from launchyard_serving.replica.logs import make_logs_printable
from launchyard_serving.replica.model import ModelLoader

RULES_TO_KEEP = 64
"""Versions whose rules of feedback are in memory, for answers of versions that serve no longer."""


def build_replica(settings: Settings, product: str, device: Device) -> Starlette:
    """Return the ASGI application of ``product``, which follows its rollout record while it runs.

    Args:
        settings: Where records and bundles are.
        product: The product, whose routes are relative to where the application is mounted.
        device: What each of its models computes on.
    """
    make_logs_printable()
    records = Records(settings, wait_s=SERVING_WAIT_S)
    store = BundleStore(settings)
    loader = ModelLoader(
        settings=settings,
        store=store,
        prediction_executor=ThreadPoolExecutor(1, "predict"),
        explanation_executor=ThreadPoolExecutor(1, "explain"),
        device=device,
    )

    def find_champion() -> Release | None:
        rollout = records.find_rollout(product)
        return rollout.champion if rollout else None

    @lru_cache(RULES_TO_KEEP)
    def load_rules(version: int) -> FeedbackRules:
        """Return what may be said about the answers of a version."""
        record = records.get_version(product, version)
        return get_kind(record.kind).load_feedback_rules(store.find_path(record.bundle_uri))

    follower = Follower(find_champion, loader.load, loader.find_swap)
    signer = IdentitySigner(records.get_signing_key(), namespace=settings.namespace, product=product)
    return ProductEndpoint(product, follower, signer, records, load_rules).build_app()
