"""A search: neighbours by contrast, ordered again by the fusion encoder, with boxes, or "nothing found"."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfm.config.index import UNFITTED_LEAST, SearchOptions
from xfm.data.boxes import Boxes, BoxFormat, BoxUnit
from xfm.data.records import is_text
from xfm.errors import UserError
from xfm.index.conditions import Condition, Value, checked, parse_condition
from xfm.index.index import Index
from xfm.index.rows import IndexedPicture, Near, digest, from_png
from xfm.inference.batches import as_captions, cut
from xfm.inference.engine import EncodedPictures
from xfm.inference.matching import PixelBox
from xfm.inference.picture_inputs import Picture, PictureReader, PictureSource
from xfm.retrieval.search import match_odds, rerank_scores

_ATTEMPTS = 4
_ENCODED = torch.empty(0)
"""In the place of pixels that nobody looks at any more."""


class FoundPicture(TypedDict):
    """A picture that was found.

    key: its name in the collection.
    source: where it came from.
    width, height: of the picture as it was given, in pixels.
    score: what the pictures are ordered by: the cosine, or after re-ranking the cosine over the temperature
        plus the weighted log-odds of a match.
    similarity: cosine.
    match: calibrated probability that the text fits the picture; only where it was re-ranked.
    box: what the text is about, in pixels of the picture as it was given; likewise.
    metadata: its fields.
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
    """What a search found.

    Attributes:
        hits: the best first. Where nothing fits they are the nearest all the same, for whoever wants to look.
        fits: whether anything fits the text well enough; None where nothing was matched, as in a search by a
            picture alone.
        best: the probability of that, by the re-ranked picture that speaks loudest for it; where `fitted` is
            false, the largest probability of a match. None where nothing was matched, or there was nothing.
        least: the probability from which something fits.
        searched: pictures that passed the conditions.
        fitted: whether the probability was fitted to the model's searches (`PresenceFit`). It is for texts
            alone, and by models that `xfm evaluate` scored.
    """

    hits: list[FoundPicture]
    fits: bool | None
    best: float | None
    least: float
    searched: int
    fitted: bool = False


@dataclass(frozen=True)
class _Query:
    """A query in vectors: [E], and of its text the states [1, T, D] and mask [1, T]."""

    vector: NDArray[np.float32]
    states: Tensor | None = None
    mask: Tensor | None = None


