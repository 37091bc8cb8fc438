"""Features of pictures are the encoder's."""

from pathlib import Path

import numpy as np
import torch

from tests.evaluation.tiny import COLOURS, draw, tiny_pretrained
from xfm.config.probing import FrozenConfig
from xfm.config.training import Precision
from xfm.data.skipped import SkippedRecords
from xfm.finetuning.frozen_features import frozen_image_features
from xfm.tasks.images import TaskImages
from xfm.tasks.rows import Labelled


def test_features_are_slot_0_of_the_encoder(tmp_path: Path) -> None:
    pretrained, names, rows = tiny_pretrained(), [*COLOURS], list[Labelled]()
    for number in range(8):
        path = tmp_path / f"{number}.png"
        draw(names[number % 4], names[(number + 1) % 4], number).save(path)
        rows.append(Labelled(path, names[number % 4]))
    config = FrozenConfig(batch_size=3, precision=Precision.FP32, device="cpu")
    vision, device = pretrained.model.vision.eval(), torch.device("cpu")
    left_out = SkippedRecords()
    found = frozen_image_features(vision, pretrained.preprocessing, config, device, rows, "test", left_out)
    pixels = TaskImages(pretrained.preprocessing).pixels([row.image for row in rows])
    with torch.no_grad():
        expected = pretrained.model.vision(pixels)[:, 0]
    np.testing.assert_allclose(found.features, expected.numpy(), atol=1e-5)
    assert found.labels.tolist() == [row.label for row in rows]
    rows[4].image.write_bytes(b"broken")
    found = frozen_image_features(vision, pretrained.preprocessing, config, device, rows, "test", left_out)
    assert (len(found.features), left_out.by_split) == (7, {"test": 1})
