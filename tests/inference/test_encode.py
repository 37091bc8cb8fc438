"""`xfm.load(...)`: vectors, similarities, matches beside the pipelines; the model that answers by default."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import xfm
from tests.alike import some
from tests.inference.models import inputs, pictures, texts
from tests.inference.support import Folders, close
from tests.refusals import expect_refusal
from xfm.config.tasks import task_specs
from xfm.inference.loading import LoadedModel
from xfm.models.folder import Pretrained
from xfm.models.shipped import DEFAULT


@pytest.fixture(scope="session")
def loaded(folders: Folders) -> LoadedModel:
    found = xfm.load(folders[None])
    assert isinstance(found, Pretrained)
    return found


def computed(module: nn.Module, where: int = 0) -> list[int]:
    """The sizes of the batches that a module will see."""
    seen: list[int] = []
    module.register_forward_hook(lambda _, given, __: seen.append(len(given[where])))
    return seen


def test_vectors_are_those_of_the_pipeline(loaded: LoadedModel) -> None:
    given = inputs("embed", 40)
    found = loaded.encode(given, batch_size=7)
    assert (found.shape, found.dtype) == ((40, loaded.model.config.projection), np.float32)
    close(found, xfm.pipeline("embed", loaded)(given))


WRITTEN = ["How do I reset it?", "how do i reset it", "Yes - to EVERY country!", "a " * 50 + "cat"]
"""As captions the first two would be one, and the last would end before the cat."""


def test_a_model_that_learned_vectors_of_texts_gives_them(folders: Folders) -> None:
    """Texts are read as its training read them, and what concerns pictures is said where there are some."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        own = xfm.load(folders["sentence-similarity"])
        found = own.encode(WRITTEN)
        pairs = [{"anchor": WRITTEN[0], "positive": text} for text in WRITTEN]
        cosines = [one["score"] for one in xfm.pipeline("sentence-similarity", own)(pairs)]
    close(cosines, own.similarity(WRITTEN[0], WRITTEN))
    with torch.no_grad():
        tokens = own.tokenizer.encode_batch(WRITTEN, 64)
        close(found, own.model.embed_text(tokens.ids, tokens.mask))
    for both in (own.encode, xfm.pipeline("embed", own)):
        with pytest.warns(
            UserWarning, match="sentence-similarity, on texts alone: their vectors are no longer"
        ):
            both(pictures(2))
    with pytest.warns(UserWarning, match="which may have changed the parts that image-text-matching uses"):
        own.match("a cat", pictures(1))


@settings(max_examples=15)
@given(order=st.lists(st.integers(0, 9), max_size=30), size=st.integers(1, 9))
def test_any_order_with_any_repeats_keeps_the_vectors(
    loaded: LoadedModel, order: list[int], size: int
) -> None:
    distinct = inputs("embed", 10, seed=3)
    alone = np.stack([loaded.encode(one) for one in distinct])
    found = loaded.encode([distinct[place] for place in order], batch_size=size)
    close(found, alone[order] if order else np.zeros((0, alone.shape[1])))


def test_what_comes_several_times_is_computed_once_and_long_texts_apart(folders: Folders) -> None:
    loaded = xfm.load(folders[None])
    said, shown = texts(6), pictures(3)
    read, seen = computed(loaded.model.text_proj), computed(loaded.model.vision)
    same = [{"text": said[0]}, shown[1].copy(), np.asarray(shown[1])]  # given otherwise
    found = loaded.encode([*said, *shown, *said, *shown, *same], batch_size=4)
    assert (read, seen) == ([4, 2], [3])
    close(found[9:18], found[:9])
    close(found[18:], [found[0], found[7], found[7]])


def test_similarity_is_the_cosine_of_inputs_or_vectors(loaded: LoadedModel) -> None:
    said, shown = texts(4), pictures(3)
    first, second = loaded.encode(said), loaded.encode(shown)
    expected = first @ second.T
    close(loaded.similarity(said, shown), expected)
    close(loaded.similarity(first * 3, torch.from_numpy(second)), expected)
    close(loaded.similarity([*first], shown), expected)
    close(loaded.similarity(said[1], shown), expected[1])
    close(loaded.similarity(said, second[2]), expected[:, 2])
    assert loaded.similarity(said, shown, tensors=True).shape == (4, 3)
    assert isinstance(loaded.similarity(said[0], shown[0]), float)
    close(loaded.similarity(said[0], shown[0]), expected[0, 0])
    assert loaded.similarity([], shown).shape == (0, 3)
    with expect_refusal("the second are numbers of shape [4, 7]", "or [N, "):
        loaded.similarity(said, np.zeros((4, 7), np.float32))


def test_matches_are_those_of_the_pipeline(loaded: LoadedModel) -> None:
    said, shown = texts(4), pictures(4)
    pipe = xfm.pipeline("image-text-matching", loaded)

    def asked(first: list[str], second: list[Any]) -> list[float]:
        pairs = zip(first, second, strict=True)
        return [pipe(text=text, image=picture)["score"] for text, picture in pairs]

    close(loaded.match(said, shown), asked(said, shown))
    close(loaded.match(said[0], shown), asked([said[0]] * 4, shown))
    one = loaded.match(said[0], shown[0])
    assert isinstance(one, float)
    close(one, asked(said[:1], shown[:1])[0])
    seen = computed(loaded.model.vision, 0)
    close(loaded.match(said, shown[0]), asked(said, [shown[0]] * 4))
    assert seen[0] == 1
    assert loaded.match([], []).shape == (0,)
    with expect_refusal("there are 4 texts, but 3 pictures"):
        loaded.match(said, shown[:3])
    with expect_refusal("input 1: text must be a text"):
        loaded.match(["a", 3], shown[0])


# ---------------------------------------------------------------- the model in the box
BY_DEFAULT: dict[str, dict[str, Any]] = {
    "embed": {"text": "a cat"},
    "image-text-matching": {"text": "a cat", "image": pictures(1)[0]},
    "fill-mask": {"text": "a <mask> cat"},
    "grounding": {"text": "a cat", "image": pictures(1)[0]},
    "sentence-similarity": {"anchor": "a cat", "positive": "a dog"},
    "retrieval": {"texts": ["a cat", "a dog"]},
    "zero-shot-image-classification": {"image": pictures(1)[0], "candidate_labels": ["a cat", "a dog"]},
}


@pytest.mark.parametrize("spec", some(task_specs(), 3), ids=lambda spec: spec.name)
def test_without_a_model_the_one_in_the_box_answers_and_says_so(
    spec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / DEFAULT).mkdir()  # a folder of that name is not it
    if not spec.uses:
        assert spec.name not in BY_DEFAULT
        with expect_refusal(f"xfm finetune {spec.name} --model {DEFAULT} --train FILE --out OUT"):
            xfm.pipeline(spec.name)
        return
    with pytest.warns(UserWarning, match=f"no model is named: {DEFAULT}, of the package") as said:
        pipe = xfm.pipeline(spec.name)
    assert len(said) == 1
    given = dict(BY_DEFAULT[spec.name])
    answer = pipe("a cat", **given) if spec.name == "retrieval" else pipe(**given)
    boxed = Path(xfm.__file__).parent / "models" / "shipped" / DEFAULT
    expected = xfm.pipeline(spec.name, xfm.load_model(boxed))
    again = expected("a cat", **given) if spec.name == "retrieval" else expected(**given)
    assert repr(answer) == repr(again)
