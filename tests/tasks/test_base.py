"""Order of rows, pictures, rows of files, settings."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2

from tests.evaluation.tiny import tiny_pretrained
from tests.tasks.build import build
from xfm.config.finetune import FinetuneConfig
from xfm.core.errors import UserError
from xfm.data.images import load_image
from xfm.finetuning.tuning_run import tune
from xfm.models.folder import Preprocessing, Pretrained
from xfm.tasks.base import seeded
from xfm.tasks.grounding import GroundingTask
from xfm.tasks.image_classification import ImageClassificationTask
from xfm.tasks.images import Pictures
from xfm.tasks.sampling import RowOrder, TrainingRows, components
from xfm.tasks.vqa import VqaTask
from xfm.tasks.world_files import read_captioned, read_masked


@given(
    st.lists(st.one_of(st.none(), st.integers(0, 4)), min_size=1, max_size=20),
    st.integers(0, 50),
    st.integers(1, 4),
)
@settings(max_examples=40, deadline=None)
def test_every_epoch_is_a_permutation_that_keeps_groups_together(
    groups: list[int | None], position: int, per_group: int
) -> None:
    count = len(groups)
    order = RowOrder(groups, 3, per_group).at(0, 3 * count)
    for epoch in range(3):
        assert sorted(order[epoch * count : (epoch + 1) * count]) == list(range(count))
    whole = RowOrder(groups, 3, per_group).at(0, position + 10)
    assert RowOrder(groups, 3, per_group).at(position, 10) == whole[position:]
    sizes = Counter(group for group in groups if group is not None)
    for group, size in sizes.items():
        places = [p for p, row in enumerate(order[:count]) if groups[row] == group]
        breaks = sum(later != earlier + 1 for earlier, later in pairwise(places))
        assert breaks <= -(-size // per_group) - 1


def test_components_connect_what_rows_share() -> None:
    found = components([("a", "b"), ("c", "d"), ("b", "e"), ("f", "f"), ("d", "c")])
    assert found["a"] == found["b"] == found["e"]
    assert found["c"] == found["d"]
    assert len({found[thing] for thing in "acf"}) == 3


def test_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        RowOrder([], 0, 1)


@given(st.integers(1, 9), st.integers(1, 3), st.integers(1, 3), st.integers(1, 20), st.integers(0, 9))
def test_the_parts_of_a_batch_are_the_batch(
    rows: int, accumulation: int, world: int, more: int, step: int
) -> None:
    """Whatever the processes and the parts of each: in the order of the ranks, none empty."""
    size, order = accumulation * world + more, RowOrder([None] * rows, 1, 1)
    parts = [
        TrainingRows(range(rows), order, size, 1, accumulation, rank, world)(step * accumulation + micro)
        for rank in range(world)
        for micro in range(accumulation)
    ]
    (whole,) = {tuple(one.batch) for one in parts}
    assert [row for one in parts for row in one.rows] == list(whole) == order.at(step * size, size)
    assert {len(one.rows) for one in parts} <= {size // len(parts), -(-size // len(parts))}
    seeds = [one.seed_of(place) for one in parts for place in range(len(one.rows))]
    alone = TrainingRows(range(rows), order, size, 1)(step)
    assert seeds == [alone.seed_of(place) for place in range(size)]
    assert len(set(seeds)) == size


def test_a_batch_of_fewer_rows_than_parts_is_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        TrainingRows(range(9), RowOrder([None] * 9, 0, 1), 5, 0, 2, 0, 3)


def test_batches_continue_anywhere(pretrained: Pretrained, tiny_world: Path) -> None:
    rows = GroundingTask.read(tiny_world / "tasks/grounding/train.jsonl")
    task = build(GroundingTask, pretrained, rows, batch_size=5)
    whole, later = list(task.batches(0, 9)), list(task.batches(6, 9))
    for ours, theirs in zip(whole[6:], later, strict=True):
        assert torch.equal(ours.boxes, theirs.boxes)
        assert torch.equal(ours.pixels[ours.image_index], theirs.pixels[theirs.image_index])


def test_fine_tuning_follows_from_the_seed(tiny_world: Path) -> None:
    losses = []
    for _ in range(2):
        pretrained = tiny_pretrained()
        rows = GroundingTask.read(tiny_world / "tasks/grounding/train.jsonl")
        task = build(GroundingTask, pretrained, rows, batch_size=4)
        losses.append(tune(task, FinetuneConfig(steps=4, batch_size=4)).losses)
        torch.rand(5)
    assert losses[0] == losses[1]


def test_training_mode_is_restored_after_prediction(pretrained: Pretrained, tiny_world: Path) -> None:
    rows = GroundingTask.read(tiny_world / "tasks/grounding/train.jsonl")
    task = build(GroundingTask, pretrained, rows)
    task.module.train()
    first = task.predict(rows, batch_size=5)
    assert task.module.training
    torch.testing.assert_close(torch.tensor(first), torch.tensor(task.predict(rows)), atol=5e-3, rtol=0)


def test_seeded_draws_leave_the_state_alone() -> None:
    before = torch.get_rng_state()
    with seeded(5):
        first = torch.rand(3)
    assert torch.equal(before, torch.get_rng_state())
    with seeded(5):
        assert torch.equal(first, torch.rand(3))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = torch.randint(0, 255, (3, 50, 40), dtype=torch.uint8)
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_pixels_are_those_of_evaluation(picture: Path) -> None:
    preprocessing = Preprocessing(32)
    found = Pictures(preprocessing).pixels([picture])
    resize = v2.Resize((32, 32), interpolation=v2.InterpolationMode.BICUBIC, antialias=True)
    reference = resize(load_image(picture))[None] / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (preprocessing.mean, preprocessing.std))
    torch.testing.assert_close(found, (reference - mean) / std, atol=0.02, rtol=0)


def test_pictures_are_read_once_while_they_fit(picture: Path) -> None:
    roomy, tight = Pictures(Preprocessing(8)), Pictures(Preprocessing(8), limit=100)
    before = [store.pixels([picture, picture]) for store in (roomy, tight)]
    assert (len(roomy), len(tight)) == (1, 0)
    picture.unlink()
    assert torch.equal(before[0], roomy.pixels([picture, picture]))
    with pytest.raises(UserError, match=r"a.png"):
        tight.pixels([picture])


def test_distinct_pictures(picture: Path, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (9, 9, 9)).save(tmp_path / "b.png")
    store = Pictures(Preprocessing(8))
    paths = [tmp_path / "b.png", picture, tmp_path / "b.png"]
    pixels, index = store.distinct(paths)
    assert index.tolist() == [0, 1, 0]
    assert torch.equal(pixels[index], store.pixels(paths))


def test_missing_fields_are_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"image": "a.png"}\n')
    for read, field in (
        (read_captioned, "caption"),
        (read_masked, "caption"),
        (ImageClassificationTask.read, "label"),
        (VqaTask.read, "question"),
    ):
        with pytest.raises(UserError, match=f"rows.jsonl:1: .*'{field}'.*build the world again"):
            read(path)


def test_kind_and_distractors_are_optional(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"image": "a.png", "question": "what?", "answer": "it", "caption": "c"}\n')
    assert VqaTask.read(path)[0].kind == "all"
    assert read_captioned(path)[0].distractors == ()
