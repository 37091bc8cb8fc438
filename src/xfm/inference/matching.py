"""Pipelines on the pre-trained heads: vectors, matches of text and picture, boxes of phrases."""

import warnings
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from xfm.config.task import TaskConfig
from xfm.config.task_spec import NoOptions, TaskSpec
from xfm.config.tasks import EMBED, TEXT_VECTORS
from xfm.data.schema import Tokens
from xfm.data.tokenizer import as_read
from xfm.data.transforms import Boxes, BoxFormat, BoxUnit
from xfm.inference.base import Answer, Pipeline
from xfm.inference.engine import InputBatch, cut
from xfm.inference.input_parsing import Item
from xfm.models.task_models import Grounder


class _VectorPipeline(Pipeline[NoOptions, Answer]):
    def as_read(self, text: str, pictures: int) -> str:
        task = self.engine.pretrained.task
        own = None if task is None else task.task.spec
        rule = own.text if own is not None and TEXT_VECTORS in own.uses else EMBED.text
        return as_read(rule, text, self.engine.longest)


class Embed(_VectorPipeline[NDArray[np.float32]]):
    """`{"text"}` or `{"image"}`, or a text or a picture that is no path -> a unit vector [E], float32.

    A list gives one array [N, E]. Products of vectors are cosines, of texts with pictures too. A bare string
    is a text: give a picture's path as `{"image": PATH}` or as a `pathlib.Path`.
    """

    @classmethod
    def suits(cls, spec: TaskSpec, own: TaskSpec) -> bool:
        """Vectors of texts alone suffice; `check` warns of pictures."""
        return super().suits(spec, own) or TEXT_VECTORS in own.uses

    def check(self, item: Item) -> None:
        """Warn of pictures where only texts were fine-tuned."""
        if item.pictures:
            self.warn_of_pictures()

    def warn_of_pictures(self) -> None:
        """Warn where a fine-tuning on texts alone has moved them away from pictures."""
        task = self.engine.pretrained.task
        own = None if task is None else task.task.spec
        if own is not None and self.suits(self.spec, own) and not super().suits(self.spec, own):
            warnings.warn(
                f"{self.engine.name} was fine-tuned for {own.name}, on texts alone: their vectors are no "
                "longer near those of pictures; the model that it was fine-tuned from has both in one space",
                stacklevel=2,
            )

    def answer(self, batch: InputBatch, ready: NoOptions) -> list[NDArray[np.float32]]:
        """A vector of each row."""
        model = self.engine.model
        if batch.tokens is not None:
            vectors = model.embed_text(batch.tokens.ids, batch.tokens.mask)
        else:
            vectors = batch.of_rows(model.project_image(batch.pictures[:, 0]))
        return [*vectors.float().cpu().numpy()]

    def collected(self, answers: list[NDArray[np.float32]]) -> Any:
        """[N, E]."""
        width = self.engine.model.config.projection
        return np.stack(answers) if answers else np.zeros((0, width), dtype=np.float32)


class TextSimilarity(TypedDict):
    """The cosine of two texts' vectors, from -1 to 1."""

    score: float


class SentenceSimilarity(_VectorPipeline[TextSimilarity]):
    """`{"anchor", "positive"}`, two texts -> `{"score"}`: the cosine of their vectors, those of `embed`."""

    def tokenise(self, texts: Sequence[tuple[str, ...]]) -> Tokens | None:
        """Tokens [R, T] of the first texts: the two of a row are read separately."""
        return super().tokenise([own[:1] for own in texts])

    def answer(self, batch: InputBatch, ready: NoOptions) -> list[TextSimilarity]:
        """The cosine of each row."""
        model, engine = self.engine.model, self.engine
        tokens = self.tokenise([item.texts[1:] for item in batch.items])
        assert tokens is not None
        others = cut(tokens, range(len(batch.items)), engine.longest).to(engine.device)
        first, second = (model.embed_text(one.ids, one.mask) for one in (batch.text, others))
        return [{"score": cosine} for cosine in (first * second).sum(-1).tolist()]


class Match(TypedDict):
    """`score`: the matching probability, see `Pretrained.match_probability`; `similarity`: the cosine."""

    score: float
    similarity: float


class ImageTextMatching(Pipeline[NoOptions, Match]):
    """`{"image", "text"}` -> `{"score", "similarity"}`: probability of a match, and the cosine."""

    def answer(self, batch: InputBatch, ready: NoOptions) -> list[Match]:
        """Both scores of each row."""
        model = self.engine.model
        (text,) = model.encode_texts([batch.text])
        fused = model.fuse_first(text, batch.text.mask, batch.pictures, batch.first)
        scores = self.engine.pretrained.match_probability(model.match_logits(fused))
        shown = batch.of_rows(model.project_image(batch.pictures[:, 0]))
        cosines = (model.project_text(text[:, 0]) * shown).sum(-1)
        return [
            {"score": score, "similarity": cosine}
            for score, cosine in zip(scores.tolist(), cosines.tolist(), strict=True)
        ]


class PixelBox(TypedDict):
    """A box in pixels of the picture as it was given; the origin is its top left corner, y points down."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float


def pixel_box(fractions: Tensor, width: int, height: int) -> PixelBox:
    """Fractions [4] (left, top, right, bottom) in pixels of a picture."""
    box = Boxes(fractions[None].double(), BoxFormat.XYXY, BoxUnit.FRACTION)
    left, top, right, bottom = box.to_unit(BoxUnit.PIXEL, width, height).data[0].tolist()
    return {"xmin": left, "ymin": top, "xmax": right, "ymax": bottom}


class GroundedPhrase(TypedDict):
    """A phrase, its box, and the probability that it is there."""

    label: str
    score: float | None
    box: PixelBox


class Grounding(Pipeline[NoOptions, GroundedPhrase]):
    """`{"image", "text"}` -> `{"label": TEXT, "score", "box": {"xmin", "ymin", "xmax", "ymax"}}`.

    The box is in pixels of the picture as given, origin at the top left. Every phrase gets one box, whether
    the thing is there or not: the score is the probability of `image-text-matching`; None after a fine-tuning
    for boxes.
    """

    def answer(self, batch: InputBatch, ready: NoOptions) -> list[GroundedPhrase]:
        """The box of each phrase."""
        model, pretrained = self.engine.model, self.engine.pretrained
        fused = Grounder(model, TaskConfig(self.spec.name)).fused_first(batch)
        predicted, scores = model.boxes(fused), [None] * len(batch.items)
        if pretrained.task is None:
            scores = pretrained.match_probability(model.match_logits(fused)).tolist()
        corners = Boxes(predicted.float().cpu(), BoxFormat.CXCYWH, BoxUnit.FRACTION).to_format(BoxFormat.XYXY)
        found: list[GroundedPhrase] = []
        for item, score, fractions in zip(batch.items, scores, corners.data.clamp(0, 1), strict=True):
            picture = item.pictures[0]
            box = pixel_box(fractions, picture.width, picture.height)
            found.append({"label": item.shown, "score": score, "box": box})
        return found
