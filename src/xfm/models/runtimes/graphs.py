"""Graphs of a model: each encoder with its projection, fusion with its heads, a task's head.

The model's padded way, with open batch and length, as modules with named inputs and outputs, from which all
formats are written.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from xfm.config.task import HeadKind, ImageHead
from xfm.models.attention_layout import PaddedRows, padded
from xfm.models.composition import Backbone
from xfm.models.shared_kv import Memories
from xfm.models.task_models import Classifier, ImageClassifier, Reasoner, TaskModel

IMAGE, TEXT, FUSION, WORDS, FUSED_WORDS = "image", "text", "fusion", "words", "fused_words"
HEAD = "head"
MOST = 1 << 16
"""Rows of a batch at most."""


@dataclass(frozen=True)
class Graph:
    """A part of a model as a graph: example inputs by name, open sides of each (`axes`, by place), outputs
    in order; `longest` bounds sides called `length`, `vocabulary` ids."""

    name: str
    module: nn.Module
    inputs: Mapping[str, Tensor]
    axes: Mapping[str, Mapping[int, str]]
    outputs: tuple[str, ...]
    about: str
    longest: int = 0
    vocabulary: int = 0


class PartGraph(nn.Module):
    """Parts of a model, and what is computed of them and the inputs; without parts a graph that runs."""

    config: Any
    """What the encoder that it stands for was told, if it is one."""

    def __init__(self, compute: Callable[..., Any], *parts: nn.Module) -> None:
        super().__init__()
        self.compute, self.parts = compute, nn.ModuleList(parts)

    def forward(self, *inputs: Any) -> Any:
        """The outputs of a graph of its inputs, in order."""
        return self.compute(*self.parts, *inputs)


def _encoded(encoder: nn.Module, projection: nn.Module, *inputs: Tensor) -> tuple[Tensor, Tensor]:
    states = encoder(*inputs)
    return states, nn.functional.normalize(projection(states[:, 0]), dim=-1)


def _fused(
    fusion: Any, match: nn.Module, box: nn.Module, text: Tensor, mask: Tensor, image: Tensor, index: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    states, texts = fusion.place(text), padded(mask)
    memories = Memories([image], PaddedRows(states.shape[0], states.shape[1]), [(0, index)], [None])
    for layer in fusion.layers:
        states = layer(states, texts, memories)
    return states, match(states[:, 0]), box(states[:, 0]).sigmoid()


def _words(head: nn.Module, words: nn.Embedding, states: Tensor) -> Tensor:
    return head(states, words)


def graphs_of(model: Backbone, task: TaskModel | None) -> list[Graph]:
    """Graphs of a model and of a task's head."""
    config, vision = model.config, model.config.vision
    height, width = vision.image_size, vision.image_width or vision.image_size
    wide, texts = config.language.width, {0: "texts", 1: "length"}
    ids, mask = torch.zeros(3, 7, dtype=torch.int64), torch.ones(3, 7, dtype=torch.bool)
    ids[:, 1:] = config.language.pad + 1
    found = [
        Graph(
            IMAGE, PartGraph(_encoded, model.vision, model.vision_proj),
            {"pixels": torch.zeros(2, 3, height, width)}, {"pixels": {0: "pictures"}}, ("states", "vector"),
            "prepared pixels -> states with the pooled one first, and unit vectors",
        ),
        Graph(
            TEXT, PartGraph(_encoded, model.language, model.text_proj), {"ids": ids, "mask": mask},
            {"ids": texts, "mask": texts}, ("states", "vector"),
            "tokens and which are real -> states, and unit vectors",
        ),
        Graph(
            FUSION, PartGraph(_fused, model.fusion, model.itm_head, model.bbox_head),
            {
                "text": torch.zeros(3, 7, wide), "mask": mask,
                "image": torch.zeros(2, 1 + vision.patches, vision.width), "index": torch.tensor([0, 1, 1]),
            },
            {"text": texts, "mask": texts, "image": {0: "pictures"}, "index": {0: "texts"}},
            ("states", "match", "box"),
            "states of texts and pictures, and the picture of each text -> fused states, logits (unmatched, "
            "matched), boxes (cx, cy, w, h) as fractions",
        ),
    ]  # fmt: skip
    for name, head, words, what in (
        (WORDS, model.language_head, model.language.words, "text"),
        (FUSED_WORDS, model.fusion_head, model.fusion.embeddings.words, "fused"),
    ):
        states, about = {"states": torch.zeros(3, wide)}, f"{what} states -> logits of words"
        found.append(
            Graph(name, PartGraph(_words, head, words), states, {"states": {0: "rows"}}, ("logits",), about)
        )
    if isinstance(task, Classifier) and type(task).__module__ == TaskModel.__module__:
        head, about = task.get_submodule("head"), "the state of the first token"
        if task.task.head is HeadKind.PROBE and isinstance(head, nn.Linear):
            about = "what the encoders say of a row, side by side"
        elif isinstance(task, ImageClassifier) and task.task.image_head is ImageHead.PUBLISHED:
            about = "the pooled state and the mean of the others, side by side"
        elif isinstance(task, ImageClassifier):
            about = "the pooled state"
        elif isinstance(task, Reasoner):
            about = "the first fused states with the left and the right picture, side by side"
        first = next(part for part in head.modules() if isinstance(part, nn.Linear))
        inputs, axes = {"state": torch.zeros(3, first.in_features)}, {"state": {0: "rows"}}
        found.append(Graph(HEAD, head, inputs, axes, ("logits",), f"{about} -> logits of the classes"))
    longest, vocabulary = config.language.longest, config.language.vocab_size
    return [replace(one, longest=longest, vocabulary=vocabulary) for one in found]
