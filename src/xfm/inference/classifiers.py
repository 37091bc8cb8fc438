"""Classification by a fine-tuned head, and zero-shot by the names of classes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from xfm.config.labels import LabelKind
from xfm.config.pipelines import TopK, ZeroShotOptions
from xfm.core.errors import UserError
from xfm.evaluation.probing.prompt_templates import prompt
from xfm.inference.base import Pipeline
from xfm.inference.engine import InputBatch, as_captions
from xfm.inference.input_parsing import Item
from xfm.models.heads import class_probabilities
from xfm.models.task_models import Classifier

Classes = list[dict[str, Any]]
"""Classes with their probabilities: `{"label", "score"}`, and `chosen` of several labels."""


def best_first(scores: Tensor, names: Sequence[str], top_k: int) -> list[Classes]:
    """The likeliest classes of each row, from probabilities [R, C]."""
    values, places = scores.topk(min(top_k or len(names), len(names)), dim=-1)
    return [
        [{"label": names[place], "score": value} for value, place in zip(row, column, strict=True)]
        for row, column in zip(values.tolist(), places.tolist(), strict=True)
    ]


def chosen_first(scores: Tensor, names: Sequence[str], top_k: int, threshold: float) -> list[Classes]:
    """All labels from the threshold on, and the likeliest others, from probabilities [R, C]."""
    most = top_k or len(names)
    return [
        [
            {**one, "chosen": one["score"] >= threshold}
            for place, one in enumerate(own)
            if one["score"] >= threshold or place < most
        ]
        for own in best_first(scores, names, 0)
    ]


class Classification(Pipeline):
    """Inputs of a task with classes -> `[{"label", "score"}]`, best first, by the head of a fine-tuned model.

    One output is a regression: `[{"label": "value", "score": VALUE}]`. With several labels, all chosen are
    listed.
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

    def answer(self, batch: InputBatch, ready: TopK) -> list[Classes]:
        """The likeliest classes of each row, or its labels."""
        model = self.engine.pretrained.task
        assert isinstance(model, Classifier), "made with a model of its kind"
        logits, told = model.classify(batch).float(), model.task
        if told.classes == 1:
            return best_first(logits, told.names, ready.top_k)
        scores = class_probabilities(told.label_kind, logits)
        if told.label_kind is LabelKind.SEVERAL:
            return chosen_first(scores, told.names, ready.top_k, told.threshold)
        return best_first(scores, told.names, ready.top_k)


ClassVectors = tuple[Sequence[str], Tensor, int]
"""Names of C classes, their unit vectors [C, E], and how many classes an answer lists."""


class ZeroShotImageClassification(Pipeline):
    """A picture and `candidate_labels=[...]` -> `[{"score", "label"}]`, best first: softmax of cosine /
    temperature.

    `hypothesis_template` is one sentence or several with {} for the label.
    """

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
        """Encode the names of the classes, once a call."""
        sentences, size = self.sentences(options), self.engine.batch_size
        parts = [sentences[start : start + size] for start in range(0, len(sentences), size)]
        return self.named(options, [*map(self.encode, parts)])

    def named(self, options: ZeroShotOptions, vectors: Sequence[Tensor]) -> ClassVectors:
        """The classes from the vectors of all their `sentences`, in parts."""
        names, templates = options.candidate_labels, len(options.hypothesis_template)
        means = torch.cat([*vectors]).view(len(names), templates, -1).mean(dim=1)
        return names, torch.nn.functional.normalize(means, dim=-1), options.top_k

    def answer(self, batch: InputBatch, ready: ClassVectors) -> list[Classes]:
        """The likeliest labels of each picture."""
        model, (names, classes, top_k) = self.engine.model, ready
        vectors = batch.of_rows(model.project_image(batch.pictures[:, 0]))
        logits = vectors.float() @ classes.T.float() / model.temperature.float()
        if len(names) == 1:  # one label leaves no choice
            return [[{"label": names[0], "score": 1.0}] for _ in batch.items]
        return best_first(logits.softmax(-1), names, top_k)
