"""transformers' own pipelines on a folder of this package answer as its pipelines do, or are refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import xfm
import xfm.models.interop.transformers
from tests.inference.models import TASKS, pictures, save, texts, tuned
from xfm.config.labels import LabelKind
from xfm.models.folder import Pretrained, load_model


def theirs(task: str, folder: Path, **options: Any) -> Any:
    return transformers.pipeline(task, model=str(folder), device="cpu", **options)  # pyright: ignore


def with_task(kind: str, **changes: Any) -> Pretrained:
    """A tuned tiny model with another configuration of its task."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, kind, replace(TASKS[kind], **changes))
        return tuned(kind)


def assert_same(mine: list[Any], other: list[Any], name: str = "label") -> None:
    """The same labels in the same order, scores within 1e-5."""
    assert len(mine) == len(other)
    for one, two in zip(mine, other, strict=True):
        assert [row[name] for row in one] == [row[name] for row in two]
        np.testing.assert_allclose([r["score"] for r in one], [r["score"] for r in two], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"classes": 5, "labels": ()},  # whose names nobody gave
        {"classes": 1, "labels": ()},  # a regression
        {"label_kind": LabelKind.SEVERAL},
    ],
    ids=str,
)
def test_texts_and_pairs_are_classified_alike(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = save(tmp_path / "m", with_task("text-classification", **changes))
    ours, pipe = xfm.pipeline("text-classification", folder), theirs("text-classification", folder, top_k=5)
    said = [*texts(12), " ".join(texts(6, seed=3))]  # the last is longer than the model has positions
    assert_same(ours(said), pipe(said))
    pairs = [{"text": a, "text_pair": b} for a, b in zip(said, reversed(said), strict=True)]
    assert_same(ours(pairs), [pipe(pair) for pair in pairs])
    (best,) = theirs("text-classification", folder)(said[0])
    assert_same([ours(said[0], top_k=1)[:1]], [[best]])  # of several labels more may be chosen


@pytest.mark.parametrize(
    "changes", [{}, {"classes": 1, "labels": ()}, {"label_kind": LabelKind.SEVERAL}], ids=str
)
def test_pictures_are_classified_alike(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = save(tmp_path / "m", with_task("image-classification", **changes))
    ours, pipe = xfm.pipeline("image-classification", folder), theirs("image-classification", folder)
    shown = pictures(6)
    assert_same(ours(shown), pipe(shown))
    shown[0].save(tmp_path / "a.png")
    assert_same([ours(tmp_path / "a.png")], [pipe(str(tmp_path / "a.png"))])
    clear = shown[1].copy()  # as an array: of pictures and files transformers drops what is transparent
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    assert_same([ours(clear)], [pipe(np.array(clear))])


def test_masks_are_filled_alike(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", tuned(None))
    ours, pipe = xfm.pipeline("fill-mask", folder), theirs("fill-mask", folder)
    said = ["a <mask> square", "what colour is the <mask>"]
    assert_same([ours(text) for text in said], [pipe(text) for text in said], "token")


def test_pictures_are_classified_by_names_alike(tmp_path: Path) -> None:
    """Sentences are given as the model was trained to read them: in small letters without signs."""
    folder = save(tmp_path / "m", tuned(None))
    given = {
        "candidate_labels": ["red", "dark blue", "green"],
        "hypothesis_template": "this is a photo of {}",
    }
    ours = xfm.pipeline("zero-shot-image-classification", folder)
    pipe = theirs("zero-shot-image-classification", folder)
    shown = pictures(3)
    assert_same(ours(shown, **given), [pipe(one, **given) for one in shown])


def test_features_are_the_states_of_the_encoders(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", tuned(None))
    loaded = load_model(folder)
    tokens = loaded.tokenizer.encode_batch(["a red square"], 20)
    with torch.no_grad():
        expected = loaded.model.encode_text(tokens.ids, tokens.mask)
    np.testing.assert_allclose(theirs("feature-extraction", folder)("a red square"), expected, atol=1e-5)
    (found,) = theirs("image-feature-extraction", folder)(pictures(1))
    assert np.shape(found)[-1] == loaded.model.config.vision.width
