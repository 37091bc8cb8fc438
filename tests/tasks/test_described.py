"""Retrieval and captioning: pictures with one or several captions."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.tasks.build import build
from xfm.config.finetune import FinetuneConfig
from xfm.data.schema import Tokens
from xfm.data.tokenizer import normalise_caption
from xfm.finetuning.tuning_run import tune
from xfm.metrics.captions import word_f1
from xfm.metrics.recalls import Rule, own_captions, ranks_of_best_positive
from xfm.models.features import Encoder, encode_images, encode_texts
from xfm.models.folder import Pretrained
from xfm.objectives.contrast import multi_positive_loss
from xfm.objectives.tokens import sequence_losses, smoothed_losses
from xfm.tasks.captioning import CaptioningTask
from xfm.tasks.ranking import rank
from xfm.tasks.retrieval import SHORTLIST, Ranks, RetrievalBatch, RetrievalTask, owners, right_pairs
from xfm.tasks.rows import ImageCaptions


@pytest.fixture
def rows(tiny_world: Path) -> list[ImageCaptions]:
    """Twelve pictures; the first has two captions."""
    found = RetrievalTask.read(tiny_world / "tasks/retrieval/validation.jsonl")
    return [replace(found[0], captions=(*found[0].captions, "it is where")), *found[1:]]


# ---------------------------------------------------------------- rows
def test_rows_of_one_picture_are_put_together() -> None:
    a, b = Path("a.png"), Path("b.png")
    merged = RetrievalTask.merge(
        [ImageCaptions(a, ("one",)), ImageCaptions(b, ("two",)), ImageCaptions(a, ("three", "one"))]
    )
    assert merged == [ImageCaptions(a, ("one", "three")), ImageCaptions(b, ("two",))]


def test_an_epoch_shows_every_caption_once(pretrained: Pretrained, rows: list[ImageCaptions]) -> None:
    task = build(RetrievalTask, pretrained, rows, batch_size=13)
    (batch,) = task.batches(0, 1)
    assert len(batch.tokens.ids) == 13
    assert len({tuple(ids) for ids in batch.tokens.ids.tolist()}) == 13
    assert sorted(Counter(batch.identity.tolist()).values()) == [1] * 11 + [2]
    later = list(task.batches(0, 4))[3]
    assert torch.equal(later.tokens.ids, next(task.batches(3, 4)).tokens.ids)


# ---------------------------------------------------------------- retrieval
FIRST_TWO = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
"""Of three pairs, the first two are right answers for one another."""


@torch.no_grad()
def contrast(task: RetrievalTask, batch: RetrievalBatch, positive: torch.Tensor) -> torch.Tensor:
    """The contrastive loss of pairs of which these are right."""
    model = task.module.model
    cosines = model.embed_image(batch.pixels) @ model.embed_text(batch.tokens.ids, batch.tokens.mask).t()
    return multi_positive_loss(cosines / model.temperature, positive)


def test_captions_of_a_picture_are_positives_of_each_other(
    pretrained: Pretrained, rows: list[ImageCaptions]
) -> None:
    task = build(RetrievalTask, pretrained, rows)
    pairs = [pair for pair in task.cases if pair.image in (rows[0].image, rows[1].image)]
    assert len(pairs) == 3
    batch = task.collate(pairs)
    losses = task.loss(batch, torch.Generator().manual_seed(0))
    torch.testing.assert_close(losses.terms["itc"].detach(), contrast(task, batch, FIRST_TWO))
    torch.testing.assert_close(losses.total, losses.terms["itc"] + losses.terms["itm"])


def test_retrieval_learns(pretrained: Pretrained, rows: list[ImageCaptions]) -> None:
    task = build(RetrievalTask, pretrained, rows)
    before = task.metrics(rows, task.predict(rows))
    tune(task, FinetuneConfig(steps=150, batch_size=8, lr=3e-3))
    after = task.metrics(rows, task.predict(rows))
    assert after["mean_r1"] > max(0.6, before["mean_r1"] + 0.2)
    chance = task.chance(rows, 0)
    assert chance.keys() == after.keys()
    assert chance["text_r10"] > chance["text_r1"] == pytest.approx((2 / 13 + 11 / 13) / 12, rel=0.01)


def test_recalls_from_ranks(pretrained: Pretrained, rows: list[ImageCaptions]) -> None:
    task = build(RetrievalTask, pretrained, rows)
    ranks = [
        Ranks(0, (0, 7), 0, (0, 0), "", Path("a")),
        Ranks(4, (12,), 0, (12,), "", Path("a")),
    ]
    found = task.metrics(rows[:2], ranks)
    assert found["text_r1"] == 0.5
    assert found["text_r5"] == found["text_r1_rerank"] == 1.0
    assert found["image_r1"] == found["image_r5"] == pytest.approx(1 / 3)
    assert found["image_r10"] == pytest.approx(2 / 3)
    assert found["mean_r1_rerank"] == pytest.approx((1 + 2 / 3) / 2)
    assert owners(rows[:2]).tolist() == [0, 0, 1]


def test_predictions_are_the_evaluation_in_memory(pretrained: Pretrained, rows: list[ImageCaptions]) -> None:
    task = build(RetrievalTask, pretrained, rows)
    found = task.predict(rows, batch_size=5)
    captions = [caption for row in rows for caption in row.captions]
    encoder = Encoder(task.module.model, task.tokenizer, task.settings.precision)
    images = encode_images(encoder, [task.pictures.pixels([row.image for row in rows])], len(rows))
    texts = encode_texts(encoder, captions, task.settings.max_tokens)
    text, image = rank(encoder, images, texts, own_captions(owners(rows), len(rows)), SHORTLIST)
    assert [one.text_reranked for one in found] == text.ranks[Rule.RERANK].tolist()
    assert [n for one in found for n in one.image_reranked] == image.ranks[Rule.RERANK].tolist()
    assert [one.text for one in found] == text.ranks[Rule.CONTRAST].tolist()
    assert [one.best_text for one in found] == [captions[place] for place in text.order[:, 0]]


# ---------------------------------------------------------------- captioning
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_label_smoothing_is_torchs(smoothing: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 11, generator=generator)
    ids = torch.randint(0, 11, (3, 5), generator=generator)
    mask = torch.arange(5) < torch.tensor([5, 3, 4])[:, None]
    tokens = Tokens(ids, mask)
    loss, right = smoothed_losses(logits, tokens, smoothing)
    real = mask[:, 1:]
    expected = F.cross_entropy(logits[real], ids[:, 1:][real], label_smoothing=smoothing)
    torch.testing.assert_close(loss, expected)
    assert float(right) == pytest.approx(float((logits.argmax(-1) == ids[:, 1:])[real].float().mean()))
    if not smoothing:
        torch.testing.assert_close(loss, sequence_losses(logits, tokens).sum() / real.sum())


def test_a_prompt_is_given_and_not_learned(pretrained: Pretrained, rows: list[ImageCaptions]) -> None:
    """The loss is that of the caption's own tokens after the prompt."""
    task = build(CaptioningTask, pretrained, rows, label_smoothing=0.0, prompt="A picture of", max_tokens=20)
    with torch.no_grad():
        batch = task.collate(rows[:3])
        first = task.tokenizer.encode_lists(["a picture of"], 100)[0][0][1:-1]
        given = len(first)
        assert all(row[1 : 1 + given] == list(first) for row in batch.caption.ids.tolist())
        found = float(task.loss(batch, torch.Generator()).total)
        logits = task.module(batch.pixels, batch.caption, batch.image_index).float()
        targets, real = batch.caption.ids[:, 1:], batch.caption.mask[:, 1:].clone()
        real[:, :given] = False
        expected = F.cross_entropy(logits[:, :-1][real], targets[real])
    assert found == pytest.approx(float(expected), rel=1e-5)
    assert task.module.task.prompt == "a picture of"


