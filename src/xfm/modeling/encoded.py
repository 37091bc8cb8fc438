"""Rows of a task as a head takes them."""

from dataclasses import dataclass

from torch import Tensor

from xfm.data.schema import Tokens


def mean_of_tokens(states: Tensor, mask: Tensor) -> Tensor:
    """[R, T, D] states of texts and [R, T] bool, which tokens are there -> [R, D] their mean over those."""
    there = mask[..., None]
    return states.masked_fill(~there, 0.0).sum(dim=1) / there.sum(dim=1).clamp(min=1)


@dataclass(frozen=True)
class Encoded:
    """Rows as a head takes them: texts as tokens, and each distinct picture encoded once.

    Attributes:
        tokens: [R, T] the text of each row, a pair as one sequence; None where rows have no texts.
        image: [I, 1 + P, Dv] encoded pictures; None where rows have none.
        index: [R, K] int64, the K pictures of each row; None where row r has picture r.
    """

    tokens: Tokens | None = None
    image: Tensor | None = None
    index: Tensor | None = None

    @property
    def text(self) -> Tokens:
        """The texts, of rows that have some."""
        assert self.tokens is not None
        return self.tokens

    @property
    def pictures(self) -> Tensor:
        """The encoded pictures, of rows that have some."""
        assert self.image is not None
        return self.image

    @property
    def first(self) -> Tensor | None:
        """[R] int64, the first picture of each row; None where row r has picture r."""
        return None if self.index is None else self.index[:, 0]

    def mean_text(self, states: Tensor) -> Tensor:
        """[R, T, D] states of the texts -> [R, D] their mean over the words that are there."""
        return mean_of_tokens(states, self.text.mask)

    def of_rows(self, values: Tensor) -> Tensor:
        """[I, ...] one value a picture -> [R, ...] those of each row's first picture."""
        return values if self.first is None else values[self.first]
