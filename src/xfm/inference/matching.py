"""Pipelines on the pre-trained heads: vectors, whether a text fits a picture, and where a phrase is."""

from typing import Any, ClassVar, TypedDict

import numpy as np
from numpy.typing import NDArray

from xfm.config.pipelines import NoOptions, PipelineTask
from xfm.data.boxes import Boxes, BoxFormat, BoxUnit
from xfm.inference.base import Pipeline
from xfm.inference.batches import Batch
from xfm.modeling.task_models import fuse_encoded


class Embed(Pipeline[NoOptions, NDArray[np.float32]]):
    """`{"text"}` or `{"image"}`, or a text or a picture that is no path -> a unit vector [E], float32.

    A list gives one array [N, E]. The product of two vectors is their cosine, of texts with pictures too. A
    bare string is a text: give a picture's path as `{"image": PATH}` or as a `pathlib.Path`.
    """

    task: ClassVar[PipelineTask] = PipelineTask.EMBED
    heads: ClassVar[tuple[str, ...]] = ("vision_proj.", "text_proj.")

    def prepare(self, options: NoOptions) -> NoOptions:
        """Nothing."""
        return options

    def answer(self, batch: Batch, ready: NoOptions) -> list[NDArray[np.float32]]:
        """A vector of each row."""
        model = self.engine.model
        if batch.tokens is not None:
            vectors = model.embed_text(batch.tokens.ids, batch.tokens.mask)
        else:
            assert batch.image is not None
            assert batch.index is not None
            vectors = model.project_image(batch.image[:, 0])[batch.index[:, 0]]
        return [*vectors.float().cpu().numpy()]

    def collected(self, answers: list[NDArray[np.float32]]) -> Any:
        """[N, E]."""
        width = self.engine.model.config.projection
        return np.stack(answers) if answers else np.zeros((0, width), dtype=np.float32)


class Match(TypedDict):
    """How well a text fits a picture.

    score: probability of a match by the matching head.
    similarity: cosine of the two vectors, which is cheaper to compare many with many.
    """

    score: float
    similarity: float


class ImageTextMatching(Pipeline[NoOptions, Match]):
    """`{"image", "text"}` -> `{"score", "similarity"}`: probability of a match, and the cosine."""

    task: ClassVar[PipelineTask] = PipelineTask.IMAGE_TEXT_MATCHING
    heads: ClassVar[tuple[str, ...]] = ("itm_head.", "fusion.", "vision_proj.", "text_proj.")

    def prepare(self, options: NoOptions) -> NoOptions:
        """Nothing."""
        return options

    def answer(self, batch: Batch, ready: NoOptions) -> list[Match]:
        """Both scores of each row."""
        model = self.engine.model
        tokens, image, index = batch.fused
        text = model.encode_text(tokens.ids, tokens.mask)
        fused = model.fuse(text, tokens.mask, image, index)
        scores = model.match_logits(fused).float().softmax(-1)[:, 1]
        cosines = (model.project_text(text[:, 0]) * model.project_image(image[:, 0])[index]).sum(-1)
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

    task: ClassVar[PipelineTask] = PipelineTask.GROUNDING
    heads: ClassVar[tuple[str, ...]] = ("bbox_head.", "fusion.")

    def prepare(self, options: NoOptions) -> NoOptions:
        """Nothing."""
        return options

    def answer(self, batch: Batch, ready: NoOptions) -> list[Located]:
        """The box of each phrase."""
        tokens, image, index = batch.fused
        predicted = self.engine.model.boxes(fuse_encoded(self.engine.model, image, tokens, index))
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
