from __future__ import annotations

from pathlib import Path

import pytest

from launchyard.errors import RegistryError
from launchyard.settings import Settings
from launchyard.threads import count_serving_threads
from launchyard_serving.session.products import read_served_specs
from serving_samples import PRODUCT, deploy_bundle, make_spec, write_bundle


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Two deployed products."""
    folder = tmp_path_factory.mktemp("products")
    settings = Settings(home=folder / "home")
    for name in (PRODUCT, "churn"):
        spec = make_spec(name, max_batch_size=7)
        deploy_bundle(settings, folder / name, write_bundle(folder / name, spec))
    return settings


def test_without_names_everything_that_was_deployed_is_served_as_its_spec_says(settings: Settings) -> None:
    specs = read_served_specs(settings, [])

    assert set(specs) == {PRODUCT, "churn"}
    assert specs["churn"].serve.max_batch_size == 7


def test_named_products_are_served_and_no_other(settings: Settings) -> None:
    assert set(read_served_specs(settings, ["churn"])) == {"churn"}


def test_a_product_that_was_never_deployed_names_the_command_and_the_known_ones(settings: Settings) -> None:
    with pytest.raises(RegistryError, match=r"reviews: was never deployed.*launchyard run.*churn"):
        read_served_specs(settings, ["churn", "reviews"])


def test_an_empty_home_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="launchyard run"):
        read_served_specs(Settings(home=tmp_path), [])


@pytest.mark.parametrize(
    ("cpus", "replicas", "threads"), [(None, 1, 8), (None, 3, 2), (2.5, 1, 2), (64, 1, 8), (0.5, 1, 1)]
)
def test_serving_threads_follow_the_spec_within_the_cores_there_are(
    monkeypatch: pytest.MonkeyPatch, cpus: float | None, replicas: int, threads: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    spec = make_spec(replicas={"min": replicas, "max": replicas})
    serve = spec.resources.serve.model_copy(update={"cpus": cpus})
    spec = spec.model_copy(update={"resources": spec.resources.model_copy(update={"serve": serve})})

    assert count_serving_threads(spec) == threads
