"""Pipelines on the heads of a model: classes, vectors, matches of text and picture, boxes of phrases."""

import warnings
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfm.config.labels import LabelKind
from xfm.config.pipelines import TopK, ZeroShotOptions
from xfm.config.tables import BoxFormat, BoxUnit
from xfm.config.task import TaskConfig
from xfm.config.task_spec import NoOptions, TaskSpec
from xfm.config.tasks import EMBED, TEXT_VECTORS
from xfm.core.errors import UserError
from xfm.data.schema import Tokens
from xfm.data.transforms import Boxes
from xfm.evaluation.probing.prompt_templates import prompt
from xfm.inference.base import Pipeline
from xfm.inference.engine import InputBatch, as_captions, cut
from xfm.inference.input_parsing import Item
from xfm.models.heads import class_probabilities
from xfm.models.task_models import Classifier, Grounder

Classes = list[dict[str, Any]]
"""Classes with their probabilities: `{"label", "score"}`, and `chosen` of several labels."""


def best_first(scores: Tensor, names: Sequence[str], top_k: int) -> list[Classes]:
    """The likeliest classes of each row, from probabilities [R, C]."""
    values, places = scores.topk(min(top_k or len(names), len(names)), dim=-1)
    return [
        [{"label": names[place], "score": value} for value, place in zip(row, column, strict=True)]
        for row, column in zip(values.tolist(), places.tolist(), strict=True)
    ]


class Classification(Pipeline):
    """Inputs of a task with classes -> `[{"label", "score"}]`, best first, by the head of a fine-tuned model.
    One output is a regression: `[{"label": "value", "score": VALUE}]`. With several labels, all chosen are
    listed."""

    def check(self, item: Item) -> None:
        told, second = self.engine.pretrained.task, self.spec.second
        texts = 0 if told is None or second is None else told.task.texts
        if second is not None and texts and len(item.texts) != texts:
            lacks, name = texts > len(item.texts), second.name
            mend = "give it" if lacks else f"leave it out (of a table with --columns {name}=)"
            raise UserError(f"the model has learned from rows with{'' if lacks else 'out'} {name}; {mend}")

    def answer(self, batch: InputBatch, ready: TopK) -> list[Classes]:
        model = self.engine.pretrained.task
        assert isinstance(model, Classifier), "made with a model of its kind"
        logits, told = model.classify(batch).float(), model.task
        if told.classes == 1:
            return best_first(logits, told.names, ready.top_k)
        scores = class_probabilities(told.label_kind, logits)
        if told.label_kind is LabelKind.SEVERAL:
            most, ranked = ready.top_k or len(told.names), best_first(scores, told.names, 0)
            judged = ([{**one, "chosen": one["score"] >= told.threshold} for one in own] for own in ranked)
            return [[one for place, one in enumerate(own) if one["chosen"] or place < most] for own in judged]
        return best_first(scores, told.names, ready.top_k)


ClassVectors = tuple[Sequence[str], Tensor, int]
"""Names of C classes, their unit vectors [C, E], and how many classes an answer lists."""


class ZeroShotImageClassification(Pipeline):
    """A picture and `candidate_labels=[...]` -> `[{"score", "label"}]`, best first: softmax of cosine /
    temperature. `hypothesis_template` is one sentence or several with {} for the label."""

    def sentences(self, options: ZeroShotOptions) -> list[str]:
        """Every class name in every template."""
        if not all(map(str.strip, options.candidate_labels or [""])):
            raise UserError(f"{self.spec.name} needs candidate_labels, such as 'cat, dog'")
        return [
            prompt(form, name) for name in options.candidate_labels for form in options.hypothesis_template
        ]

    @torch.inference_mode()
    def encode(self, sentences: Sequence[str]) -> Tensor:
        """Vectors [N, E] of at most a batch of sentences."""
        tokens = as_captions(self.engine, sentences).to(self.engine.device)
        with self.engine.arithmetic():
            return self.engine.model.embed_text(tokens.ids, tokens.mask)

    def begin(self, options: ZeroShotOptions) -> ClassVectors:
        sentences, size = self.sentences(options), self.engine.batch_size
        parts = [sentences[start : start + size] for start in range(0, len(sentences), size)]
        return self.named(options, [*map(self.encode, parts)])

    def named(self, options: ZeroShotOptions, vectors: Sequence[Tensor]) -> ClassVectors:
        """The classes from the vectors of all their `sentences`, in parts."""
        names, templates = options.candidate_labels, len(options.hypothesis_template)
        means = torch.cat([*vectors]).view(len(names), templates, -1).mean(dim=1)
        return names, torch.nn.functional.normalize(means, dim=-1), options.top_k

    def answer(self, batch: InputBatch, ready: ClassVectors) -> list[Classes]:
        model, (names, classes, top_k) = self.engine.model, ready
        vectors = batch.of_rows(model.project_image(batch.pictures[:, 0]))
        logits = vectors.float() @ classes.T.float() / model.temperature.float()
        if len(names) == 1:  # one label leaves no choice
            return [[{"label": names[0], "score": 1.0}] for _ in batch.items]
        return best_first(logits.softmax(-1), names, top_k)


