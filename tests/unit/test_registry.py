from __future__ import annotations

import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from typer.testing import CliRunner

from bundle_samples import PRODUCT, describe_bundle, make_evaluation, make_training, write_bundle, write_content
from launchyard.adapters.mlflow import MIRROR_TIMEOUT_S, Registry
from launchyard.bundle.manifest import open_bundle
from launchyard.bundle.store import BundleStore
from launchyard.cli.main import build_app
from launchyard.errors import BundleError, RegistryError
from launchyard.evaluation.figures import Series
from launchyard.evaluation.results import Measure
from launchyard.records.records import Records
from launchyard.rollout.change import release
from launchyard.settings import Settings
from launchyard_pipelines.run_events import EventReader
from launchyard_pipelines.steps.deploy import deploy

NAME = f"default.{PRODUCT}"


@pytest.fixture(scope="module")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One MLflow database for this module: building its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def client(mlflow_url: str) -> MlflowClient:
    client = MlflowClient(mlflow_url, mlflow_url)
    for model in client.search_registered_models():
        client.delete_registered_model(model.name)
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id]):
            client.delete_run(run.info.run_id)
    return client


@pytest.fixture
def settings(tmp_path: Path, mlflow_url: str, client: MlflowClient) -> Settings:
    return Settings(home=tmp_path / "home", tracking_url=mlflow_url)


def test_a_registered_bundle_is_shown_in_mlflow_with_all_that_led_to_it(
    settings: Settings, client: MlflowClient, tmp_path: Path
) -> None:
    registered = Registry(settings).register(write_bundle(tmp_path / "b"))

    assert (registered.version, registered.path) == (1, settings.bundles_dir / registered.digest)
    (mirrored,) = client.search_model_versions(f"name = '{NAME}'")
    run = client.get_run(mirrored.run_id)
    assert mirrored.source == registered.path.as_uri()
    assert run.info.status == "FINISHED"
    assert run.data.params["train.epochs"] == "3"
    assert run.data.params["data.label.bins"] == '{"bad?": [null, 0.0], "好": [0.0, null]}'
    assert run.data.metrics["test.accuracy"] == 0.9
    assert run.data.metrics["test.accuracy.low"] == pytest.approx(0.88)
    curve = client.get_metric_history(mirrored.run_id, "curve.loss")
    assert [(point.step, point.value) for point in curve] == [(1, 0.7), (2, 0.5)]
    assert run.data.tags["launchyard.fingerprint"] == "f1" * 32
    assert run.data.tags["launchyard.code_version"] == "0.1.0+abc"
    assert run.data.tags["launchyard.base_model"] == "pypi://tiny==1.0/tiny/model"


ODD_LABELS = (
    "https://help.example/refund",
    "https://help.example/login",
    "a//b",
    "../up",
    "/",
    "..",
    "can't",
    "can_t",
    "x" * 300,
    "x" * 301,
    "好" * 260,
    "🙂",
    "tab\tand\nline",
    " padded ",
    "low",
    "x.low",
    "x",
    "a[0]",
    "100%",
)


def test_every_label_has_its_own_metrics_and_curves_whatever_it_is_called(
    settings: Settings, client: MlflowClient, tmp_path: Path
) -> None:
    values = {f"f1[{label}]": number / 100 for number, label in enumerate(ODD_LABELS, start=10)}
    measures = {name: Measure(value=value, low=value / 2, high=0.9, n=9) for name, value in values.items()}
    curves = tuple(Series(name=f"validation_{name}", x=(1.0,), y=(value,)) for name, value in values.items())
    evaluation = make_evaluation(0.9)
    write_content(tmp_path / "b")
    (tmp_path / "b/evaluation.json").write_text(
        evaluation.model_copy(update={"metrics": {"validation": {}, "test": measures}}).model_dump_json()
    )
    (tmp_path / "b/training.json").write_text(make_training().model_copy(update={"curves": curves}).model_dump_json())
    describe_bundle(tmp_path / "b")

    Registry(settings).register(tmp_path / "b")

    (mirrored,) = client.search_model_versions(f"name = '{NAME}'")
    found = client.get_run(mirrored.run_id).data.metrics
    expected = [number for value in values.values() for number in (value, value / 2, 0.9, value)]
    assert sorted(found.values()) == pytest.approx(sorted(expected))
    assert found["test.f1.x"] == values["f1[x]"]
    assert found["test.f1.x.low"] == values["f1[x]"] / 2


