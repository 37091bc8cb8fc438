"""Retrieval and captioning; ranks of right answers equal those of a computation pair by pair."""

from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tests.alike import thorough
from tests.evaluation.tiny import COLOURS, tiny_pretrained
from tests.refusals import expect_refusal
from tests.tasks.build import build
from xfm.config.finetune import FinetuneConfig
from xfm.config.training import Precision
from xfm.data.tokenizer import normalise_caption
from xfm.finetuning.tuning_run import tune
from xfm.metrics.recalls import Rule, own_captions, ranks_of_best_positive, with_equal_captions
from xfm.models.features import EncodedItems, Encoder, encode_images, encode_texts, tokenize_captions
from xfm.models.folder import Pretrained
from xfm.objectives.contrast import multi_positive_loss
from xfm.tasks import ranking as ranks
from xfm.tasks.captioning import CaptioningTask
from xfm.tasks.ranking import MATCHING_WEIGHT, Ranking, rank, rerank_scores
from xfm.tasks.retrieval import RetrievalBatch, RetrievalTask, owners, right_pairs
from xfm.tasks.rows import ImageCaptions
from xfm.tasks.sampling import alike_groups


@pytest.fixture
def rows(tiny_world: Path) -> list[ImageCaptions]:
    """Twelve pictures; the first has two captions."""
    found = RetrievalTask.read(tiny_world / "tasks/retrieval/validation.jsonl")
    return [replace(found[0], captions=(*found[0].captions, "it is where")), *found[1:]]


# ---------------------------------------------------------------- rows
def test_an_epoch_shows_every_caption_once(pretrained: Pretrained, rows: list[ImageCaptions]) -> None:
    task = build(RetrievalTask, pretrained, rows, batch_size=13)
    batch = next(task.portions(0, 1)).batch
    assert len(batch.tokens.ids) == 13
    assert len({tuple(ids) for ids in batch.tokens.ids.tolist()}) == 13
    assert sorted(Counter(batch.identity.tolist()).values()) == [1] * 11 + [2]
    later = list(task.portions(0, 4))[3].batch
    assert torch.equal(later.tokens.ids, next(task.portions(3, 4)).batch.tokens.ids)


def test_captions_that_are_alike_come_together(pretrained: Pretrained, rows: list[ImageCaptions]) -> None:
    """Every caption once an epoch, by the starting model, also where training has changed it."""
    task = build(RetrievalTask, pretrained, rows, batch_size=12, hard_negatives=3)
    batch = next(task.portions(0, 1)).batch
    with torch.no_grad():
        vectors = pretrained.model.embed_text(batch.tokens.ids, batch.tokens.mask)
        task.module.model.text_proj.weight.zero_()
    cosines = vectors @ vectors.t()
    neighbours = cosines[range(11), range(1, 12)]
    chunks = torch.tensor([place % 3 != 2 for place in range(11)])
    assert neighbours[chunks].mean() > cosines[~torch.eye(12, dtype=torch.bool)].mean()
    assert len({tuple(ids) for ids in batch.tokens.ids.tolist()}) == 12
    assert torch.equal(next(task.portions(0, 1)).batch.tokens.ids, batch.tokens.ids)
    for count in (1, 4, 13):  # of 13 captions groups of four times as many cannot be made, of one need not
        with expect_refusal(f"hard_negatives is {count}", "3 at most"):
            build(RetrievalTask, pretrained, rows, batch_size=12, hard_negatives=count)


@settings(max_examples=50)
@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 99))
def test_groups_of_what_is_alike_are_as_large_as_asked(rows: int, most: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)
    vectors = np.repeat(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), 2, axis=0)
    sizes = np.bincount(alike_groups(vectors, most))
    assert len(vectors) == sizes.sum()
    assert sizes.max() <= most
    assert sizes.min() >= min(len(vectors), most) // 2


# ---------------------------------------------------------------- retrieval
FIRST_TWO = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
"""Of three pairs, the first two are right answers for one another."""


@torch.no_grad()
def contrast(task: RetrievalTask, batch: RetrievalBatch, positive: torch.Tensor) -> torch.Tensor:
    """The contrastive loss of pairs of which these are right."""
    model = task.module.model
    cosines = model.embed_image(batch.pixels) @ model.embed_text(batch.tokens.ids, batch.tokens.mask).t()
    return multi_positive_loss(cosines / model.temperature, positive)


