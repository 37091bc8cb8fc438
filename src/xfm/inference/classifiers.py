"""Pipelines that choose among classes: of texts, pictures, both, two pictures; and by the classes' names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypedDict

import torch
from torch import Tensor

from xfm.config.pipelines import Best, PipelineTask, ZeroShotOptions
from xfm.config.task import TaskKind
from xfm.data.tokenizer import normalise_caption
from xfm.errors import UserError
from xfm.inference.base import Pipeline
from xfm.inference.batches import Batch, as_captions
from xfm.modeling.task_models import ImageClassifier, PairClassifier, Reasoner, TaskModel, TextClassifier


class Scored(TypedDict):
    """A class with its probability; of a regression the label is `value` and the score is the value."""

    label: str
    score: float


def best_first(logits: Tensor, names: Sequence[str], top_k: int) -> list[list[Scored]]:
    """[R, C] logits -> for each row its likeliest classes; a single output is the value itself."""
    scores = logits.float()
    scores = scores if len(names) == 1 else scores.softmax(-1)
    values, places = scores.topk(min(top_k or len(names), len(names)), dim=-1)
    return [
        [Scored(label=names[int(place)], score=value) for value, place in zip(row, column, strict=True)]
        for row, column in zip(values.tolist(), places.tolist(), strict=True)
    ]


class _Classifier(Pipeline[Best, list[Scored]]):
    """The head of a fine-tuned model over its classes."""

    def prepare(self, options: Best) -> Best:
        return options

    def answer(self, batch: Batch, ready: Best) -> list[list[Scored]]:
        """The likeliest classes of each row."""
        model = self.engine.pretrained.task
        assert model is not None, "made with a model of its kind"
        return best_first(self.logits(model, batch), model.task.names, ready.top_k)

    def logits(self, model: TaskModel, batch: Batch) -> Tensor:
        """[R, C]."""
        raise NotImplementedError


class TextClassification(_Classifier):
    """`{"text", "text_pair"}` or a text -> `[{"label", "score"}]`, best first; `text_pair` may be left out.

    A model with one output is a regression: its answer is `[{"label": "value", "score": VALUE}]`.
    """

    task: ClassVar[PipelineTask] = PipelineTask.TEXT_CLASSIFICATION
    kind: ClassVar[TaskKind | None] = TaskKind.TEXT

    def as_read(self, text: str, pictures: int) -> str:
        """As it is: language is learned from texts as they are written."""
        return text

    def logits(self, model: TaskModel, batch: Batch) -> Tensor:
        """[R, C]."""
        assert isinstance(model, TextClassifier)
        assert batch.tokens is not None
        return model(batch.tokens)


class ImageClassification(_Classifier):
    """A picture -> `[{"label", "score"}]`, best first."""

    task: ClassVar[PipelineTask] = PipelineTask.IMAGE_CLASSIFICATION
    kind: ClassVar[TaskKind | None] = TaskKind.IMAGE

    def logits(self, model: TaskModel, batch: Batch) -> Tensor:
        """[R, C]."""
        assert isinstance(model, ImageClassifier)
        assert batch.image is not None
        assert batch.index is not None
        return model.classify(batch.image)[batch.index[:, 0]]


class ImageTextClassification(_Classifier):
    """`{"image", "text"}` -> `[{"label", "score"}]`, best first."""

    task: ClassVar[PipelineTask] = PipelineTask.IMAGE_TEXT_CLASSIFICATION
    kind: ClassVar[TaskKind | None] = TaskKind.PAIR

    def as_read(self, text: str, pictures: int) -> str:
        """As in fine-tuning: all words that fit into the tokens."""
        return normalise_caption(text, max_words=self.engine.longest)

    def logits(self, model: TaskModel, batch: Batch) -> Tensor:
        """[R, C]."""
        assert isinstance(model, PairClassifier)
        tokens, image, index = batch.fused
        return model.classify(image, tokens, index)


class VisualReasoning(_Classifier):
    """`{"images": [LEFT, RIGHT], "text"}` -> `[{"label", "score"}]`, best first: is the text true of both?"""

    task: ClassVar[PipelineTask] = PipelineTask.VISUAL_REASONING
    kind: ClassVar[TaskKind | None] = TaskKind.REASONING

    def as_read(self, text: str, pictures: int) -> str:
        """As in fine-tuning: all words that fit into the tokens."""
        return normalise_caption(text, max_words=self.engine.longest)

    def logits(self, model: TaskModel, batch: Batch) -> Tensor:
        """[R, C]."""
        assert isinstance(model, Reasoner)
        assert batch.tokens is not None
        assert batch.image is not None
        assert batch.index is not None
        return model.classify(batch.image, batch.index[:, 0], batch.index[:, 1], batch.tokens)


@dataclass(frozen=True)
class ClassVectors:
    """Names of classes as vectors.

    Attributes:
        names: the C names.
        vectors: [C, E] unit vectors.
        top_k: how many an answer has.
    """

    names: tuple[str, ...]
    vectors: Tensor
    top_k: int


class ZeroShotImageClassification(Pipeline[ClassVectors, list[Scored]]):
    """A picture and `candidate_labels=[...]` -> `[{"score", "label"}]`, best first.

    The score is the softmax over the labels of cosine over temperature. `hypothesis_template` is a sentence
    with {} in the label's place, or several.
    """

    task: ClassVar[PipelineTask] = PipelineTask.ZERO_SHOT_IMAGE_CLASSIFICATION
    heads: ClassVar[tuple[str, ...]] = ("vision_proj.", "text_proj.")

    @torch.inference_mode()
    def prepare(self, options: ZeroShotOptions) -> ClassVectors:
        """Encode the names of the classes, once a call."""
        if not options.candidate_labels:
            raise UserError(f"{self.task} needs candidate_labels, such as 'cat, dog'")
        engine, names = self.engine, options.candidate_labels
        sentences = [
            template.replace("{}", name) for name in names for template in options.hypothesis_template
        ]
        vectors: list[Tensor] = []
        for start in range(0, len(sentences), engine.batch_size):
            tokens = as_captions(engine, sentences[start : start + engine.batch_size]).to(engine.device)
            with engine.arithmetic():
                vectors.append(engine.model.embed_text(tokens.ids, tokens.mask))
        means = torch.cat(vectors).view(len(names), len(options.hypothesis_template), -1).mean(dim=1)
        return ClassVectors(tuple(names), torch.nn.functional.normalize(means, dim=-1), options.top_k)

    def answer(self, batch: Batch, ready: ClassVectors) -> list[list[Scored]]:
        """The likeliest labels of each picture."""
        assert batch.image is not None
        assert batch.index is not None
        model = self.engine.model
        vectors = model.project_image(batch.image[:, 0])[batch.index[:, 0]]
        logits = vectors.float() @ ready.vectors.T.float() / model.temperature.float()
        if len(ready.names) == 1:  # one label leaves no choice
            return [[{"label": ready.names[0], "score": 1.0}] for _ in batch.items]
        return best_first(logits, ready.names, ready.top_k)