@pytest.mark.parametrize(
    ("reference", "written", "score"),
    [("a red cat", "A red cat.", 1.0), ("a red cat", "", 0.0), ("a a b", "a c", 0.4), ("x", "y", 0.0)],
)
def test_words_that_agree(reference: str, written: str, score: float) -> None:
    assert word_f1(reference, written) == pytest.approx(score)
    assert word_f1(written, reference) == pytest.approx(score)


def test_guesses_are_captions_of_the_training_rows(pretrained: Pretrained, rows: list[ImageCaptions]) -> None:
    task = build(CaptioningTask, pretrained, rows)
    known = {caption for row in rows for caption in row.captions}
    assert set(task.guess(rows, np.random.default_rng(0))) <= known


# ---------------------------------------------------------------- equal captions and pictures
def perfect(rows: list[ImageCaptions]) -> np.ndarray:
    """[I, R] scores of a model that knows what is true: a caption fits what some row says of the picture."""
    captions = [normalise_caption(caption) for row in rows for caption in row.captions]
    return np.array(
        [[text in {normalise_caption(own) for own in row.captions} for text in captions] for row in rows]
    ).astype(float)


@given(
    st.lists(
        st.lists(st.sampled_from(["a cat", "A cat!", "a dog", "two dogs"]), min_size=1, max_size=3),
        min_size=1,
        max_size=9,
    )
)
@settings(max_examples=60, deadline=None)
def test_a_perfect_model_is_always_right(said: list[list[str]]) -> None:
    """Whatever is repeated: and nothing that is not true counts as right."""
    rows = RetrievalTask.merge([ImageCaptions(Path(f"{n}.png"), tuple(own)) for n, own in enumerate(said)])
    positives, scores = right_pairs(rows).toarray(), perfect(rows)
    assert (positives == (scores > 0)).all()
    for matrix, right in ((scores, positives), (scores.T, positives.T)):
        assert (ranks_of_best_positive(matrix, right) == 0).all()
    official = [replace(row, key=n) for n, row in enumerate(rows)]
    assert (right_pairs(official).toarray() == own_captions(owners(rows), len(rows)).toarray()).all()


