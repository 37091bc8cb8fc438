"""Units as Ray tasks, on a local cluster of two nodes of which one is killed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xfm
from tests.alike import thorough
from tests.corpora.miniature import coco
from tests.corpora.preparing import preparation, prepared
from tests.executors.counting import Squares, done, squares
from tests.folders import content
from tests.refusals import expect_refusal
from xfm.corpora.prepare import prepare
from xfm.data.sources.shard_index import INDEX
from xfm.executors.executor import RayTasks

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A head that does no work, and a node with two cores."""
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    found.add_node(num_cpus=2)
    try:
        yield found
    finally:
        ray.shutdown()
        found.shutdown()


@pytest.fixture
def cluster(nodes: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same nodes for all tests, as the address that commands find."""
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    return nodes


@thorough
def test_what_a_unit_refuses_and_what_dies(cluster: Any, tmp_path: Path) -> None:
    """A unit whose process is killed is tried again; what it refuses is one sentence."""
    assert done(RayTasks(), squares(tmp_path, 12, Squares(deadly=3, deaths=2))) == [*range(12)]
    assert len([*tmp_path.glob("made/death-*")]) == 2
    with expect_refusal("number 13 is wrong"):
        done(RayTasks(), squares(tmp_path / "other", 20, Squares(wrong=13)))
    assert not ray.is_initialized()


@thorough
def test_a_node_that_is_killed_changes_nothing(cluster: Any, tmp_path: Path) -> None:
    """Twenty shards: one of two nodes is killed in the middle, and the bytes are those of one process."""
    source = coco(tmp_path / "coco", pictures=40)
    settings = {"max_side": 40, "duplicates": "alike"}
    prepared("coco", source, tmp_path / "one", **settings)
    asked = preparation("coco", source, tmp_path / "to", **settings)
    second = cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()

    class Losing(RayTasks):
        """Kills a node after some units of each pass."""

        killed = False

        def run(self, units, numbers, done):
            told: list[int] = []

            def then(number: int, mark: Any) -> None:
                told.append(number)
                if len(told) == 5 and not self.killed:
                    self.killed = True
                    cluster.remove_node(second, allow_graceful=False)
                done(number, mark)

            super().run(units, numbers, then)
            assert sorted(told) == [*numbers]
            assert not units.missing

    engine = Losing()
    assert prepare(asked, engine, progress=False) is not None
    assert engine.killed
    one, other = (content(tmp_path / name) for name in ("one", "to"))
    assert {name: one[name] for name in one if name != INDEX} == {n: other[n] for n in other if n != INDEX}


@pytest.fixture(scope="module")
def joined(nodes: Any) -> Iterator[None]:
    """This process has joined the cluster, so that its workers are there for several tests."""
    ray.init(nodes.address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@thorough
@pytest.mark.usefixtures("joined")
def test_ray_data_maps_a_column_pipeline(model: Path) -> None:
    """Made on a worker, once; bad rows are null, with a reason."""
    pytest.importorskip("ray.data")
    texts = ["a red square", None, "a blue square", "a green square"]
    items = [{"id": number, "said": text} for number, text in enumerate(texts)]
    made = {"task": "embed", "model": str(model), "columns": {"text": "said"}}
    how = {"fn_constructor_kwargs": made, "concurrency": 1, "batch_size": 2}
    mapped = ray.data.from_items(items).map_batches(xfm.ColumnPipeline, **how)
    rows = sorted(mapped.take_all(), key=lambda row: row["id"])
    expected = xfm.pipeline("embed", model)([text for text in texts if text])
    np.testing.assert_allclose([row["vector"] for row in rows if row["id"] != 1], expected, atol=1e-6)
    assert [row["error"] for row in rows] == [None, "the row has no text", None, None]
    assert rows[1]["vector"] is None
