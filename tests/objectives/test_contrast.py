"""Contrast of own rows with all columns, and draws that do not depend on who makes them."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from xfm.objectives.contrast import compare, rows_loss
from xfm.objectives.negatives import Negatives, blocks_of, draw_negatives, sampling_weights
from xfm.objectives.text_rows import PairEmbeddings, same_identity


def unit(rows: int, width: int = 6) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(rows, width), dim=1).requires_grad_()


def vectors(rows: int, kinds: int) -> PairEmbeddings:
    return PairEmbeddings(
        unit(rows), unit(rows), torch.randint(kinds, (rows,)), torch.randint(kinds, (rows,))
    )


def some(all_rows: PairEmbeddings, own: slice) -> PairEmbeddings:
    return PairEmbeddings(
        all_rows.image[own], all_rows.text[own], all_rows.image_identity[own], all_rows.text_identity[own]
    )


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(1, 12), st.integers(0, 99))
def test_rows_by_columns_are_the_whole_matrix(shares: list[int], kinds: int, seed: int) -> None:
    """Loss, gradient and accuracy, with duplicates, for any shares of the rows."""
    torch.manual_seed(seed)
    count, temperature = sum(shares), torch.tensor([0.3], requires_grad=True)
    everyone = vectors(count, kinds)
    same = same_identity(everyone.image_identity, everyone.text_identity)
    similarity, own = everyone.image @ everyone.text.t() / temperature, torch.arange(count)
    expected = (rows_loss(similarity, same, own) + rows_loss(similarity.t(), same, own)) / 2
    wanted = torch.autograd.grad(expected, [everyone.image, everyone.text, temperature])
    starts = [sum(shares[:place]) for place in range(len(shares))]
    parts = [
        compare(some(everyone, slice(start, start + share)), everyone, start, temperature)
        for start, share in zip(starts, shares, strict=True)
    ]
    found = torch.stack([one.loss * share / count for one, share in zip(parts, shares, strict=True)]).sum()
    torch.testing.assert_close(found, expected)
    gradients = torch.autograd.grad(found, [everyone.image, everyone.text, temperature])
    for ours, theirs in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def drawn_by(shares: list[int], similarity: Tensor, same: Tensor, labels: list[int]) -> list[Negatives]:
    found = []
    for place, share in enumerate(shares):
        own = range(sum(shares[:place]), sum(shares[:place]) + share)
        rows = slice(own.start, own.stop)
        generator = torch.Generator().manual_seed(5)
        args = (similarity[rows], same[rows], generator, 1e-3, similarity.t()[rows])
        found.append(draw_negatives(*args, blocks_of(labels, own)))
    return found


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(1, 9), st.integers(0, 99))
def test_draws_do_not_depend_on_the_shares(shares: list[int], size: int, seed: int) -> None:
    torch.manual_seed(seed)
    count = sum(shares)
    similarity = torch.randn(count, count) * 3
    same = same_identity(torch.randint(count, (count,)), torch.randint(2 * count, (count,)))
    labels = [row // size for row in range(count)]
    (whole,) = drawn_by([count], similarity, same, labels)
    parts = drawn_by(shares, similarity, same, labels)
    for name in ("image", "text", "valid"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))
    block = torch.tensor(labels)
    own, alone = torch.arange(count), ~whole.valid
    assert (same | (block != block[:, None]))[alone].all()  # there is nobody else
    for drawn in (whole.image, whole.text):
        assert torch.equal(block[drawn], block)
        assert not same[own, drawn][whole.valid].any()
        assert torch.equal(drawn[alone], own[alone])


@given(st.integers(2, 30), st.integers(0, 99))
def test_a_draw_is_that_of_torch(count: int, seed: int) -> None:
    """Of the same random numbers, so that runs of one process stay what they were."""
    torch.manual_seed(seed)
    similarity, same = torch.randn(count, count) * 3, torch.eye(count, dtype=torch.bool)
    ours = draw_negatives(similarity, same, torch.Generator().manual_seed(seed))
    generator = torch.Generator().manual_seed(seed)
    theirs = [
        torch.multinomial(sampling_weights(scores, same), 1, generator=generator).squeeze(1)
        for scores in (similarity.t(), similarity)
    ]
    assert torch.equal(ours.image, theirs[0])
    assert torch.equal(ours.text, theirs[1])
