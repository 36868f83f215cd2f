from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from launchyard.bundle.manifest import GateRecord
from launchyard.errors import BundleError
from launchyard.rollout.rules import Release
from launchyard.spec.blocks import Swap
from launchyard_serving.replica.follow import Follower
from launchyard_serving.replica.model import ServedModel


def make_release(version: int) -> Release:
    gate = GateRecord(evaluation_sha256="0" * 64, gates=())
    return Release(version=version, digest=f"{version:064d}", bundle_uri=f"bundles/{version:064d}", gate=gate)


@dataclass
class World:
    """A rollout record and the bundles that load, changed by the tests."""

    champion: Release | None = None
    broken: dict[int, Exception] = field(default_factory=dict)
    damaged: set[int] = field(default_factory=set)
    loaded: list[int] = field(default_factory=list)
    swap: Swap = "load-beside"
    unreadable: Exception | None = None
    retired: list[int] = field(default_factory=list)

    def find_champion(self) -> Release | None:
        if self.unreadable is not None:
            raise self.unreadable
        return self.champion

    def load(self, release: Release) -> ServedModel:
        self.loaded.append(release.version)
        if release.version in self.broken:
            raise self.broken[release.version]

        async def unload(*, patience_s: float) -> None:
            assert patience_s > 1
            self.retired.append(release.version)

        model = SimpleNamespace(release=release, retire=lambda: self.retired.append(release.version), unload=unload)
        return cast(ServedModel, model)

    def find_swap(self, release: Release) -> Swap:
        if release.version in self.damaged:
            raise BundleError("one byte differs")
        return self.swap


def follow(world: World, *steps: Any, retry_s: float = 60.0) -> Follower:
    """Return a follower that looked once after each of the steps, which change the world."""

    async def run() -> Follower:
        follower = Follower(world.find_champion, world.load, world.find_swap, retry_s)
        for step in steps:
            step()
            await follower.update()
        return follower

    return asyncio.run(run())


def release_version(world: World, version: int) -> Any:
    return lambda: setattr(world, "champion", make_release(version))


def nothing() -> None:
    """Change nothing."""


def version_of(follower: Follower) -> int | None:
    return follower.model.release.version if follower.model else None


def test_a_new_champion_replaces_the_model_and_is_loaded_once() -> None:
    world = World()

    follower = follow(world, release_version(world, 1), nothing, release_version(world, 2), nothing)

    assert version_of(follower) == 2
    assert world.loaded == [1, 2]
    assert world.retired == [1]
    assert follower.refusal is None


def test_a_model_is_let_go_of_when_the_replica_stops() -> None:
    world = World()

    follow(world, release_version(world, 1)).stop()

    assert world.retired == [1]


def test_a_rollback_is_followed_like_any_other_change() -> None:
    world = World()

    follower = follow(world, release_version(world, 2), release_version(world, 1))

    assert version_of(follower) == 1


def test_a_refused_champion_leaves_the_model_that_answers_and_says_why() -> None:
    world = World(broken={2: BundleError("model/model.safetensors was altered")})

    follower = follow(world, release_version(world, 1), release_version(world, 2))

    assert version_of(follower) == 1
    assert world.retired == []
    assert follower.refusal == "version 2 was refused: model/model.safetensors was altered"


def test_a_refused_champion_is_not_loaded_again_at_every_look() -> None:
    world = World(broken={1: BundleError("broken")})

    follow(world, release_version(world, 1), nothing, nothing)

    assert world.loaded == [1]


def test_a_mended_champion_is_tried_again_after_a_while() -> None:
    world = World(broken={1: BundleError("broken")})

    follower = follow(world, release_version(world, 1), world.broken.clear, retry_s=0.0)

    assert version_of(follower) == 1
    assert follower.refusal is None


def test_going_back_from_a_refused_champion_clears_the_refusal() -> None:
    world = World(broken={2: BundleError("broken")})

    follower = follow(world, release_version(world, 1), release_version(world, 2), release_version(world, 1))

    assert version_of(follower) == 1
    assert follower.refusal is None


def test_a_product_without_a_release_says_which_command_makes_one() -> None:
    follower = follow(World(), nothing)

    assert follower.model is None
    assert "launchyard run" in str(follower.refusal)


def test_an_unforeseen_fault_while_loading_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    world = World(broken={2: ZeroDivisionError("boom")})

    with caplog.at_level(logging.WARNING):
        follower = follow(world, release_version(world, 1), release_version(world, 2))

    assert version_of(follower) == 1
    assert "boom" in str(follower.refusal)
    assert "ZeroDivisionError" in caplog.text


def test_records_that_cannot_be_read_leave_the_model_that_answers() -> None:
    world = World()

    def lock_records() -> None:
        world.unreadable = BundleError("database is locked")

    follower = follow(world, release_version(world, 1), lock_records)

    assert version_of(follower) == 1
    assert "database is locked" in str(follower.refusal)


def test_a_model_that_does_not_fit_beside_the_old_one_is_loaded_after_it_has_gone() -> None:
    world = World(swap="unload-first")
    order: list[str] = []
    load = world.load

    def note_load(release: Release) -> ServedModel:
        order.append(f"load {release.version}, gone {world.retired}")
        return load(release)

    async def run() -> Follower:
        follower = Follower(world.find_champion, note_load, world.find_swap)
        for version in (1, 2):
            world.champion = make_release(version)
            await follower.update()
        return follower

    follower = asyncio.run(run())

    assert order == ["load 1, gone []", "load 2, gone [1]"]
    assert (version_of(follower), follower.swapping, follower.refusal) == (2, None, None)


def test_while_one_version_takes_the_others_place_the_follower_says_so() -> None:
    world = World(swap="unload-first")
    seen: list[tuple[int | None, str | None]] = []

    async def run() -> None:
        def look(release: Release) -> ServedModel:
            seen.append((version_of(follower), follower.swapping))
            return world.load(release)

        follower = Follower(world.find_champion, look, world.find_swap)
        for version in (1, 2):
            world.champion = make_release(version)
            await follower.update()

    asyncio.run(run())

    assert seen == [(None, None), (None, "version 2 takes the place of version 1")]


def test_a_version_that_is_refused_after_the_old_one_went_brings_that_one_back_and_is_not_tried_again() -> None:
    world = World(swap="unload-first", broken={2: BundleError("other answers")})

    follower = follow(world, release_version(world, 1), release_version(world, 2), nothing, nothing)

    assert version_of(follower) == 1
    assert world.loaded == [1, 2, 1]
    assert "version 2 was refused: other answers" in str(follower.refusal)


def test_a_damaged_version_is_refused_before_the_old_one_goes() -> None:
    world = World(swap="unload-first", damaged={2})

    follower = follow(world, release_version(world, 1), release_version(world, 2))

    assert (version_of(follower), world.loaded, world.retired) == (1, [1], [])
    assert "one byte differs" in str(follower.refusal)
