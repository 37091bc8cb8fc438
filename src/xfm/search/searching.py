"""A search: neighbours by contrast, ordered again by the fusion encoder, with boxes, or "nothing found".

It has three steps, so that a server computes the first and the last of many searches together, while another
thread waits for the store: `queries`, `shortlist`, `answers`.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfm.config.index import SURE, UNFITTED_LEAST, SearchOptions
from xfm.core.errors import UserError
from xfm.data.boxes import Boxes, BoxFormat, BoxUnit
from xfm.data.records import is_text
from xfm.inference.engine import EncodedPictures, as_captions, cut
from xfm.inference.matching import PixelBox, pixel_box
from xfm.inference.picture_inputs import Picture, PictureReader, PictureSource
from xfm.models.card import limits_of
from xfm.search.candidates import SearchQuery, Shortlist, match_lists
from xfm.search.filters import Condition, Value, checked, parse_condition
from xfm.search.index import Index
from xfm.search.store import Near, digest
from xfm.tasks.ranking import match_odds, rerank_scores

_ATTEMPTS = 4
_MARK = re.compile(r"[0-9a-f]{32}")
"""A digest of `xfm.search.store.digest`."""


@dataclass(frozen=True)
class SearchQuestion:
    """What is searched: a text, a picture as it is or from `Searcher.read`, or both."""

    text: str | None = None
    image: PictureSource | Picture | None = None


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
        limits: what the model was not made for, or was trained on, where nothing fits or that something does
            is not `xfm.config.index.SURE`; else empty.
    """

    hits: list[FoundPicture]
    fits: bool | None
    best: float | None
    least: float
    searched: int
    fitted: bool = False
    limits: str = ""


