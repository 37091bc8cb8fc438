"""A search: neighbours by contrast, re-ranked by the fusion encoder, with boxes, or "nothing found".

In three steps, `queries`, `shortlist`, `answers`: a server computes the first and last of many searches
together, while another thread waits for the store.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NotRequired, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from xfm.config.pipelines import SURE, UNFITTED_MIN_SCORE, SearchOptions
from xfm.core.errors import UserError
from xfm.data.records import is_text
from xfm.data.transforms import Boxes, BoxFormat, BoxUnit
from xfm.inference.engine import EncodedImages, as_captions, cut
from xfm.inference.heads import PixelBox, pixel_box
from xfm.inference.input_parsing import ImageReader, InputImage, PictureSource
from xfm.models.artifacts import trained_on
from xfm.search.filters import Value
from xfm.search.index import Index
from xfm.search.store import Neighbour, digest, from_png
from xfm.search.terms import Term
from xfm.tasks.ranking import match_odds, rerank_scores

_TOGETHER = 128
"""Pairs of texts and pictures that are matched in one pass, or those of one search where it has more."""
_ENCODED = torch.empty(0)
"""In the place of pixels that nobody looks at any more."""


@dataclass(frozen=True)
class SearchQuery:
    """A query: its unit vector [E] float32, and states [T, D] and mask [T] bool of a text to match."""

    vector: NDArray[np.float32]
    words: tuple[Tensor, Tensor] | None
    by_text: bool


@dataclass(frozen=True)
class Shortlist:
    """The store's nearest pictures for a query, best first, with their PNGs if a text is matched with them.

    `searched` counts the pictures that passed the conditions.
    """

    query: SearchQuery
    options: SearchOptions
    near: list[Neighbour]
    pixels: list[bytes]
    searched: int


_ATTEMPTS = 4
_MARK = re.compile(r"[0-9a-f]{32}")
"""A digest of `xfm.search.store.digest`."""


Question = tuple[str | Sequence[Term] | None, PictureSource | InputImage | None]
"""A text or terms, a picture (as given, or read by `Searcher.reader`), or both."""


class FoundImage(TypedDict):
    """A found picture; `match` and `box` only where it was re-ranked.

    `score` orders the pictures: the cosine, or after re-ranking cosine / temperature plus weighted log-odds
    of a match. `box` and sizes are in pixels of the original.
    """

    key: str
    source: str
    width: int
    height: int
    score: float
    similarity: float
    match: NotRequired[float]
    box: NotRequired[PixelBox]
    metadata: dict[str, Value]


@dataclass(frozen=True)
class Answer:
    """A search's pictures, best first; where nothing fits, the nearest all the same.

    `best` is the probability that something fits, and `fits` whether that is `min_score` at least; both are
    None where nothing was matched. `fitted` says whether that probability was fitted to the model's searches
    (`PresenceFit`), for texts alone. `limits` tells what the model is not made for, where nothing fits or
    `best` is below `xfm.config.pipelines.SURE`.
    """

    hits: list[FoundImage]
    fits: bool | None
    best: float | None
    min_score: float
    searched: int
    fitted: bool = False
    limits: str = ""


class Searcher:
    """Searches in an open collection; pictures that were re-ranked lately are not encoded again."""

    def __init__(self, index: Index) -> None:
        self.index, self._engine = index, index.engine
        self._encoded = EncodedImages(index.engine)
        self.reader = ImageReader(index.engine.pretrained.preprocessing, None, recent=0)

    def search(
        self,
        text: str | Sequence[Term] | None = None,
        image: PictureSource | InputImage | None = None,
        options: SearchOptions | None = None,
    ) -> Answer:
        """The pictures nearest to a text, a picture, or both together.

        A string is one text as it stands; `xfm.search.terms.parse_terms` makes terms of `horse - brown`. The
        vector is the direction of the weighted sum of all unit vectors. With one text, and not a subtracted
        one, the nearest are matched by the fusion encoder. UserError: no query, or an unknown field.
        """
        options = options or SearchOptions()
        self.index.conditions(options.where)  # before anything is computed
        (query,) = self.queries([(text, image)])
        (answer,) = self.answers([self.shortlist(query, options)])
        return answer

    def marks(self, keys: Sequence[str]) -> dict[str, str]:
        """Public names of pictures by key: a path gives way to the digest of the picture."""
        items = {key: self.index.journal.item(key) for key in keys if os.path.isabs(key)}
        return {key: ((one and one.digest) or digest(key.encode())).hex() for key, one in items.items()}

    def key_of(self, mark: str) -> str:
        """The key of a public name; UserError if there is none."""
        journal = self.index.journal
        if not os.path.isabs(mark):
            if journal.item(mark) is not None:
                return mark
            holder = journal.holder(bytes.fromhex(mark)) if _MARK.fullmatch(mark) else None
            if holder is not None:
                return holder
        raise UserError("the collection has no picture of that key; search again")

    def pixels(self, key: str) -> bytes:
        """A picture as the model sees it, a PNG; UserError: no such picture."""
        if not (found := self.index.store.pixels([key]).get(key)):
            raise UserError("the collection has no picture of that key; search again")
        return found

    # ------------------------------------------------------------ the steps
    @torch.inference_mode()
    def queries(self, asked: Sequence[Question]) -> list[SearchQuery]:
        """Questions as vectors, computed together; raises UserError."""
        engine, parts = self._engine, list[list[Tensor]]([] for _ in asked)
        words, vectors = dict[int, tuple[Tensor, Tensor]](), list[Tensor]()
        terms = [(place, *term) for place, question in enumerate(asked) for term in self._terms(question)]
        said = [(place, weight, searched_text(one)) for place, weight, one in terms if isinstance(one, str)]
        pictures = [(place, weight, one) for place, weight, one in terms if not isinstance(one, str)]
        shown = [self.reader.read(one) for *_, one in pictures]
        with engine.arithmetic():
            if said:
                tokens = as_captions(engine, [text for *_, text in said])
                tokens = cut(tokens, range(len(said)), engine.longest).to(engine.device)
                (states,) = engine.model.encode_texts([tokens])
                vectors += engine.model.project_text(states[:, 0])
                several = Counter(place for place, *_ in said)
                for row, (place, weight, _) in enumerate(said):
                    length = int(tokens.mask[row].sum())
                    if weight > 0 and several[place] == 1:
                        words[place] = states[row, :length], tokens.mask[row, :length]
            if shown:
                self._encoded.need(shown)
                states, index = self._encoded.stack([one.key for one in shown])
                vectors += engine.model.project_image(states[:, 0])[index]
        for (place, weight, _), vector in zip([*said, *pictures], vectors, strict=True):
            parts[place].append(weight * vector.float())
        sums = torch.stack([sum(own[1:], own[0]) for own in parts])
        if (sums.norm(dim=1) < 1e-3).any():
            raise UserError("the terms of the question cancel out; leave out what is added and subtracted")
        return [
            SearchQuery(vector, words.get(place), place in words and len(parts[place]) == 1)
            for place, vector in enumerate(torch.nn.functional.normalize(sums).cpu().numpy())
        ]

    def _terms(self, question: Question) -> Sequence[Term]:
        text, image = question
        terms: list[Term] = [(1.0, text)] if isinstance(text, str) else [*(text or ())]
        if image is not None:
            terms.append((1.0, self.reader.read(image)))
        if not terms:
            raise UserError("a search needs a text, a picture, or both")
        return terms

    def shortlist(self, query: SearchQuery, options: SearchOptions) -> Shortlist:
        """The nearest pictures, with PNGs where a text is matched with them; for one thread at a time.

        UserError: a condition on an unknown field.
        """
        where = self.index.conditions(options.where)
        options = replace(options, rerank=self._engine.rerank_depth(options.rerank))
        matched = query.words is not None and options.rerank > 0
        count = max(options.top_k, options.rerank if matched else 0)
        store, near, pixels = self.index.store, list[Neighbour](), list[bytes]()
        for _ in range(_ATTEMPTS):
            near = found = store.nearest(query.vector, count, where)
            if matched:
                there = store.pixels([one.entry.key for one in found])
                near = [one for one in found if one.entry.key in there]
                pixels = [there[one.entry.key] for one in near]
            if len(near) == len(found):  # else some were taken out meanwhile
                break
        return Shortlist(query, options, near, pixels, store.count(where) if where else len(self.index))

    def answers(self, lists: Sequence[Shortlist]) -> list[Answer]:
        """Answers of searches, matched in few passes of the fusion encoder."""
        scored = self._matched([one for one in lists if one.pixels])
        return [self._answer(one, next(scored) if one.pixels else None) for one in lists]

    @torch.inference_mode()
    def _matched(self, lists: Sequence[Shortlist]) -> Iterator[tuple[Tensor, Tensor]]:
        """For each search the logits [N, 2] of a match, and boxes [N, 4], of the pictures on its list."""
        engine, model, encoded = self._engine, self._engine.model, self._encoded
        together = max(1, _TOGETHER // max((len(one.pixels) for one in lists), default=1))
        for start in range(0, len(lists), together):
            part = lists[start : start + together]
            pictures = [one for own in part for one in map(self._picture, own.near, own.pixels)]
            encoded.need(pictures)
            states, index = encoded.stack([one.key for one in pictures])
            words = [one.query.words for one in part if one.query.words is not None]
            texts, mask = (pad_sequence(own, batch_first=True) for own in map(list, zip(*words, strict=True)))
            sizes = [len(one.pixels) for one in part]
            said = torch.arange(len(part)).repeat_interleave(torch.tensor(sizes)).to(states.device)
            with engine.arithmetic():
                fused = model.fuse_first(texts, mask, states, index, said)
                logits, boxes = model.match_logits(fused).cpu(), model.boxes(fused).cpu()
            yield from zip(logits.split(sizes), boxes.split(sizes), strict=True)

    def _picture(self, near: Neighbour, data: bytes) -> InputImage:
        key, shape = digest(data), self._engine.pretrained.preprocessing.shape
        pixels = _ENCODED if key in self._encoded else from_png(data, shape)
        return InputImage(pixels, near.entry.width, near.entry.height, key)

    def _answer(self, one: Shortlist, matched: tuple[Tensor, Tensor] | None) -> Answer:
        options, searched = one.options, one.searched
        calibration = self._engine.pretrained.calibration
        fit = calibration.presence if calibration is not None and one.query.by_text else None
        min_score = options.min_score
        if min_score is None:
            min_score = UNFITTED_MIN_SCORE if fit is None else fit.threshold(searched)
        if matched is None:
            hits = [found_image(near, near.similarity) for near in one.near[: options.top_k]]
            fits = False if one.query.words is not None and options.rerank > 0 else None
            return Answer(hits, fits, None, min_score, searched, fit is not None, self._limits(fits, 0.0))
        scored, odds = self._ordered(one.near, *matched)
        if fit is None:
            best = max(one["match"] for one in scored if "match" in one)
        else:
            temperature = self._engine.model.temperature.item()
            near_by = np.array([one["similarity"] for one in scored]) / temperature
            best = fit.probability(float((fit.contrast * near_by + fit.matching * odds).max()), searched)
        fits, hits = best >= min_score, scored[: options.top_k]
        return Answer(hits, fits, best, min_score, searched, fit is not None, self._limits(fits, best))

    def _limits(self, fits: bool | None, best: float) -> str:
        doubtful = fits is False or (fits and best < SURE)
        provenance = self._engine.pretrained.provenance
        said = str(provenance.get("limits") or "").replace("\n", " ").strip()
        return (said or f"Trained on {trained_on(provenance)}") if doubtful else ""

    def _ordered(
        self, near: Sequence[Neighbour], logits: Tensor, boxes: Tensor
    ) -> tuple[list[FoundImage], NDArray[np.float64]]:
        cosines = np.array([one.similarity for one in near])
        scores = rerank_scores(cosines, logits.double().numpy(), self._engine.model.temperature.item())
        matches = self._engine.pretrained.match_probability(logits).tolist()
        corners = Boxes(boxes, BoxFormat.CXCYWH, BoxUnit.FRACTION).to_format(BoxFormat.XYXY).data.clamp(0, 1)
        hits: list[FoundImage] = []
        order = np.argsort(-scores, kind="stable")
        for place in order.tolist():
            one = near[place]
            found = found_image(one, float(scores[place]))
            found["match"] = matches[place]
            found["box"] = pixel_box(corners[place], one.entry.width, one.entry.height)
            hits.append(found)
        return hits, match_odds(logits.numpy())[order]


def searched_text(text: str) -> str:
    """A text to search for; UserError where it is empty, or not Unicode."""
    if not text.strip():
        raise UserError("the text of the search is empty; write what is to be found")
    if not is_text(text):
        raise UserError("the text of the search is not Unicode; mend it")
    return text


def found_image(one: Neighbour, score: float) -> FoundImage:
    """A picture as an answer shows it."""
    entry = one.entry
    return {
        "key": entry.key,
        "source": entry.source,
        "width": entry.width,
        "height": entry.height,
        "score": score,
        "similarity": one.similarity,
        "metadata": dict(entry.metadata),
    }