class Searcher:
    """Searches in a collection; pictures that were re-ranked lately are not encoded again.

    Args:
        index: the collection, open for reading at least.
    """

    def __init__(self, index: Index) -> None:
        self._index, self._engine = index, index.engine
        self._encoded = EncodedPictures(index.engine)
        self._reader = PictureReader(index.engine.pretrained.preprocessing, None)

    @property
    def pictures(self) -> int:
        """How many pictures there are."""
        return len(self._index)

    @property
    def calibrated(self) -> bool:
        """Whether the probability of a match is a calibrated one."""
        return self._engine.pretrained.calibration is not None

    def search(
        self,
        text: str | None = None,
        image: PictureSource | Picture | None = None,
        options: SearchOptions | None = None,
    ) -> Answer:
        """The pictures that a text, a picture, or both together are nearest to.

        Args:
            text: what is searched. With it, the nearest pictures are matched by the fusion encoder.
            image: a picture that the found ones should be like, as it is or from `read`.
            options: how many, which, and how sure.

        Raises:
            UserError: there is neither text nor picture, or a condition is about what no picture has.
        """
        options = options or SearchOptions()
        where = checked([parse_condition(one) for one in options.where], self._index.about.fields)
        query = self._query(text, image)
        matched = query.states is not None and options.rerank > 0
        count = max(options.top_k, options.rerank if matched else 0)
        near, pictures = self._seen(query, count, where, matched)
        searched = self._count(where)
        calibration = self._engine.pretrained.calibration
        fit = calibration.presence if calibration is not None and image is None else None
        least = options.least
        if least is None:
            least = UNFITTED_LEAST if fit is None else fit.least(searched)
        if not matched or not near:
            hits = [_hit(one, one.similarity) for one in near[: options.top_k]]
            return Answer(hits, False if matched else None, None, least, searched, fit is not None)
        scored, odds = self._matched(query, near, pictures)
        if fit is None:
            best = max(one["match"] for one in scored if "match" in one)
        else:
            temperature = self._engine.model.temperature.item()
            near_by = np.array([one["similarity"] for one in scored]) / temperature
            best = fit.probability(float((fit.contrast * near_by + fit.matching * odds).max()), searched)
        return Answer(scored[: options.top_k], best >= least, best, least, searched, fit is not None)

    def read(self, source: PictureSource) -> Picture:
        """A picture to search with, read by the thread that calls; raises UserError."""
        return self._reader.read(source)

    def pixels(self, key: str) -> bytes:
        """A picture as the model sees it, a PNG.

        Raises:
            UserError: the collection has no such picture.
        """
        found = [one.pixels for one in self._index.journal.waiting() if one.key == key]
        found += self._index.store.pixels([key]).values()
        if not any(found):
            raise UserError("the collection has no picture of that key; search again")
        return next(filter(None, found))

    def _seen(
        self, query: _Query, count: int, where: Sequence[Condition], matched: bool
    ) -> tuple[list[Near], list[Picture]]:
        """The nearest pictures, and as the model sees them where a text is to be matched with them."""
        near, pictures = self._nearest(query.vector, count, where), list[Picture]()
        for _ in range(_ATTEMPTS if matched else 0):
            wanted = len(near)
            near, pictures = self._pictures(near)
            if len(near) == wanted:
                break
            near = self._nearest(query.vector, count, where)  # some were taken out meanwhile
        return near, pictures

    @torch.inference_mode()
    def _query(self, text: str | None, image: PictureSource | Picture | None) -> _Query:
        if text is None and image is None:
            raise UserError("a search needs a text, a picture, or both")
        if text is not None and not text.strip():
            raise UserError("the text of the search is empty; write what is to be found")
        if text is not None and not is_text(text):
            raise UserError("the text of the search is not Unicode; mend it")
        engine, states, mask, parts = self._engine, None, None, list[Tensor]()
        with engine.arithmetic():
            if text is not None:
                tokens = as_captions(engine, [text])
                tokens = cut(tokens, [0], engine.longest).to(engine.device)
                states, mask = engine.model.encode_text(tokens.ids, tokens.mask), tokens.mask
                parts.append(engine.model.project_text(states[:, 0])[0])
            if image is not None:
                picture = self._reader.read(image)
                self._encoded.need([picture])
                shown, _ = self._encoded.stack([picture.key])
                parts.append(engine.model.project_image(shown[:, 0])[0])
        vector = torch.nn.functional.normalize(torch.stack(parts).sum(0).float(), dim=-1)
        return _Query(vector.cpu().numpy(), states, mask)

    def _nearest(self, vector: NDArray[np.float32], count: int, where: Sequence[Condition]) -> list[Near]:
        """The nearest pictures, those among them that are not in the store yet."""
        fresh = self._index.journal.waiting()  # before the store, where they may have come when that is asked
        found = {one.entry.key: one for one in self._index.store.nearest(vector, count, where)}
        for one in fresh:  # an earlier form may be in the store
            found.pop(one.key, None)
        passing = [one for one in fresh if all(condition.holds(one.metadata) for condition in where)]
        if passing:
            cosines = self._index.vectors(passing) @ vector
            found |= {one.key: Near(one, float(near)) for one, near in zip(passing, cosines, strict=True)}
        return sorted(found.values(), key=lambda one: -one.similarity)[:count]

    def _count(self, where: Sequence[Condition]) -> int:
        return self._index.store.count(where) if where else len(self._index)

    @torch.inference_mode()
    def _matched(
        self, query: _Query, near: Sequence[Near], pictures: Sequence[Picture]
    ) -> tuple[list[FoundPicture], NDArray[np.float64]]:
        """The pictures in the order of the re-ranking, with match and box: one pass of the fusion encoder.

        Returns:
            The pictures, and [N] their log-odds of a match.
        """
        model, engine = self._engine.model, self._engine
        self._encoded.need(pictures)
        states, index = self._encoded.stack([one.key for one in pictures])
        assert query.states is not None
        assert query.mask is not None
        with engine.arithmetic():
            same = torch.zeros_like(index)  # one text for all of them
            fused = model.fuse_first(query.states, query.mask, states, index, same)
            logits, boxes = model.match_logits(fused).cpu(), model.boxes(fused).cpu()
        cosines = np.array([one.similarity for one in near])
        scores = rerank_scores(cosines, logits.double().numpy(), model.temperature.item())
        matches = engine.pretrained.match_probability(logits).tolist()
        corners = Boxes(boxes, BoxFormat.CXCYWH, BoxUnit.FRACTION).to_format(BoxFormat.XYXY).data.clamp(0, 1)
        hits: list[FoundPicture] = []
        order = np.argsort(-scores, kind="stable")
        for place in order.tolist():
            one = near[place]
            hit = _hit(one, float(scores[place]))
            hit["match"], hit["box"] = matches[place], _pixel_box(corners[place], one.entry)
            hits.append(hit)
        return hits, match_odds(logits.numpy())[order]

    def _pictures(self, near: Sequence[Near]) -> tuple[list[Near], list[Picture]]:
        """The pictures as the model sees them, of those that nobody has taken out meanwhile."""
        there = {one.entry.key: one.entry.pixels for one in near if one.entry.pixels}
        there |= self._index.store.pixels([one.entry.key for one in near if one.entry.key not in there])
        left = [one for one in near if one.entry.key in there]
        found: list[Picture] = []
        for one in left:
            data = there[one.entry.key]
            key = digest(data)
            pixels = _ENCODED if key in self._encoded else from_png(data)
            found.append(Picture(pixels, one.entry.width, one.entry.height, key))
        return left, found


def _hit(one: Near, score: float) -> FoundPicture:
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


def _pixel_box(fractions: Tensor, entry: IndexedPicture) -> PixelBox:
    box = Boxes(fractions[None].double(), BoxFormat.XYXY, BoxUnit.FRACTION)
    left, top, right, bottom = box.to_unit(BoxUnit.PIXEL, entry.width, entry.height).data[0].tolist()
    return {"xmin": left, "ymin": top, "xmax": right, "ymax": bottom}
