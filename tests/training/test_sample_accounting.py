"""What was read is what became of it: trained on, bad, passed over, or of a step that was skipped."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.data.picture_kinds import base, saved
from tests.training.corpus import tiny_recipe, write_corpus
from tests.training.faults import unaccounted
from tests.training.support import logged
from xfm.config.data import Augmentation, CorpusConfig, StreamConfig
from xfm.config.recipe import Recipe
from xfm.data.schema import Batch, StreamReads, TextBatch, Tokens
from xfm.training.callbacks import SampleCounts
from xfm.training.checkpoint import checkpoint_path, read_state
from xfm.training.pretrain import pretrain

STEPS = 12


def recipe_of(corpus: Path, **training: object) -> Recipe:
    recipe = tiny_recipe(corpus, STEPS, **training)
    return replace(recipe, data=replace(recipe.data, caption_rows=False))


def counted(folder: Path, step: int = STEPS) -> dict[str, dict[str, int]]:
    """The counts after a step, which log and checkpoint agree on."""
    (line,) = [line for line in logged(folder) if line["step"] == step and "event" not in line]
    found = read_state(checkpoint_path(folder, step)).samples
    assert found == line["samples"]
    return {name: dict(counts) for name, counts in found.items()}


@pytest.fixture(scope="module")
def whole(spoiled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    pretrain(recipe_of(spoiled, save_every=4, keep=9), folder, progress=False)
    return folder


def test_they_close(whole):
    for step in (4, 8, STEPS):
        assert set(unaccounted(counted(whole, step)).values()) == {0}
    found = counted(whole)
    trained = {name: counts["trained"] for name, counts in found.items()}
    late = STEPS - STEPS // 3  # pictures come in the second phase
    assert trained == {"text": 4 * STEPS, "image": 2 * late, "pair": 4 * late, "region": 4 * late}
    assert found["text"]["read"] == 4 * STEPS
    assert all(found[name]["skipped"] > 0 for name in ("image", "pair", "region"))
    assert found["region"]["passed_over"] > 0
    assert not any(found[name]["passed_over"] for name in ("text", "image", "pair"))
    assert not any(counts["untrained"] for counts in found.values())


def test_a_run_that_goes_on_counts_as_one_that_was_not_stopped(spoiled, whole, tmp_path):
    """Steps that are done again count once."""
    folder = Path(shutil.copytree(whole, tmp_path / "run"))
    shutil.rmtree(checkpoint_path(folder, STEPS))
    shutil.rmtree(folder / "model")
    pretrain(recipe_of(spoiled, save_every=4, keep=9), folder, resume=True, progress=False)
    assert counted(folder) == counted(whole)


def test_steps_that_are_skipped(spoiled, tmp_path, monkeypatch):
    """Gradients that are no numbers: their samples are counted, as untrained."""
    real, calls = torch.nn.utils.clip_grad_norm_, list[int]()

    def broken(*words: object, **more: object) -> torch.Tensor:
        calls.append(1)
        norm = real(*words, **more)  # type: ignore[arg-type]
        return norm * float("nan") if len(calls) in (6, 9) else norm

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", broken)
    pretrain(recipe_of(spoiled, save_every=4), tmp_path / "run", progress=False)
    found = counted(tmp_path / "run")
    assert set(unaccounted(found).values()) == {0}
    sizes = {"text": 4, "image": 2, "pair": 4, "region": 4}
    assert {name: counts["untrained"] for name, counts in found.items()} == {
        name: 2 * size for name, size in sizes.items()
    }


COUNT = st.integers(0, 50)


@given(st.lists(st.tuples(st.booleans(), COUNT, COUNT, COUNT), max_size=8), st.integers(0, 8))
def test_sums_over_continuations(batches, stop):
    """However a run is cut in two, and whatever its steps do."""

    def batch(rows: int, skipped: int, passed_over: int) -> Batch:
        ids = torch.zeros(rows, 1, dtype=torch.long)
        text = TextBatch(Tokens(ids, ids.bool()), None)  # type: ignore[arg-type]
        reads = StreamReads("text", rows + skipped + passed_over, skipped, passed_over)
        return Batch(0, text=text, reads=(reads,))

    first, second, whole = SampleCounts(), SampleCounts(), SampleCounts()
    for number, (trained, *counts) in enumerate(batches):
        whole.add([batch(*counts)], trained)
        if number < stop:
            first.add([batch(*counts)], trained)
    second.resume(first.totals())
    for trained, *counts in batches[stop:]:
        second.add([batch(*counts)], trained)
    assert second.totals() == whole.totals()
    assert set(unaccounted(whole.totals()).values()) <= {0}
    trained = sum(rows for good, rows, *_ in batches if good)
    assert whole.totals().get("text", {"trained": 0})["trained"] == trained


def test_they_are_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    photos = corpus / "photos"
    photos.mkdir()
    whole = saved(base(96, 120), "JPEG", quality=90)
    for name, data in (("a.jpg", whole), ("b.jpg", whole[: len(whole) * 7 // 10]), ("c.jpg", b"")):
        (photos / name).write_bytes(data)
    recipe = tiny_recipe(corpus)
    stream = StreamConfig(2, [CorpusConfig(str(photos))], Augmentation.MILD)
    recipe = replace(recipe, data=replace(recipe.data, image=stream))
    with caplog.at_level(logging.WARNING):
        pretrain(recipe, tmp_path / "run", progress=False)
    events = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    partial = [event for event in events if event.get("event") == "partial_picture"]
    assert partial
    assert all("b.jpg" in event["key"] and "file ends early" in event["message"] for event in partial)
    said = [record.getMessage() for record in caplog.records]
    assert sum("used" in line and "b.jpg in part" in line for line in said) == 1
