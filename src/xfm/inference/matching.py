"""Pipelines on the pre-trained heads: vectors, whether a text fits a picture, and where a phrase is."""

from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from xfm.config.task import TaskConfig
from xfm.config.task_spec import NoOptions
from xfm.data.boxes import Boxes, BoxFormat, BoxUnit
from xfm.inference.base import Pipeline
from xfm.inference.batches import InputBatch
from xfm.modeling.task_models import Grounder


class Embed(Pipeline[NoOptions, NDArray[np.float32]]):
    """`{"text"}` or `{"image"}`, or a text or a picture that is no path -> a unit vector [E], float32.

    A list gives one array [N, E]. The product of two vectors is their cosine, of texts with pictures too. A
    bare string is a text: give a picture's path as `{"image": PATH}` or as a `pathlib.Path`.
    """

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
        width = self.engine.model.config.vector_width
        return np.stack(answers) if answers else np.zeros((0, width), dtype=np.float32)


class Match(TypedDict):
    """How well a text fits a picture.

    score: probability of a match by the matching head, see `Pretrained.match_probability`.
    similarity: cosine of the two vectors, which is cheaper to compare many with many.
    """

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


class Located(TypedDict):
    """A phrase and the box that it refers to."""

    label: str
    box: PixelBox


class Grounding(Pipeline[NoOptions, Located]):
    """`{"image", "text"}` -> `{"label": TEXT, "box": {"xmin", "ymin", "xmax", "ymax"}}`.

    The box is in pixels of the picture as it was given, the origin at its top left corner: left, top,
    right, bottom edge, floats inside the picture. Every phrase gets exactly one box: the head does not say
    whether the thing is there at all, `image-text-matching` does.
    """

    def answer(self, batch: InputBatch, ready: NoOptions) -> list[Located]:
        """The box of each phrase."""
        predicted = Grounder(self.engine.model, TaskConfig(self.spec.name)).locate(batch)
        corners = Boxes(predicted.float().cpu(), BoxFormat.CXCYWH, BoxUnit.FRACTION).to_format(BoxFormat.XYXY)
        found: list[Located] = []
        for item, fractions in zip(batch.items, corners.data.clamp(0, 1), strict=True):
            picture = item.pictures[0]
            box = Boxes(fractions[None].double(), BoxFormat.XYXY, BoxUnit.FRACTION)
            left, top, right, bottom = (
                box.to_unit(BoxUnit.PIXEL, picture.width, picture.height).data[0].tolist()
            )
            found.append(
                {"label": item.shown, "box": {"xmin": left, "ymin": top, "xmax": right, "ymax": bottom}}
            )
        return found