def test_captions_of_a_picture_are_positives_of_each_other(pretrained, rows):
    task = build(RetrievalTask, pretrained, rows)
    pairs = [pair for pair in task.cases if pair.image in (rows[0].image, rows[1].image)]
    assert len(pairs) == 3
    batch = task.collate(pairs)
    losses = task.loss(batch, torch.Generator().manual_seed(0))
    torch.testing.assert_close(losses.terms["itc"].detach(), contrast(task, batch, FIRST_TWO))
    torch.testing.assert_close(losses.total, losses.terms["itc"] + losses.terms["itm"])


# ---------------------------------------------------------------- captioning
def test_a_prompt_is_given_and_not_learned(pretrained: Pretrained, rows: list[ImageCaptions]) -> None:
    """The loss is that of the caption's own tokens after the prompt, smoothed as torch does."""
    task = build(CaptioningTask, pretrained, rows, label_smoothing=0.1, prompt="A picture of", max_tokens=20)
    with torch.no_grad():
        batch = task.collate(rows[:3])
        first = task.tokenizer.encode_lists(["a picture of"], 100)[0][0][1:-1]
        given = len(first)
        assert all(row[1 : 1 + given] == list(first) for row in batch.caption.ids.tolist())
        found = float(task.loss(batch, torch.Generator()).total)
        logits = task.module(batch.pixels, batch.caption, batch.image_index).float()
        targets, real = batch.caption.ids[:, 1:], batch.caption.mask[:, 1:].clone()
        real[:, :given] = False
        expected = F.cross_entropy(logits[:, :-1][real], targets[real], label_smoothing=0.1)
    assert found == pytest.approx(float(expected), rel=1e-5)
    assert task.module.task.prompt == "a picture of"


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
@settings(max_examples=60)
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
    rows, names = [], ["red", "green", "blue", "yellow", "left"]
    colours = [(220, 30, 30), (30, 160, 60), (40, 60, 220), (230, 210, 40), (10, 10, 10)]
    for number in range(25):
        path = tmp_path / f"{number}.png"
        picture = Image.new("RGB", (32, 32), colours[number % 5])
        grey = number + 1 if number < 5 else 0  # the first five differ from the rest
        picture.putpixel((0, 0), (grey, grey, grey))
        picture.save(path)
        rows.append(ImageCaptions(path, (f"a {names[number % 5]} square",)))
    return rows


@thorough
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


PRETRAINED = tiny_pretrained()
ENCODER = Encoder(PRETRAINED.model, PRETRAINED.tokenizer, Precision.FP32, batch_size=3)
NAMES = [f"a {name} square" for name in COLOURS]
CAPTIONS = [" left of ".join(words) for size in (1, 2, 3) for words in product(NAMES, repeat=size)]


def encode(pixels: Tensor, texts: list[str], folder: Path | None = None) -> tuple[EncodedItems, EncodedItems]:
    images = encode_images(ENCODER, pixels.split(2), len(pixels), folder)
    return images, encode_texts(ENCODER, texts, folder=folder)


def pixels_of(rng: np.random.Generator, count: int) -> Tensor:
    return torch.from_numpy(rng.normal(size=(count, 3, 32, 32)).astype(np.float32))


