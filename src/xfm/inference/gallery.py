"""Retrieval in a gallery of pictures or texts: cosines, then the matching head for the best."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfm.config.pipelines import RetrievalOptions
from xfm.core.errors import UserError
from xfm.data.schema import Tokens
from xfm.inference.base import Pipeline, SkipCallback
from xfm.inference.engine import EncodedImages, Engine, InputBatch, as_captions, cut
from xfm.inference.input_parsing import ImageReader, InputError, InputImage
from xfm.inference.inputs import ABSENT, gallery_of
from xfm.models.features import Encoder, States
from xfm.tasks.ranking import match, rerank_scores, shortlist

GALLERY_KEPT = 512 << 20  # bytes of a gallery's encoded pictures that are kept for re-ranking


class Gallery:
    """Encoded candidates: unit vectors [N, E], and up to `GALLERY_KEPT` bytes of pictures for re-ranking.
    `numbers` counts the candidates from 0 with the unreadable ones that `bad` passed over; without `bad`,
    InputError."""

    def __init__(
        self, engine: Engine, candidates: Iterable[Any], texts: bool, bad: SkipCallback | None = None
    ) -> None:
        self.engine, self.texts = engine, texts
        self.given: list[Any] = []
        self._reader = ImageReader(engine.pretrained.preprocessing, engine.urls)
        self._encoded = EncodedImages(engine, GALLERY_KEPT)
        self._keys: list[bytes] = []
        self._bad, self._seen = bad, 0
        self.numbers: list[int] = []
        rest, vectors = iter(candidates), [torch.zeros(0, engine.model.config.projection)]
        while part := list(islice(rest, engine.batch_size)):
            vectors.append(self._embed(part))
        self.vectors = torch.cat([part.to(engine.device) for part in vectors])
        if not self.given:
            raise UserError("the gallery holds nothing to search in; give it pictures or texts")

    @torch.inference_mode()
    def _embed(self, part: Sequence[Any]) -> Tensor:
        if self.texts:
            tokens = self.tokens(part)
            self._keep(part)
            with self.engine.arithmetic():
                return self.engine.model.embed_text(tokens.ids, tokens.mask)
        pictures: list[InputImage] = []
        for source in part:
            try:
                pictures.append(self._reader.read(source))
                self._keep([source])
            except UserError as error:
                if self._bad is None or not self._bad(self._seen, str(error)):
                    raise InputError(self._seen, f"(of the gallery) {error}") from error
                self._seen += 1
        if not pictures:
            return torch.zeros(0, self.engine.model.config.projection)
        keys = [picture.key for picture in pictures]
        self._keys += keys
        self._encoded.need(pictures)
        states, index = self._encoded.stack(keys)
        with self.engine.arithmetic():
            return self.engine.model.project_image(states[:, 0])[index]

    def _keep(self, part: Sequence[Any]) -> None:
        self.numbers += range(self._seen, self._seen + len(part))
        self._seen += len(part)
        self.given += part

    def tokens(self, texts: Sequence[str]) -> Tokens:
        """Tokens [R, T] of texts as captions."""
        for text in texts:
            if not isinstance(text, str):
                raise UserError(f"the gallery's texts must be texts, not {type(text).__name__}")
        found = as_captions(self.engine, texts)
        return cut(found, range(len(texts)), self.engine.longest).to(self.engine.device)

    def read(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """States [R, T, D] of candidates and their mask, see `xfm.tasks.ranking.StateReader`."""
        chosen, owner = np.unique(rows, return_inverse=True)
        if self.texts:
            tokens = self.tokens([self.given[place] for place in chosen.tolist()])
            return self.engine.model.encode_texts([tokens])[0][owner], tokens.mask[owner]
        keys = [self._keys[place] for place in rows.tolist()]
        gone = [place for place in chosen.tolist() if self._keys[place] not in self._encoded]
        there = [key for key in keys if key in self._encoded]
        self._encoded.need([self._reader.read(self.given[place]) for place in gone], there)
        states, index = self._encoded.stack(keys)
        return states[index], torch.ones(len(rows), states.shape[1], dtype=torch.bool, device=states.device)


class Retrieval(Pipeline):
    """Texts or pictures, and a gallery of either -> `[{"index", "score", "similarity", "match", ...}]`.
    `index` counts candidates from 0. `score` orders them: the cosine, or after re-ranking cosine over
    temperature plus weighted log-odds of a match; `match` is the probability of one. The gallery is
    `images=[...]`, `texts=[...]`, or `pipe.gallery(...)` for many searches. Text against pictures is
    re-ranked by the matching head; like kinds are compared by cosine."""

    may_lack = ("itm_head.", "fusion.")
    searched: Gallery | None = None

    def gallery(
        self,
        *,
        images: Iterable[Any] | None = None,
        texts: Iterable[str] | None = None,
        bad: SkipCallback | None = None,
    ) -> Gallery:
        """Encode candidates once: either images (a folder, too) or texts; `bad` as of `Pipeline.numbered`."""
        if (images is None) == (texts is None):
            raise UserError("a gallery holds either images or texts: give one of the two")
        candidates = gallery_of(images, "images") if images is not None else gallery_of(texts, "texts")
        return Gallery(self.engine, candidates, images is None, bad)

    def __call__(self, inputs: Any = ABSENT, /, **given: Any) -> Any:
        """See `Pipeline.__call__`; `given` also holds `images`, `texts` or `gallery`. A bare string is a
        text."""
        gallery = given.pop("gallery", None)
        candidates = {name: given.pop(name) for name in ("images", "texts") if name in given}
        if not candidates and gallery is None:
            return super().__call__(inputs, **given)
        if candidates and gallery is not None:
            raise UserError("give either a gallery or its images or texts, not both")
        searching = type(self)(self.engine, self.spec)
        searching.searched = gallery or self.gallery(**candidates)
        return searching(inputs, **given)

    def begin(self, options: RetrievalOptions) -> tuple[Gallery, RetrievalOptions]:
        if self.searched is None:
            raise UserError("retrieval needs something to search in: images=[...], texts=[...] or gallery=")
        size = len(self.searched.given)
        top_k = min(options.top_k or size, size)
        rerank = 0 if not options.rerank else min(max(options.rerank, top_k), size)
        rerank = self.engine.rerank_depth(rerank)
        return self.searched, replace(options, top_k=top_k, rerank=rerank)

    def answer(
        self, batch: InputBatch, ready: tuple[Gallery, RetrievalOptions]
    ) -> list[list[dict[str, Any]]]:
        model, (gallery, options) = self.engine.model, ready
        text = None
        if batch.tokens is not None:
            (text,) = model.encode_texts([batch.tokens])
            queries = model.project_text(text[:, 0])
        else:
            queries = batch.of_rows(model.project_image(batch.pictures[:, 0]))
        cosines = queries.float() @ gallery.vectors.T.float()  # [R, N]
        crossed = gallery.texts == (text is None)
        reranked = crossed and options.rerank
        values, places = shortlist(cosines, options.rerank if reranked else options.top_k)
        if not reranked:
            return [self._hits(gallery, *row) for row in zip(values, places, values, strict=True)]
        logits = torch.from_numpy(self._logits(batch, text, gallery, places.cpu().numpy()))
        contrast, temperature = values.double().cpu().numpy(), model.temperature.item()
        scores = torch.from_numpy(rerank_scores(contrast, logits.double().numpy(), temperature))
        order = scores.argsort(dim=1, descending=True)[:, : options.top_k]
        fits = self.engine.pretrained.match_probability(logits)
        columns = (column.gather(1, order) for column in (values.cpu(), places.cpu(), scores, fits))
        return [self._hits(gallery, *row) for row in zip(*columns, strict=True)]

    def _hits(
        self, gallery: Gallery, cosines: Tensor, places: Tensor, scores: Tensor, match: Tensor | None = None
    ) -> list[dict[str, Any]]:
        hits = list[dict[str, Any]]()
        for row, place in enumerate(places.tolist()):
            score, number = scores[row].item(), gallery.numbers[place]
            hit: dict[str, Any] = {"index": number, "score": score, "similarity": cosines[row].item()}
            if match is not None:
                hit["match"] = match[row].item()
            given = gallery.given[place]  # in the answer: a text, a path or an address
            if gallery.texts or isinstance(given, str | Path):
                hit["text" if gallery.texts else "image"] = str(given)
            hits.append(hit)
        return hits

    def _logits(
        self, batch: InputBatch, text: Tensor | None, gallery: Gallery, places: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        engine, queries = self.engine, States()
        encoder = Encoder(engine.model, engine.tokenizer, engine.precision, engine.device, engine.batch_size)
        asked, found = np.arange(len(places)).repeat(places.shape[1]), places.ravel()
        if text is not None:
            queries.append(text, batch.text.mask)
            logits = match(encoder, gallery.read, queries.read, found, asked)
        else:
            assert batch.first is not None
            queries.append(batch.pictures)
            logits = match(encoder, queries.read, gallery.read, batch.first.cpu().numpy()[asked], found)
        return logits.reshape(*places.shape, 2)
