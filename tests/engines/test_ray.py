"""Units as Ray tasks, on a local cluster of two nodes of which one is killed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.alike import thorough
from tests.corpora.miniature import coco
from tests.corpora.preparing import preparation, prepared
from tests.engines.counting import Squares, done
from tests.folders import content
from tests.refusals import expect_refusal
from xfm.corpora.prepare import prepare
from xfm.data.sources.shard_index import INDEX
from xfm.engines.base import missing
from xfm.engines.ray_tasks import RayTasks

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head that does no work, and a node with two cores."""
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    found.add_node(num_cpus=2)
    monkeypatch.setenv("RAY_ADDRESS", found.address)
    try:
        yield found
    finally:
        ray.shutdown()
        found.shutdown()


def test_what_a_unit_refuses_and_what_dies(cluster: Any, tmp_path: Path) -> None:
    """A unit whose process is killed is tried again; what it refuses is one sentence."""
    units = Squares(tmp_path, deadly=3, deaths=2)
    assert done(RayTasks(), units, 12) == [*range(12)]
    assert len([*tmp_path.glob("death-*")]) == 2
    with expect_refusal("number 13 is wrong"):
        done(RayTasks(), Squares(tmp_path, wrong=13), 20)
    assert not ray.is_initialized()


@thorough
def test_a_node_that_is_killed_changes_nothing(cluster: Any, tmp_path: Path) -> None:
    """Forty shards: one of two nodes is killed in the middle, and the bytes are those of one process."""
    source = coco(tmp_path / "coco", pictures=80)
    settings = {"longest": 40, "duplicates": "alike"}
    prepared("coco", source, tmp_path / "one", **settings)
    asked = preparation("coco", source, tmp_path / "to", **settings)
    second = cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()

    class Losing(RayTasks):
        """Kills a node after some units of each pass."""

        killed = False

        def run(self, units, numbers, after):
            told: list[int] = []

            def then(number: int) -> None:
                told.append(number)
                if len(told) == 5 and not self.killed:
                    self.killed = True
                    cluster.remove_node(second, allow_graceful=False)
                after(number)

            super().run(units, numbers, then)
            assert sorted(told) == [*numbers]
            assert not missing(units, len(numbers))

    engine = Losing()
    assert prepare(asked, engine, progress=False) is not None
    assert engine.killed
    one, other = (content(tmp_path / name) for name in ("one", "to"))
    assert {name: one[name] for name in one if name != INDEX} == {n: other[n] for n in other if n != INDEX}


@thorough
def test_without_a_cluster_one_is_started_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert done(RayTasks(2), Squares(tmp_path), 6) == [*range(6)]


def test_a_cluster_that_is_not_there_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with expect_refusal("Ray cannot be reached or started", "RAY_ADDRESS"):
        done(RayTasks(), Squares(tmp_path), 3)
