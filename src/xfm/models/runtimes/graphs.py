"""Graphs of a model: each encoder with its projection, fusion with its heads, a task's head.

The model's padded way, with open batch and length, as modules with named inputs and outputs, from which all
formats are written.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

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
    longest: int
    vocabulary: int = 0


class ImageGraph(nn.Module):
    """Pictures to states and unit vectors."""

    def __init__(self, model: Backbone) -> None:
        super().__init__()
        self.vision, self.projection = model.vision, model.vision_proj

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, H, W] -> [B, 1 + P, Dv] and [B, E]."""
        states = self.vision(pixels)
        return states, nn.functional.normalize(self.projection(states[:, 0]), dim=-1)


class TextGraph(nn.Module):
    """Texts to states and unit vectors."""

    def __init__(self, model: Backbone) -> None:
        super().__init__()
        self.language, self.projection = model.language, model.text_proj

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """[R, T] ids and mask -> [R, T, Dt] and [R, E]."""
        states = self.language(ids, mask)
        return states, nn.functional.normalize(self.projection(states[:, 0]), dim=-1)


class FusionGraph(nn.Module):
    """Texts fused with pictures, whether they fit, and where the text is."""

    def __init__(self, model: Backbone) -> None:
        super().__init__()
        self.fusion, self.match, self.box = model.fusion, model.itm_head, model.bbox_head

    def forward(
        self, text: Tensor, mask: Tensor, image: Tensor, index: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """[Q, T, Dt], [Q, T], [B, 1 + P, Dv] and [Q] -> [Q, T, Dt], [Q, 2] and [Q, 4]."""
        states, texts = self.fusion.place(text), padded(mask)
        memories = Memories([image], PaddedRows(states.shape[0], states.shape[1]), [(0, index)], [None])
        for layer in self.fusion.layers:
            states = layer(states, texts, memories)
        return states, self.match(states[:, 0]), self.box(states[:, 0]).sigmoid()


class WordsGraph(nn.Module):
    """States to logits over the vocabulary."""

    def __init__(self, head: nn.Module, words: nn.Embedding) -> None:
        super().__init__()
        self.head, self.words = head, words

    def forward(self, states: Tensor) -> Tensor:
        """[N, Dt] -> [N, V]."""
        return self.head(states, self.words)


def graphs_of(model: Backbone, task: TaskModel | None) -> list[Graph]:
    """Graphs of a model and of a task's head."""
    config, vision = model.config, model.config.vision
    height, width = vision.image_size, vision.image_width or vision.image_size
    wide, longest, texts = config.language.width, config.language.longest, {0: "texts", 1: "length"}
    ids, mask = torch.zeros(3, 7, dtype=torch.int64), torch.ones(3, 7, dtype=torch.bool)
    ids[:, 1:] = config.language.pad + 1
    found = [
        Graph(
            IMAGE, ImageGraph(model), {"pixels": torch.zeros(2, 3, height, width)},
            {"pixels": {0: "pictures"}}, ("states", "vector"),
            "prepared pixels -> states with the pooled one first, and unit vectors", longest,
        ),
        Graph(
            TEXT, TextGraph(model), {"ids": ids, "mask": mask}, {"ids": texts, "mask": texts},
            ("states", "vector"), "tokens and which are real -> states, and unit vectors", longest,
        ),
        Graph(
            FUSION, FusionGraph(model),
            {
                "text": torch.zeros(3, 7, wide), "mask": mask,
                "image": torch.zeros(2, 1 + vision.patches, vision.width), "index": torch.tensor([0, 1, 1]),
            },
            {"text": texts, "mask": texts, "image": {0: "pictures"}, "index": {0: "texts"}},
            ("states", "match", "box"),
            "states of texts and pictures, and the picture of each text -> fused states, logits (unmatched, "
            "matched), boxes (cx, cy, w, h) as fractions",
            longest,
        ),
        _of_words(model, WORDS, model.language_head, model.language.words, "text"),
        _of_words(model, FUSED_WORDS, model.fusion_head, model.fusion.embeddings.words, "fused"),
        *_of_task(model, task),
    ]  # fmt: skip
    return [replace(one, vocabulary=config.language.vocab_size) for one in found]


def _of_words(model: Backbone, name: str, head: nn.Module, words: nn.Embedding, what: str) -> Graph:
    states = {"states": torch.zeros(3, model.config.language.width)}
    about, longest = f"{what} states -> logits of words", model.config.language.longest
    return Graph(name, WordsGraph(head, words), states, {"states": {0: "rows"}}, ("logits",), about, longest)


def _of_task(model: Backbone, task: TaskModel | None) -> list[Graph]:
    wide, longest = model.config.language.width, model.config.language.longest
    if isinstance(task, Classifier) and type(task).__module__ == TaskModel.__module__:
        head, size, about = task.get_submodule("head"), wide, "the state of the first token"
        if isinstance(task, ImageClassifier):
            published, width = task.task.image_head is ImageHead.PUBLISHED, model.config.vision.width
            size = 2 * width if published else width
            about = "the pooled state" + (" and the mean of the others, side by side" if published else "")
        elif isinstance(task, Reasoner):
            size, about = 2 * wide, "the first fused states with the left and the right picture, side by side"
        if task.task.head is HeadKind.PROBE and isinstance(head, nn.Linear):
            size, about = head.in_features, "what the encoders say of a row, side by side"
        inputs, axes = {"state": torch.zeros(3, size)}, {"state": {0: "rows"}}
        return [Graph(HEAD, head, inputs, axes, ("logits",), f"{about} -> logits of the classes", longest)]
    return []