@pytest.fixture
def repeated(tmp_path: Path) -> list[ImageCaptions]:
    """Twenty-five rows that share five captions; twenty of them share five pictures, by other names."""
    rows = []
    for number in range(25):
        colours = [(220, 30, 30), (30, 160, 60), (40, 60, 220), (230, 210, 40), (10, 10, 10)]
        path = tmp_path / f"{number}.png"
        picture = Image.new("RGB", (32, 32), colours[number % 5])
        picture.putpixel(
            (0, 0), (number + 1 if number < 5 else 0,) * 3
        )  # the first five differ from the rest
        picture.save(path)
        rows.append(
            ImageCaptions(
                path, ("a {} square".format(["red", "green", "blue", "yellow", "left"][number % 5]),)
            )
        )
    return rows


def test_repeated_captions_are_right_answers(pretrained: Pretrained, repeated: list[ImageCaptions]) -> None:
    """Twenty-five rows sharing five captions had an R@1 of 0 though every answer was right."""
    rows = RetrievalTask.merge(repeated)
    assert len(rows) == 10  # files of equal bytes are one picture
    task = build(RetrievalTask, pretrained, rows, batch_size=10)
    tune(task, FinetuneConfig(steps=150, batch_size=10, lr=3e-3))
    found = task.predict(rows)
    metrics, chance = task.metrics(rows, found), task.chance(rows, 0)
    right = [one.best_text in row.captions for row, one in zip(rows, found, strict=True)]
    assert metrics["text_r1_rerank"] == np.mean(right) == 1.0
    assert metrics["image_r1_rerank"] == 1.0
    assert chance["text_r1"] == pytest.approx(0.2)
    assert all(task.case(row, one).right for row, one in zip(rows, found, strict=True))


def test_processes_agree_on_what_is_equal(pretrained: Pretrained, repeated: list[ImageCaptions]) -> None:
    """Each sees its own half of the rows, and the losses compare the identities of both."""
    halves = (repeated[:11], [replace(row, captions=("A blue, square!",)) for row in repeated[24:10:-1]])
    batches = [build(RetrievalTask, pretrained, half).collate(half) for half in halves]
    found = torch.cat([batch.text_identity for batch in batches])
    said = [normalise_caption(row.captions[0]) for half in halves for row in half]
    assert (found[:, None] == found).tolist() == [[one == other for other in said] for one in said]
    assert len({*found.tolist()}) == len({*said}) == 5
    again = build(RetrievalTask, pretrained, repeated).collate(repeated)
    expected = torch.cat([batches[0].identity, batches[1].identity.flip(0)])
    assert torch.equal(again.identity, expected)


def test_equal_captions_are_positives_in_training(
    pretrained: Pretrained, repeated: list[ImageCaptions]
) -> None:
    rows = [repeated[0], repeated[5], repeated[1]]
    task = build(RetrievalTask, pretrained, rows)
    batch = task.collate(rows)
    for official, positive in ((False, FIRST_TWO), (True, torch.eye(3, dtype=torch.bool))):
        named = [replace(row, key=number if official else None) for number, row in enumerate(rows)]
        losses = task.loss(task.collate(named), torch.Generator().manual_seed(0))
        torch.testing.assert_close(losses.terms["itc"].detach(), contrast(task, batch, positive))
