"""Pipelines that choose among classes: of a fine-tuned head, and by the classes' names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor

from xfm.config.pipelines import Best, ZeroShotOptions
from xfm.errors import UserError
from xfm.inference.base import Pipeline
from xfm.inference.batches import InputBatch, as_captions
from xfm.inference.items import Item
from xfm.modeling.task_models import Classifier


class ScoredClass(TypedDict):
    """A class with its probability; of a regression the label is `value` and the score is the value."""

    label: str
    score: float


def best_first(logits: Tensor, names: Sequence[str], top_k: int) -> list[list[ScoredClass]]:
    """[R, C] logits -> for each row its likeliest classes; a single output is the value itself."""
    scores = logits.float()
    scores = scores if len(names) == 1 else scores.softmax(-1)
    values, places = scores.topk(min(top_k or len(names), len(names)), dim=-1)
    return [
        [ScoredClass(label=names[int(place)], score=value) for value, place in zip(row, column, strict=True)]
        for row, column in zip(values.tolist(), places.tolist(), strict=True)
    ]


class Classification(Pipeline[Best, list[ScoredClass]]):
    """Inputs of a task with classes -> `[{"label", "score"}]`, best first, by the head of a fine-tuned model.

    A model with one output is a regression: its answer is `[{"label": "value", "score": VALUE}]`.
    """

    def check(self, item: Item) -> None:
        """Refuse a text where the model was fine-tuned on pairs, and a pair where it was not."""
        told, second = self.engine.pretrained.task, self.spec.second
        texts = 0 if told is None or second is None else told.task.texts
        if second is not None and texts and len(item.texts) != texts:
            lacks, name = texts > len(item.texts), second.name
            mend = "give it" if lacks else f"leave it out (of a table with --columns {name}=)"
            raise UserError(
                f"the rows that the model was fine-tuned on have {'a' if lacks else 'no'} {name}; {mend}"
            )

    def answer(self, batch: InputBatch, ready: Best) -> list[list[ScoredClass]]:
        """The likeliest classes of each row."""
        model = self.engine.pretrained.task
        assert isinstance(model, Classifier), "made with a model of its kind"
        return best_first(model.classify(batch), model.task.names, ready.top_k)


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


class ZeroShotImageClassification(Pipeline[ClassVectors, list[ScoredClass]]):
    """A picture and `candidate_labels=[...]` -> `[{"score", "label"}]`, best first.

    The score is the softmax over the labels of cosine over temperature. `hypothesis_template` is a sentence
    with {} in the label's place, or several.
    """

    @torch.inference_mode()
    def begin(self, options: ZeroShotOptions) -> ClassVectors:
        """Encode the names of the classes, once a call."""
        if not options.candidate_labels:
            raise UserError(f"{self.spec.name} needs candidate_labels, such as 'cat, dog'")
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

    def answer(self, batch: InputBatch, ready: ClassVectors) -> list[list[ScoredClass]]:
        """The likeliest labels of each picture."""
        model = self.engine.model
        vectors = batch.of_rows(model.project_image(batch.pictures[:, 0]))
        logits = vectors.float() @ ready.vectors.T.float() / model.temperature.float()
        if len(ready.names) == 1:  # one label leaves no choice
            return [[{"label": ready.names[0], "score": 1.0}] for _ in batch.items]
        return best_first(logits, ready.names, ready.top_k)
