"""Running consortia of two and of three, made once; no process of a test may leave a traceback anywhere."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.scene import Scene, make_scene


@pytest.fixture(scope="session")
def _two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    scene = make_scene(tmp_path_factory.mktemp("two") / "home", ["bank", "shop"])
    with scene.running():
        yield scene


@pytest.fixture(scope="session")
def _three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    scene = make_scene(tmp_path_factory.mktemp("three") / "home", ["bank", "shop", "telco"])
    with scene.running():
        yield scene


@pytest.fixture
def two(_two: Scene) -> Iterator[Scene]:
    """bank (label) and shop, both up."""
    yield from _quiet(_two)


@pytest.fixture
def three(_three: Scene) -> Iterator[Scene]:
    """bank (label), shop and telco, all up."""
    yield from _quiet(_three)


def _quiet(scene: Scene) -> Iterator[Scene]:
    scene.all_up()
    yield scene
    assert scene.alarms() == []
