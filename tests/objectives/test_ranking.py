"""The contrast of texts against sentence-transformers' loss, and against a count of what is no negative."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import Tensor

from xfm.objectives.retrieval import text_ranking_losses

WIDTH = 6


def drawn(rows: int, negatives: int, seed: int) -> tuple[Tensor, list[Tensor]]:
    """Vectors of anchors, and of their positives and each further column of negatives."""
    generator = torch.Generator().manual_seed(seed)
    columns = torch.randn(2 + negatives, rows, WIDTH, generator=generator, dtype=torch.float64)
    anchors, *others = columns
    return anchors.requires_grad_(), [one.requires_grad_() for one in others]


def losses(
    anchors: Tensor,
    candidates: Tensor,
    said: list[str],
    told: list[str],
    temperature: Tensor,
    dimensions: Sequence[int] = (),
) -> Tensor:
    """Of one process, with texts by which identities are known; cosines have no use for lengths."""
    number = {text: place for place, text in enumerate({*said, *told})}
    identities = [torch.tensor([number[text] for text in own]) for own in (said, told)]
    pair = identities[0], identities[1]
    unit = F.normalize(anchors, dim=-1), F.normalize(candidates, dim=-1)
    found = text_ranking_losses(*unit, pair, temperature, lambda rows: rows, dimensions=dimensions)
    return found.losses["ranking"]


@settings(max_examples=40)
@given(
    st.integers(1, 9), st.integers(0, 3), st.floats(1, 100), st.integers(0, 999), st.sets(st.integers(2, 5))
)
def test_of_distinct_texts_it_is_the_loss_of_sentence_transformers(
    rows: int, negatives: int, scale: float, seed: int, dimensions: set[int]
) -> None:
    """Value and gradients, with no, one or several hard negatives a row; the mean over cut vectors, too."""
    reference = MultipleNegativesRankingLoss(SentenceTransformer(modules=[torch.nn.Identity()]), scale=scale)
    anchors, others = drawn(rows, negatives, seed)
    cut = [[one[:, :size] for one in (anchors, *others)] for size in (WIDTH, *dimensions)]
    each = [reference.compute_loss_from_embeddings(one, torch.empty(0)) for one in cut]
    expected = torch.stack(each).mean()
    wanted = torch.autograd.grad(expected, [anchors, *others])
    said, told = (
        [f"{name} {place}" for place in range(count)]
        for name, count in (("a", rows), ("c", rows * (1 + negatives)))
    )
    temperature = torch.tensor([1 / scale], dtype=torch.float64)
    found = losses(anchors, torch.cat(others), said, told, temperature, [*dimensions])
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(torch.autograd.grad(found, [anchors, *others]), wanted, strict=True):
        torch.testing.assert_close(ours, theirs)


TEXTS = st.sampled_from("abcd")


@settings(max_examples=80)
@given(
    rows=st.lists(st.tuples(TEXTS, TEXTS, st.lists(TEXTS, max_size=2)), min_size=1, max_size=6),
    seed=st.integers(0, 99),
)
def test_what_is_right_for_an_anchor_is_no_negative(
    rows: list[tuple[str, str, list[str]]], seed: int
) -> None:
    """Counted row by row: the own positive against all but the anchor's text and its other positives."""
    said = [anchor for anchor, _, _ in rows]
    told = [positive for _, positive, _ in rows] + [text for _, _, own in rows for text in own]
    generator = np.random.default_rng(seed)
    anchors, candidates = (
        F.normalize(torch.from_numpy(generator.normal(size=(len(own), WIDTH))), dim=-1)
        for own in (said, told)
    )
    expected = []
    for place, (anchor, _, _) in enumerate(rows):
        right = {positive for other, positive, _ in rows if other == anchor} | {anchor}
        kept = [place, *(one for one, text in enumerate(told) if text not in right)]
        logits = (candidates[kept] @ anchors[place]) / 0.1
        expected.append(torch.logsumexp(logits, 0) - logits[0])
    found = losses(anchors, candidates, said, told, torch.tensor([0.1], dtype=torch.float64))
    torch.testing.assert_close(found, torch.stack(expected).mean())