def _read_for_vectors(self: Any, text: str, pictures: int) -> str:
    task = self.engine.pretrained.task
    own = None if task is None else task.task.spec
    rule = own.text if own is not None and TEXT_VECTORS in own.uses else EMBED.text
    return self.engine.tokenizer.as_read(rule, text, self.engine.longest)


class Embed(Pipeline):
    """`{"text"}` or `{"image"}`, or a text or a picture that is no path -> a unit vector [E], float32. A list
    gives one array [N, E]. Products of vectors are cosines, of texts with pictures too. A bare string is a
    text: give a picture's path as `{"image": PATH}` or as a `pathlib.Path`. Unless `normalised`, vectors are
    the projections as they come."""

    normalised = True
    as_read = _read_for_vectors

    @classmethod
    def suits(cls, spec: TaskSpec, own: TaskSpec) -> bool:
        """Vectors of texts alone suffice; `check` warns of pictures."""
        return super().suits(spec, own) or TEXT_VECTORS in own.uses

    def check(self, item: Item) -> None:
        task = self.engine.pretrained.task
        own = None if task is None else task.task.spec
        if item.pictures and own and self.suits(self.spec, own) and not super().suits(self.spec, own):
            warnings.warn(
                f"{self.engine.name} was fine-tuned for {own.name}, on texts alone: their vectors are no "
                "longer near those of pictures; the model that it was fine-tuned from has both in one space",
                stacklevel=2,
            )

    def answer(self, batch: InputBatch, ready: NoOptions) -> list[NDArray[np.float32]]:
        model = self.engine.model
        if batch.tokens is not None:
            vectors = model.embed_text(batch.tokens.ids, batch.tokens.mask, self.normalised)
        else:
            project = model.project_image if self.normalised else model.vision_proj
            vectors = batch.of_rows(project(batch.pictures[:, 0]))
        return [*vectors.float().cpu().numpy()]

    def collected(self, answers: list[NDArray[np.float32]]) -> Any:
        """[N, E]."""
        width = self.engine.model.config.projection
        return np.stack(answers) if answers else np.zeros((0, width), dtype=np.float32)


class SentenceSimilarity(Pipeline):
    """`{"anchor", "positive"}`, two texts -> `{"score"}`: the cosine of their vectors, those of `embed`."""

    as_read = _read_for_vectors

    def tokenise(self, texts: Sequence[tuple[str, ...]]) -> Tokens | None:
        """Tokens [R, T] of the first texts: the two of a row are read separately."""
        return super().tokenise([own[:1] for own in texts])

    def answer(self, batch: InputBatch, ready: NoOptions) -> list[dict[str, float]]:
        model, engine = self.engine.model, self.engine
        tokens = self.tokenise([item.texts[1:] for item in batch.items])
        assert tokens is not None
        others = cut(tokens, range(len(batch.items)), engine.longest).to(engine.device)
        first, second = (model.embed_text(one.ids, one.mask) for one in (batch.text, others))
        return [{"score": cosine} for cosine in (first * second).sum(-1).tolist()]


class ImageTextMatching(Pipeline):
    """`{"image", "text"}` -> `{"score", "similarity"}`: probability of a match, and the cosine."""

    def answer(self, batch: InputBatch, ready: NoOptions) -> list[dict[str, float]]:
        model = self.engine.model
        (text,) = model.encode_texts([batch.text])
        fused = model.fuse_first(text, batch.text.mask, batch.pictures, batch.first)
        scores = self.engine.pretrained.match_probability(model.match_logits(fused))
        shown = batch.of_rows(model.project_image(batch.pictures[:, 0]))
        cosines = (model.project_text(text[:, 0]) * shown).sum(-1)
        found = zip(scores.tolist(), cosines.tolist(), strict=True)
        return [{"score": score, "similarity": cosine} for score, cosine in found]


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


class Grounding(Pipeline):
    """`{"image", "text"}` -> `{"label": TEXT, "score", "box": {"xmin", "ymin", "xmax", "ymax"}}`. The box is
    in pixels of the picture as given, origin at the top left. Every phrase gets one box, whether the thing is
    there or not: the score is the probability of `image-text-matching`; None after a fine-tuning for
    boxes."""

    def answer(self, batch: InputBatch, ready: NoOptions) -> list[dict[str, Any]]:
        model, pretrained = self.engine.model, self.engine.pretrained
        fused = Grounder(model, TaskConfig(self.spec.name)).fused_first(batch)
        predicted, scores = model.boxes(fused), [None] * len(batch.items)
        if pretrained.task is None:
            scores = pretrained.match_probability(model.match_logits(fused)).tolist()
        corners = Boxes(predicted.float().cpu(), BoxFormat.CXCYWH, BoxUnit.FRACTION).to_format(BoxFormat.XYXY)
        found = list[dict[str, Any]]()
        for item, score, fractions in zip(batch.items, scores, corners.data.clamp(0, 1), strict=True):
            picture = item.pictures[0]
            box = pixel_box(fractions, picture.width, picture.height)
            found.append({"label": item.shown, "score": score, "box": box})
        return found
