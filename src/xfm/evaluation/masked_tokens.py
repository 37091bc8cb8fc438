"""Masked-token accuracy of captions, given the right picture, a wrong one, a blank one, and none.

All pieces of some content words are replaced by the mask token, the same for every condition. With a picture
the fusion encoder and its token head predict them (IMLM); with none the language encoder and its own head do
(MLM).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfm.data.masking import IGNORED
from xfm.data.schema import Tokens
from xfm.data.tokenizer import Tokenizer, normalise_caption
from xfm.modeling.features import EncodedItems, Encoder
from xfm.modeling.precision import autocast

_FUNCTION_WORDS = """
a an and are as at be by can for from has have in is it its just of on onto or s see sits so some that the
their them there these they this to up we which while with you
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Words that are never masked: they can be guessed from grammar alone."""


@dataclass(frozen=True)
class MaskedCaptions:
    """Captions with masked words.

    Attributes:
        tokens: [R, T], masked.
        labels: [R, T] int64: the true id at masked positions, -100 elsewhere.
    """

    tokens: Tokens
    labels: Tensor

    @property
    def targets(self) -> Tensor:
        """[M] true ids of all masked positions, row by row."""
        return self.labels[self.labels != IGNORED]

    def rows_of_targets(self) -> Tensor:
        """[M] int64 row of each masked position."""
        return (self.labels != IGNORED).nonzero()[:, 0]


def mask_captions(
    tokenizer: Tokenizer, captions: Sequence[str], share: float, seed: int, max_tokens: int = 40
) -> MaskedCaptions:
    """Mask content words of captions, whole words at a time, without random replacements.

    Args:
        tokenizer: the model's tokenizer.
        captions: R captions.
        share: share of a caption's content words that is masked, at least one word where there is any.
        seed: of the choice; row r depends on the seed, r and its caption only.
        max_tokens: longest caption in tokens.
    """
    encoded = tokenizer.encode_batch([normalise_caption(caption) for caption in captions], max_tokens)
    chosen = torch.zeros_like(encoded.mask)
    for row, (ids, words) in enumerate(zip(encoded.ids, encoded.word_ids, strict=True)):
        content = [
            word
            for word in words.unique().tolist()
            if word >= 0 and _is_content(tokenizer, ids[words == word])
        ]
        if content:
            count = max(1, round(share * len(content)))
            picked = np.random.default_rng((seed, row)).choice(content, count, replace=False)
            chosen[row] = torch.isin(words, torch.from_numpy(picked))
    labels = torch.where(chosen, encoded.ids, IGNORED)
    return MaskedCaptions(Tokens(torch.where(chosen, tokenizer.mask, encoded.ids), encoded.mask), labels)


def _is_content(tokenizer: Tokenizer, pieces: Tensor) -> bool:
    word = tokenizer.decode(pieces).strip()
    return bool(word) and word not in FUNCTION_WORDS


@torch.inference_mode()
def predict_masked(
    encoder: Encoder, masked: MaskedCaptions, pictures: Sequence[tuple[EncodedItems, Tensor] | None]
) -> list[NDArray[np.int64]]:
    """Predicted ids of all masked positions under several conditions; texts are encoded once for all of them.

    Args:
        encoder: the model.
        masked: R masked captions.
        pictures: of each condition the encoded pictures, and [R] int64 the picture of each caption; None asks
            the language encoder alone.

    Returns:
        [M] int64 for each condition, in the order of `masked.targets`.
    """
    model, device = encoder.model, encoder.device
    found: list[list[Tensor]] = [[] for _ in pictures]
    with autocast(encoder.precision, device):
        for part in encoder.chunks(len(masked.labels), encoder.batch_size, "masked tokens"):
            mask, places = masked.tokens.mask[part].to(device), masked.labels[part].to(device) != IGNORED
            text = model.encode_text(masked.tokens.ids[part].to(device), mask)
            for predicted, shown in zip(found, pictures, strict=True):
                states, head = text, model.language_logits
                if shown is not None:
                    images, index = shown
                    picture, place = index[part].unique(return_inverse=True)
                    image, _ = images.states.read(picture.numpy())
                    states, head = model.fuse(text, mask, image, place.to(device)), model.fusion_logits
                with encoder.heads():
                    logits = head(states[places].float())
                predicted.append(logits.argmax(-1).cpu())
    return [torch.cat(predicted).numpy() for predicted in found]