def test_registering_again_adds_nothing(settings: Settings, client: MlflowClient, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")

    versions = [Registry(settings).register(bundle).version for _ in range(2)]

    assert versions == [1, 1]
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 1


def test_a_registration_that_was_cut_off_is_completed_by_repeating_it(
    settings: Settings, client: MlflowClient, tmp_path: Path
) -> None:
    bundle = write_bundle(tmp_path / "b")
    Records(settings).add_version(open_bundle(bundle), BundleStore(settings).add(bundle))

    registered = Registry(settings).register(bundle)

    assert registered.version == 1
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 1


def test_the_champion_alias_follows_the_rollout_record(
    settings: Settings, client: MlflowClient, tmp_path: Path
) -> None:
    registry = Registry(settings)
    for weights in (b"one", b"two"):
        version = registry.register(write_bundle(tmp_path / weights.decode(), weights=weights)).version
        release(settings, PRODUCT, version, actor="ann")
        assert registry.mirror_aliases(PRODUCT) is None

    champion = client.get_model_version_by_alias(NAME, "champion")

    assert champion.tags["launchyard.version"] == "2"


def test_promote_and_rollback_by_hand_bring_the_alias_along(
    settings: Settings, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUNCHYARD_HOME", str(settings.home))
    monkeypatch.setenv("LAUNCHYARD_TRACKING_URL", str(settings.tracking_url))
    for weights in (b"one", b"two"):
        Registry(settings).register(write_bundle(tmp_path / weights.decode(), weights=weights))
    champions = []

    for arguments in (["promote", PRODUCT, "1"], ["promote", PRODUCT], ["rollback", PRODUCT]):
        CliRunner().invoke(build_app(), arguments, catch_exceptions=False)
        champions.append(client.get_model_version_by_alias(NAME, "champion").tags["launchyard.version"])

    assert champions == ["1", "2", "1"]


def test_while_mlflow_refuses_connections_promote_succeeds_and_status_brings_the_alias_up_later(
    settings: Settings, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUNCHYARD_HOME", str(settings.home))
    Registry(settings).register(write_bundle(tmp_path / "b"))
    started_s = time.monotonic()

    # A port that nobody listens on: each connection is refused.
    monkeypatch.setenv("LAUNCHYARD_TRACKING_URL", "http://127.0.0.1:1")
    promoted = CliRunner().invoke(build_app(), ["promote", PRODUCT], catch_exceptions=False)
    asked = CliRunner().invoke(build_app(), ["status", PRODUCT], catch_exceptions=False)
    waited_s = time.monotonic() - started_s

    for result in (promoted, asked):
        assert result.exit_code == 0
        assert f"warning: MLflow does not show yet what serves {PRODUCT}: LAUNCHYARD_TRACKING_URL" in result.stderr
        assert "The next promote, rollback, deploy or status tells it." in result.stderr
    assert "version 1 serves" in promoted.stdout
    assert waited_s < MIRROR_TIMEOUT_S
    with pytest.raises(MlflowException, match="alias champion not found"):
        client.get_model_version_by_alias(NAME, "champion")

    monkeypatch.setenv("LAUNCHYARD_TRACKING_URL", settings.mlflow_url)
    repaired = CliRunner().invoke(build_app(), ["status"], catch_exceptions=False)

    assert repaired.stderr == ""
    assert client.get_model_version_by_alias(NAME, "champion").tags["launchyard.version"] == "1"
    assert Records(settings).list_unmirrored() == []


def test_the_deploy_step_succeeds_while_mlflow_refuses_connections_and_says_what_is_behind(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUNCHYARD_HOME", str(settings.home))
    monkeypatch.setenv("LAUNCHYARD_RUN_DIR", str(tmp_path))
    monkeypatch.setenv("LAUNCHYARD_TRACKING_URL", "http://127.0.0.1:1")
    bundle = write_bundle(tmp_path / "b")
    Records(settings).add_version(open_bundle(bundle), BundleStore(settings).add(bundle))

    deploy(PRODUCT, 1, "run-1")

    ended = EventReader(tmp_path).read_new()[-1]
    assert (ended.type, ended.message) == ("succeeded", "version 1 is the champion")
    assert "MLflow does not show yet" in ended.data["warnings"][0]
    rollout = Records(settings).find_rollout(PRODUCT)
    assert rollout is not None and rollout.champion is not None
    assert rollout.champion.version == 1


def test_an_alias_is_mirrored_even_after_mlflow_lost_the_version(
    settings: Settings, client: MlflowClient, tmp_path: Path
) -> None:
    registry = Registry(settings)
    registry.register(write_bundle(tmp_path / "b"))
    client.delete_registered_model(NAME)

    release(settings, PRODUCT, 1, actor="ann")
    registry.mirror_aliases(PRODUCT)

    assert client.get_model_version_by_alias(NAME, "champion").tags["launchyard.version"] == "1"


def test_a_model_that_its_gates_refused_is_not_registered(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no passing gate record"):
        Registry(settings).register(write_bundle(tmp_path / "b", accuracy=0.5))

    assert Records(settings).list_products() == []


def test_a_bundle_of_another_namespace_is_refused(settings: Settings, tmp_path: Path) -> None:
    other = settings.model_copy(update={"namespace": "other"})

    with pytest.raises(RegistryError, match="made for namespace 'default', this is 'other'"):
        Registry(other).register(write_bundle(tmp_path / "b"))


def test_an_mlflow_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    not_a_database = tmp_path / "mlflow.db"
    not_a_database.write_text("no rows here" * 1000)
    settings = Settings(home=tmp_path / "home", tracking_url=f"sqlite:///{not_a_database}")

    with pytest.raises(RegistryError, match=r"LAUNCHYARD_TRACKING_URL: MLflow failed: .*file is not a database"):
        Registry(settings).register(write_bundle(tmp_path / "b"))
