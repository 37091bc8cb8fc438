"""Captions that search galleries with and without their picture."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xfm.evaluation.context import Context
from xfm.evaluation.encoded import EncodedCaptions
from xfm.metrics.presence import GallerySearches
from xfm.retrieval.search import cosines, match, match_odds


def search_galleries(
    context: Context, encoded: EncodedCaptions, sizes: Sequence[int], count: int = 0
) -> GallerySearches:
    """Each of `count` captions (0: all) searches a gallery of every size twice: with its picture and without.

    The pictures that the pipeline would re-rank are matched. The seed draws captions and galleries; a
    caption's larger gallery holds its smaller ones. Of a small split a gallery has what there is.
    """
    images, texts, owner = encoded.images, encoded.texts, encoded.owner
    depth, temperature = context.config.retrieval.shortlist, context.pretrained.model.temperature.item()
    fits = encoded.fits().toarray().T  # [R, I]
    rng = np.random.default_rng(context.config.seed)
    queries = rng.permutation(len(texts))[: count or None]
    contrast = cosines(texts.vectors[queries], images.vectors).double().numpy()  # [Q, I]
    searched: list[NDArray[np.int64]] = []
    pictures: list[int] = []
    for place, row in enumerate(queries.tolist()):
        others = rng.permutation(np.flatnonzero(~fits[row]))
        for size in sizes:
            for gallery in (np.append(others[: size - 1], owner[row]), others[:size]):
                best = gallery[np.argsort(-contrast[place, gallery], kind="stable")[:depth]]
                searched.append(np.resize(best, depth))  # a short list again from its beginning
                pictures.append(len(gallery))
    shown, asked = np.stack(searched), np.repeat(np.arange(len(queries)), 2 * len(sizes))
    pairs, found = np.unique(shown * len(texts) + queries[asked][:, None], return_inverse=True)
    logits = match(context.encoder, images.states, texts.states, *np.divmod(pairs, len(texts)))
    return GallerySearches(
        contrast[asked[:, None], shown] / temperature,
        match_odds(logits)[found.reshape(shown.shape)],
        np.arange(len(shown)) % 2 == 0,
        np.array(pictures),
        owner[queries][asked],
    )
