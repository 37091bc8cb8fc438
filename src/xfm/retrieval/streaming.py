"""Retrieval of any number of pictures and texts in bounded memory, with the results of `evaluate_scores`.

States wait for re-ranking in files, scores are looked at in blocks of queries, and nothing of pictures times
texts is ever held: what stays in memory are the unit vectors, the shortlists and their matching logits.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor
from tqdm import tqdm

from xfm.data.collate import LENGTH_STEP
from xfm.data.shapes import round_up
from xfm.files import writing
from xfm.metrics.ranking import ranks_of_best_positive
from xfm.metrics.recalls import Ranks, RetrievalResult, Rule, sides, summarise
from xfm.modeling.features import Encoder, storage_dtype, tokenize_captions
from xfm.modeling.precision import autocast
from xfm.retrieval.in_memory import PICTURE_STEP, cosines, rerank_scores, shortlisted
from xfm.retrieval.states import StateFile

BLOCK = 2 << 20  # scores of a block of queries


@dataclass(frozen=True)
class Stored:
    """Encoded pictures or texts.

    Attributes:
        states: on disk, what fusion needs.
        vectors: [N, E] float32 unit vectors, on the CPU.
    """

    states: StateFile
    vectors: Tensor


@dataclass(frozen=True)
class Found:
    """The contrastive search of one direction, Q queries among C candidates.

    Attributes:
        shortlist: [Q, K] int32, candidates that are re-ranked, in ascending order.
        contrast: [Q, K] float32, their cosines.
        positive: [Q, K] bool, which of them belong to the query.
        ranks: [Q] rank of the best positive by contrast.
        below: [Q] rank of the best positive among the candidates beyond the shortlist.
    """

    shortlist: NDArray[np.int32]
    contrast: NDArray[np.float32]
    positive: NDArray[np.bool_]
    ranks: NDArray[np.int64]
    below: NDArray[np.int64]


@dataclass(frozen=True)
class Direction:
    """Q queries of one direction.

    Attributes:
        ranks: [Q] of each query's best positive, by rule.
        first: [Q] int64 the candidate that comes first when re-ranked.
    """

    ranks: Ranks
    first: NDArray[np.int64]


def stream_retrieval(
    encoder: Encoder,
    pixels: Iterable[Tensor],
    texts: Sequence[str],
    positives: csr_array,
    *,
    shortlist: int,
    scratch: Path | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> RetrievalResult:
    """Score retrieval of pictures and texts in both directions.

    Args:
        encoder: the model.
        pixels: I pictures in batches [B, 3, H, W] float32, normalised.
        texts: R captions.
        positives: [I, R] bool, see `own_captions`; every picture and every text has one at least.
        shortlist: candidates K of each query that the matching head re-ranks.
        scratch: folder for the states; the system's for temporary files if not given.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        What `evaluate_scores` gives for the same rows.

    Raises:
        UserError: the disk is full.
    """
    text, image = stream_ranks(encoder, pixels, texts, positives, shortlist, scratch)
    return summarise(text.ranks, image.ranks, positives, resamples, seed)


def stream_ranks(
    encoder: Encoder,
    pixels: Iterable[Tensor],
    texts: Sequence[str],
    positives: csr_array,
    shortlist: int,
    scratch: Path | None = None,
    max_tokens: int = 40,
) -> tuple[Direction, Direction]:
    """Texts for the I pictures, and pictures for the R texts; arguments as of `stream_retrieval`."""
    pictures, _ = sides(positives)
    with TemporaryDirectory(dir=scratch) as name, writing(Path(name), "or name another folder"):
        images = store_images(encoder, pixels, pictures, Path(name))
        captions = store_texts(encoder, texts, Path(name), max_tokens)
        for_images = search(encoder, images.vectors, captions.vectors, positives, shortlist, "pictures")
        by_text = positives.T.tocsr()
        for_texts = search(encoder, captions.vectors, images.vectors, by_text, shortlist, "texts")
        rows = np.arange(len(texts))
        keys = (
            np.arange(pictures)[:, None] * len(texts) + for_images.shortlist,  # [I, K]
            for_texts.shortlist.astype(np.int64) * len(texts) + rows[:, None],  # [R, K]
        )
        wanted = np.unique(np.concatenate([part.ravel() for part in keys]))
        logits = match(encoder, images.states, captions.states, wanted, len(texts))
    temperature = encoder.model.temperature.item()
    text, image = (
        rerank(one, logits[np.searchsorted(wanted, part)], temperature)
        for one, part in zip((for_images, for_texts), keys, strict=True)
    )
    return text, image


@torch.inference_mode()
def store_images(encoder: Encoder, pixels: Iterable[Tensor], count: int, folder: Path) -> Stored:
    """Encode pictures that come in batches [B, 3, H, W]; `count` is their number for the bar."""
    model = encoder.model
    states, vectors = StateFile(folder, model.config.vision.width), []
    bar = tqdm(total=count, desc="pictures", unit="picture", leave=False, disable=not encoder.progress)
    with bar, autocast(encoder.precision, encoder.device):
        for batch in pixels:
            encoded = model.encode_image(batch.to(encoder.device))
            with encoder.heads():
                vectors.append(model.project_image(encoded[:, 0].float()).cpu())
            states.append(encoded.to(storage_dtype()))
            bar.update(len(batch))
    return Stored(states, torch.cat(vectors))


@torch.inference_mode()
def store_texts(encoder: Encoder, texts: Sequence[str], folder: Path, max_tokens: int = 40) -> Stored:
    """Encode captions of at most so many tokens."""
    model = encoder.model
    states, vectors = StateFile(folder, model.config.language.width), []
    with autocast(encoder.precision, encoder.device):
        for part in encoder.chunks(len(texts), encoder.batch_size, "texts"):
            tokens = tokenize_captions(encoder.tokenizer, texts[part], max_tokens)
            mask = tokens.mask.to(encoder.device)
            encoded = model.encode_text(tokens.ids.to(encoder.device), mask)
            with encoder.heads():
                vectors.append(model.project_text(encoded[:, 0].float()).cpu())
            states.append(encoded.to(storage_dtype()), mask)
    return Stored(states, torch.cat(vectors))


def search(
    encoder: Encoder, queries: Tensor, candidates: Tensor, positives: csr_array, shortlist: int, what: str
) -> Found:
    """Shortlists and ranks by contrast, a block of queries at a time.

    Args:
        encoder: for its bar.
        queries: [Q, E] unit vectors.
        candidates: [C, E] unit vectors.
        positives: [Q, C] bool.
        shortlist: length of the lists; all candidates if there are fewer.
        what: name of the queries in the bar.
    """
    size = max(1, BLOCK // len(candidates))
    parts = [
        _search_block(cosines(queries[block], candidates), positives[block].toarray(), shortlist)
        for block in encoder.chunks(len(queries), size, f"shortlists of {what}")
    ]
    fields = zip(*((p.shortlist, p.contrast, p.positive, p.ranks, p.below) for p in parts), strict=True)
    return Found(*(np.concatenate(values) for values in fields))


def _search_block(scores: NDArray[np.float64], positives: NDArray[np.bool_], shortlist: int) -> Found:
    """`search` of [B, C] scores and positives."""
    chosen = shortlisted(scores, shortlist)
    short = np.nonzero(chosen)[1].reshape(len(scores), -1)  # [B, K]
    ranks = ranks_of_best_positive(scores, positives)
    best = np.where(positives, scores, -np.inf).max(axis=1, keepdims=True)
    below = ((scores >= best) & ~positives & ~chosen).sum(axis=1)
    return Found(
        short.astype(np.int32),
        np.take_along_axis(scores, short, axis=1).astype(np.float32),
        np.take_along_axis(positives, short, axis=1),
        ranks,
        below,
    )


@torch.inference_mode()
def match(
    encoder: Encoder, images: StateFile, texts: StateFile, keys: NDArray[np.int64], count: int
) -> NDArray[np.float32]:
    """Matching logits of pairs.

    Args:
        encoder: the model.
        images, texts: states.
        keys: [N] int64, picture * count + text, ascending: pairs of a picture are fused together.
        count: number of texts.

    Returns:
        [N, 2] float32 (unmatched, matched).
    """
    logits = np.empty((len(keys), 2), dtype=np.float32)
    with autocast(encoder.precision, encoder.device):
        for part in encoder.chunks(len(keys), 4 * encoder.batch_size, "re-ranking"):
            logits[part] = _match_block(encoder, images, texts, *np.divmod(keys[part], count))
    return logits


def _match_block(
    encoder: Encoder,
    images: StateFile,
    texts: StateFile,
    picture: NDArray[np.int64],
    text: NDArray[np.int64],
) -> NDArray[np.float32]:
    """[B, 2] logits of [B] pictures with [B] texts."""
    distinct, place = np.unique(picture, return_inverse=True)
    distinct = np.pad(distinct, (0, -len(distinct) % PICTURE_STEP), mode="edge")  # few shapes
    states, mask = texts.read(text)
    extra = round_up(states.shape[1], LENGTH_STEP) - states.shape[1]
    states = torch.nn.functional.pad(states, (0, 0, 0, extra))
    mask = torch.nn.functional.pad(mask, (0, extra))
    device = encoder.device
    pictures, _ = images.read(distinct)
    fused = encoder.model.fuse(
        states.to(device), mask.to(device), pictures.to(device), torch.from_numpy(place).to(device)
    )
    with encoder.heads():
        return encoder.model.match_logits(fused.float()).cpu().numpy()


def rerank(found: Found, logits: NDArray[np.float32], temperature: float) -> Direction:
    """Ranks of each query's best positive by contrast and by both re-ranked orders.

    Args:
        found: shortlists.
        logits: [Q, K, 2] matching logits of the shortlisted pairs.
        temperature: of the contrast.
    """
    exact = logits.astype(np.float64)
    by_both = rerank_scores(found.contrast.astype(np.float64), exact, temperature)
    ranks = {Rule.CONTRAST: found.ranks}
    for rule, scores in ((Rule.RERANK, by_both), (Rule.MATCHING, exact[..., 1])):
        best = np.where(found.positive, scores, -np.inf).max(axis=1, keepdims=True)
        within = ((scores >= best) & ~found.positive).sum(axis=1)
        # All of a shortlist without a positive stands before the positives beyond it.
        beyond = found.shortlist.shape[1] + found.below
        ranks[rule] = np.where(found.positive.any(axis=1), within, beyond)
    places = by_both.argmax(axis=1)[:, None]
    return Direction(ranks, np.take_along_axis(found.shortlist, places, axis=1)[:, 0].astype(np.int64))