@torch.no_grad()
def pair_by_pair(pixels: Tensor, texts: list[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Contrastive score [I, R] and matching logits [I, R, 2] of every pair, without padding."""
    model, found = PRETRAINED.model, []
    for picture, text in product(pixels.split(1), texts):
        tokens = tokenize_captions(PRETRAINED.tokenizer, [text])
        ids, mask = (row[tokens.mask][None] for row in (tokens.ids, tokens.mask))
        contrast = (model.embed_image(picture) * model.embed_text(ids, mask)).sum()
        fused = model.fuse(model.encode_text(ids, mask), mask, model.encode_image(picture))
        found.append([contrast.item(), *model.itm_head(fused[:, 0])[0].tolist()])
    values = np.array(found).reshape(len(pixels), len(texts), 3)
    return values[..., 0], values[..., 1:]


def expected_order(contrast: NDArray[np.float64], scores: NDArray[np.float64], size: int) -> list[int]:
    """Candidates of one query: the best by contrast ordered again by `scores`, then the others."""
    best = np.argsort(-contrast, kind="stable").tolist()
    return [*sorted(best[:size], key=lambda place: -scores[place]), *best[size:]]


@pytest.mark.parametrize("folder", [None, Path()], ids=["memory", "file"])
@pytest.mark.parametrize("size", [1, 3, 99])
def test_ranks_are_those_of_all_pairs(size: int, folder: Path | None, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels, owner = pixels_of(rng, 5), np.array([0, 1, 2, 3, 4, 0, 2])
    texts = [CAPTIONS[place] for place in rng.choice(len(CAPTIONS), len(owner), replace=False)]
    scratch = None if folder is None else tmp_path
    positives = own_captions(owner, 5)
    found = rank(ENCODER, *encode(pixels, texts, scratch), positives, size)
    contrast, logits = pair_by_pair(pixels, texts)
    combined = contrast / PRETRAINED.model.temperature.item() + MATCHING_WEIGHT * np.diff(logits)[..., 0]
    rules = {Rule.CONTRAST: contrast, Rule.RERANK: combined, Rule.MATCHING: logits[..., 1]}
    of_texts = {rule: scores.T for rule, scores in rules.items()}
    right = positives.toarray()
    for ranked, matrices, own in zip(found, (rules, of_texts), (right, right.T), strict=True):
        for rule, scores in matrices.items():
            lines = zip(matrices[Rule.CONTRAST], scores, strict=True)
            orders = np.array([expected_order(by_contrast, better, size) for by_contrast, better in lines])
            first = np.take_along_axis(own, orders, axis=1).argmax(axis=1)
            assert ranked.ranks[rule].tolist() == first.tolist()
            if rule is Rule.RERANK:
                assert ranked.order.tolist() == orders[:, :size].tolist()


@settings(max_examples=20)
@given(
    pictures=st.integers(1, 9),
    per_picture=st.integers(1, 3),
    size=st.integers(1, 12),
    block=st.sampled_from([1, 7, 1 << 20]),
    equal=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_neither_file_nor_block_changes_anything(
    tmp_path_factory, pictures, per_picture, size, block, equal, seed
):
    rng = np.random.default_rng(seed)
    owner = np.concatenate([np.arange(pictures), rng.integers(0, pictures, pictures * (per_picture - 1))])
    texts = [CAPTIONS[place] for place in rng.choice(len(CAPTIONS), len(owner), replace=equal)]
    positives = with_equal_captions(owner, texts, pictures) if equal else own_captions(owner, pictures)
    pixels, found = pixels_of(rng, pictures), list[tuple[Ranking, Ranking]]()
    for scratch, scores in ((None, 1 << 20), (tmp_path_factory.mktemp("states"), block)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ranks, "BLOCK", scores)
            found.append(rank(ENCODER, *encode(pixels, texts, scratch), positives, size))
        if scratch:
            assert not [*scratch.iterdir()]
    for one, other in zip(*found, strict=True):
        assert np.array_equal(one.order, other.order)
        assert all(np.array_equal(one.ranks[rule], other.ranks[rule]) for rule in Rule)


def test_the_corrected_order_is_right_when_negatives_follow_itc() -> None:
    """With an ideal matching head (log-odds of truth against ITC's draws) the rule gives the true order."""
    rng = np.random.default_rng(3)
    temperature = 0.1
    contrast, truth = rng.uniform(-1, 1, (2, 50))
    believed = contrast / temperature - np.logaddexp.reduce(contrast / temperature)
    logits = np.stack([rng.normal(size=50), np.zeros(50)], axis=-1)
    logits[:, 1] = logits[:, 0] + np.log(truth + 1) - believed
    scores = rerank_scores(contrast, logits, temperature, weight=1.0)
    assert np.argsort(scores).tolist() == np.argsort(truth).tolist()
    alone, half = (rerank_scores(contrast, logits, temperature, weight) for weight in (0.0, 0.5))
    np.testing.assert_allclose(alone, contrast / temperature)
    np.testing.assert_allclose(half, (alone + scores) / 2)
