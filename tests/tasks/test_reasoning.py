from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.tasks.build import build
from xfm.errors import UserError
from xfm.modeling.folder import Pretrained
from xfm.tasks.reasoning import ReasoningTask
from xfm.tasks.rows import PicturePair


@pytest.fixture
def rows(tiny_world: Path) -> list[PicturePair]:
    return ReasoningTask.read(tiny_world / "tasks/reasoning/train.jsonl")


def logits_of(task: ReasoningTask, row: PicturePair) -> torch.Tensor:
    batch = task.collate([row])
    return task.module(batch.pixels, batch.tokens, batch.index)


def test_both_pictures_count_and_keep_their_sides(pretrained: Pretrained, rows: list[PicturePair]) -> None:
    task = build(ReasoningTask, pretrained, rows)
    first, last = rows[0], rows[-3]
    with torch.no_grad():
        logits = logits_of(task, first)
        for images in ((first.images[1], first.images[0]), (last.images[0], first.images[1])):
            other = logits_of(task, replace(first, images=images))
            assert not torch.allclose(logits, other, atol=1e-5)
        model, batch = task.module.model, task.collate([first])
        text = model.encode_text(batch.tokens.ids, batch.tokens.mask)
        left, right = (
            model.fuse(text, batch.tokens.mask, model.encode_image(batch.pixels[place]))[:, 0]
            for place in batch.index.t()
        )
        torch.testing.assert_close(logits, task.module.head(torch.cat([left, right], dim=-1)))


def test_sentences_about_shared_pictures_stand_together(
    pretrained: Pretrained, rows: list[PicturePair]
) -> None:
    alone = [replace(row, images=(row.images[0], row.images[0])) for row in rows]  # two sentences a picture
    task = build(ReasoningTask, pretrained, alone)
    for batch in task.batches(0, 6):
        assert len(batch.pixels) == 4


def test_one_picture_is_not_enough(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"images": ["a.jpg"], "text": "a", "label": true}\n')
    with pytest.raises(UserError, match=r"rows.jsonl:1: .*\"images\" is not a list of two pictures"):
        ReasoningTask.read(path)
