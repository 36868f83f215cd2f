"""The Serve applications: one for each product, and one for the index."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from ray import serve
from ray.serve import Application, RunTarget
from ray.serve.config import AutoscalingConfig, BackpressureConfig
from ray.serve.schema import LoggingConfig
from starlette.applications import Starlette

from launchyard.kinds import get_kind
from launchyard.settings import Settings
from launchyard.spec.blocks import Product, StreamServe
from launchyard.threads import find_serving_device
from launchyard_serving.index import build_index
from launchyard_serving.replica.build import build_replica
from launchyard_serving.replica.model import WAITING_BATCHES, count_batch_rows

INDEX_NAME = "-index"
"""Name of the index application; no product can be called so."""

FLOOD_RETRY_S = 1.0
"""What a client is told to wait: the least that the header, in whole seconds, can say."""

LOGGING = LoggingConfig(log_level=logging.WARNING, enable_access_log=False)
"""Of Serve itself. A deployment has to be told too: else it makes a record of each request, and throws it away."""


def plan_applications(settings: Settings, specs: Mapping[str, Product]) -> list[RunTarget]:
    """Return the applications that serve the products in ``specs``, the index last."""
    targets = [
        RunTarget(bind_product(settings, spec), name=name, route_prefix=f"/{name}") for name, spec in specs.items()
    ]
    index = RunTarget(bind_index(list(specs)), name=INDEX_NAME, route_prefix="/")
    return [*targets, index]


def bind_product(settings: Settings, spec: Product) -> Application:
    """Return the application of one product: one deployment, so that a request takes one hop."""
    product, device = spec.product, find_serving_device(spec)

    def build() -> Starlette:
        return build_replica(settings, product, device)

    return bind_application(build, spec.product, gpus=device.gpus, **_scale(spec))


def bind_index(products: Sequence[str]) -> Application:
    """Return the application that lists ``products``."""

    def build() -> Starlette:
        return build_index(products)

    return bind_application(build, "index")


def _scale(spec: Product) -> dict[str, object]:
    """Return the options of a product's deployment that follow from its spec.

    The replica's own queue turns rows away first, with a problem document; Serve's bound is for floods of
    requests of which not even the bodies can be held.
    """
    replicas, serve = spec.serve.replicas, spec.serve
    batch_size = serve.max_streams if isinstance(serve, StreamServe) else count_batch_rows(get_kind(spec.kind), serve)
    ongoing = 2 * WAITING_BATCHES * batch_size
    options: dict[str, object] = {
        "max_ongoing_requests": ongoing,
        "max_queued_requests": ongoing,
        "backpressure_config": BackpressureConfig(status_code=429, retry_after_s=FLOOD_RETRY_S),
        "graceful_shutdown_timeout_s": spec.serve.timeout_s + 5,
    }
    if replicas.max > replicas.min:
        options["autoscaling_config"] = AutoscalingConfig(
            min_replicas=replicas.min, max_replicas=replicas.max, target_ongoing_requests=2 * batch_size
        )
    else:
        options["num_replicas"] = replicas.min
    return options


def bind_application(build: Callable[[], Starlette], name: str, *, gpus: float = 0.0, **options: object) -> Application:
    """Return the application that ``build`` makes in each replica, as one deployment called ``name``."""
    deployment = serve.deployment(serve.ingress(build)()).options(
        name=name,
        # Cores are shared by the threads that each model computes on; Ray's own count of them would only delay starts.
        ray_actor_options={"num_cpus": 0, "num_gpus": gpus},
        graceful_shutdown_wait_loop_s=0.1,
        logging_config=LOGGING,
        **options,
    )
    return deployment.bind()
