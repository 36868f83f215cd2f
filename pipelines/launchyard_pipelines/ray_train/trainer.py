"""Ray Train without the processes that only a cluster needs.

Beside its controller and its workers, Ray Train 2.60 starts a process each for the autoscaler's bookkeeping, for
placement groups that outlive their controller, and for Ray Data's shards of a training that has none. Each loads Ray
and pandas before the first step, about 2 s of a core. On a Ray that :func:`~launchyard_pipelines.local.ray.local_ray`
started nothing scales, nothing outlives the training, and rows travel by file.

What is replaced here is not part of Ray's public interface. A Ray that no longer asks for it trains with all its
processes.
"""

from __future__ import annotations

from typing import Any

from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy


class UnscaledPolicy(FixedScalingPolicy):
    """So many workers, from the beginning to the end; no autoscaler is told."""

    def _maybe_send_resource_request(self) -> None:
        """Tell nobody."""

    def _send_resource_request(self) -> None:
        """Tell nobody."""

    def _cancel_resource_request(self) -> None:
        """Take nothing back, since nobody was told."""


class LocalTrainer(TorchTrainer):
    """A trainer on a Ray that was started for it and ends with it; its workers read their rows from files."""

    def _create_default_callbacks(self) -> list[Any]:
        unneeded = (DatasetsCallback, PlacementGroupCleanerCallback)
        return [callback for callback in super()._create_default_callbacks() if not isinstance(callback, unneeded)]

    def _initialize_and_run_controller(self, **controller: Any) -> Any:
        scaling = UnscaledPolicy(scaling_config=self.scaling_config)
        return super()._initialize_and_run_controller(**controller | {"scaling_policy": scaling})