class Searcher:
    """Searches in a collection; pictures that were re-ranked lately are not encoded again.

    Args:
        index: the collection, open for reading at least.
    """

    def __init__(self, index: Index) -> None:
        self._index, self._engine = index, index.engine
        self._encoded = EncodedPictures(index.engine)
        self._reader = PictureReader(index.engine.pretrained.preprocessing, None, recent=0)

    @property
    def pictures(self) -> int:
        """How many pictures there are."""
        return len(self._index)

    @property
    def is_there(self) -> bool:
        """Whether the collection is the one that was opened, and not gone or built anew."""
        return self._index.journal.is_there

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
        self._conditions(options)  # before anything is computed
        (query,) = self.queries([SearchQuestion(text, image)])
        (answer,) = self.answers([self.shortlist(query, options)])
        return answer

    def check(self) -> None:
        """Ask the store for nothing; raises StoreError where it does not answer."""
        self._index.store.pixels([""])

    def read(self, source: PictureSource) -> Picture:
        """A picture to search with, read by the thread that calls; raises UserError."""
        return self._reader.read(source)

    def marks(self, keys: Sequence[str]) -> dict[str, str]:
        """What pictures are called by who is to know nothing of this machine's files, by their keys.

        A key that is a path, as of a picture of a folder, gives way to the digest of the picture.
        """
        paths = [key for key in keys if os.path.isabs(key)]
        digests = self._index.journal.digests(paths)
        return {key: digests.get(key, digest(key.encode())).hex() for key in paths}

    def key_of(self, mark: str) -> str:
        """The key of a picture that is called so; raises UserError where there is none."""
        journal = self._index.journal
        if not os.path.isabs(mark):
            if journal.item(mark) is not None:
                return mark
            holder = journal.holder(bytes.fromhex(mark)) if _MARK.fullmatch(mark) else None
            if holder is not None:
                return holder
        raise UserError("the collection has no picture of that key; search again")

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

    # ------------------------------------------------------------ the steps
    @torch.inference_mode()
    def queries(self, asked: Sequence[SearchQuestion]) -> list[SearchQuery]:
        """Questions in vectors, computed together.

        Raises:
            UserError: one asks nothing, or something that is no text or no picture.
        """
        engine, parts = self._engine, list[list[Tensor]]([] for _ in asked)
        words: dict[int, tuple[Tensor, Tensor]] = {}
        said = {place: text for place, one in enumerate(asked) if (text := searched_text(one)) is not None}
        shown = {
            place: self._reader.read(one.image) for place, one in enumerate(asked) if one.image is not None
        }
        with engine.arithmetic():
            if said:
                tokens = as_captions(engine, [*said.values()])
                tokens = cut(tokens, range(len(said)), engine.longest).to(engine.device)
                (states,) = engine.model.encode_texts([tokens])
                for row, (place, vector) in enumerate(
                    zip(said, engine.model.project_text(states[:, 0]), strict=True)
                ):
                    length = int(tokens.mask[row].sum())
                    words[place] = states[row : row + 1, :length], tokens.mask[row : row + 1, :length]
                    parts[place].append(vector)
            if shown:
                self._encoded.need([*shown.values()])
                states, index = self._encoded.stack([one.key for one in shown.values()])
                for place, vector in zip(shown, engine.model.project_image(states[:, 0])[index], strict=True):
                    parts[place].append(vector)
        vectors = torch.nn.functional.normalize(torch.stack([sum(own[1:], own[0]) for own in parts]).float())
        return [
            SearchQuery(vector, words.get(place), place not in shown)
            for place, vector in enumerate(vectors.cpu().numpy())
        ]

    def shortlist(self, query: SearchQuery, options: SearchOptions) -> Shortlist:
        """The nearest pictures, and as the model sees them where a text is to be matched with them.

        The model computes nothing here but vectors of pictures that have just been taken in. Not for two
        threads at once.

        Raises:
            UserError: a condition is about what no picture has.
        """
        where, matched = self._conditions(options), query.words is not None and options.rerank > 0
        count = max(options.top_k, options.rerank if matched else 0)
        near, pixels = self._nearest(query.vector, count, where), list[bytes]()
        for _ in range(_ATTEMPTS if matched else 0):
            wanted = len(near)
            near, pixels = self._pixels(near)
            if len(near) == wanted:
                break
            near = self._nearest(query.vector, count, where)  # some were taken out meanwhile
        return Shortlist(query, options, near, pixels, self._count(where))

    def answers(self, lists: Sequence[Shortlist]) -> list[Answer]:
        """What searches found: texts and pictures are matched in few passes of the fusion encoder."""
        matched = [one for one in lists if one.pixels]
        scored = match_lists(self._engine, self._encoded, matched)
        return [self._answer(one, next(scored) if one.pixels else None) for one in lists]

    def _conditions(self, options: SearchOptions) -> Sequence[Condition]:
        asked = [parse_condition(one) for one in options.where]
        if any(one.field not in self._index.about.fields for one in asked):
            self._index.look_again()
        return checked(asked, self._index.about.fields)

    def _answer(self, one: Shortlist, matched: tuple[Tensor, Tensor] | None) -> Answer:
        """An answer by the logits [N, 2] and boxes [N, 4] of its pictures, if they were matched."""
        options, searched = one.options, one.searched
        calibration = self._engine.pretrained.calibration
        fit = calibration.presence if calibration is not None and one.query.by_text else None
        least = options.least
        if least is None:
            least = UNFITTED_LEAST if fit is None else fit.least(searched)
        if matched is None:
            hits = [_hit(near, near.similarity) for near in one.near[: options.top_k]]
            fits = False if one.query.words is not None and options.rerank > 0 else None
            return Answer(hits, fits, None, least, searched, fit is not None, self._limits(fits, 0.0))
        scored, odds = self._ordered(one.near, *matched)
        if fit is None:
            best = max(one["match"] for one in scored if "match" in one)
        else:
            temperature = self._engine.model.temperature.item()
            near_by = np.array([one["similarity"] for one in scored]) / temperature
            best = fit.probability(float((fit.contrast * near_by + fit.matching * odds).max()), searched)
        fits, hits = best >= least, scored[: options.top_k]
        return Answer(hits, fits, best, least, searched, fit is not None, self._limits(fits, best))

    def _limits(self, fits: bool | None, best: float) -> str:
        doubtful = fits is False or (fits and best < SURE)
        return limits_of(self._engine.pretrained.provenance) if doubtful else ""

    def _nearest(self, vector: NDArray[np.float32], count: int, where: Sequence[Condition]) -> list[Near]:
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

    def _ordered(
        self, near: Sequence[Near], logits: Tensor, boxes: Tensor
    ) -> tuple[list[FoundPicture], NDArray[np.float64]]:
        """Pictures in the order of the re-ranking, with match and box, and [N] their log-odds of a match."""
        cosines = np.array([one.similarity for one in near])
        scores = rerank_scores(cosines, logits.double().numpy(), self._engine.model.temperature.item())
        matches = self._engine.pretrained.match_probability(logits).tolist()
        corners = Boxes(boxes, BoxFormat.CXCYWH, BoxUnit.FRACTION).to_format(BoxFormat.XYXY).data.clamp(0, 1)
        hits: list[FoundPicture] = []
        order = np.argsort(-scores, kind="stable")
        for place in order.tolist():
            one = near[place]
            found = _hit(one, float(scores[place]))
            found["match"], found["box"] = (
                matches[place],
                pixel_box(corners[place], one.entry.width, one.entry.height),
            )
            hits.append(found)
        return hits, match_odds(logits.numpy())[order]

    def _pixels(self, near: Sequence[Near]) -> tuple[list[Near], list[bytes]]:
        there = {one.entry.key: one.entry.pixels for one in near if one.entry.pixels}
        there |= self._index.store.pixels([one.entry.key for one in near if one.entry.key not in there])
        left = [one for one in near if one.entry.key in there]
        return left, [there[one.entry.key] for one in left]


def searched_text(one: SearchQuestion) -> str | None:
    """The text of a question; raises UserError where there is nothing to search."""
    if one.text is None and one.image is None:
        raise UserError("a search needs a text, a picture, or both")
    if one.text is not None and not one.text.strip():
        raise UserError("the text of the search is empty; write what is to be found")
    if one.text is not None and not is_text(one.text):
        raise UserError("the text of the search is not Unicode; mend it")
    return one.text


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
