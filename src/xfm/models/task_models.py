"""Task models: the pre-trained model, or one of its encoders, with a `head` or `decoder`.

Parts are shared with the `Backbone`: copy it where several tasks start from one.
"""

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from xfm.config.task import HeadKind, ImageHead, TaskConfig
from xfm.core.errors import UserError
from xfm.data.schema import Tokens
from xfm.models.composition import Backbone
from xfm.models.decoder import Decoder
from xfm.models.encoders import encode_first
from xfm.models.heads import HeadInputs, ProbeHead, deep_head, mlp_head
from xfm.models.layers import mean_of_tokens

ADDED = ("head.", "decoder.")


class TaskModel(nn.Module):
    """A model for one task, on the parts of `model`; heads on one encoder hold that encoder instead (`whole`
    False). By itself it adds nothing: vectors of texts, and retrieval by contrast and matching (COCO,
    Flickr30k)."""

    model: Backbone
    whole: ClassVar[bool] = True

    def __init__(self, model: Backbone, task: TaskConfig) -> None:
        super().__init__()
        if max(task.dimensions, default=0) >= model.config.projection:
            most = model.config.projection - 1
            raise UserError(f"dimensions are {max(task.dimensions)}: vectors may be cut to {most} at most")
        self.task = task
        if self.whole:
            self.model = model

    def encode_image(self, pixels: Tensor) -> Tensor:
        """[I, 3, H, W] -> [I, 1 + P, Dv]."""
        return self.model.encode_image(pixels)

    def fused(self, rows: HeadInputs) -> Tensor:
        """[R, T, D] each text fused with its (first) image."""
        text = self.model.encode_text(rows.text.ids, rows.text.mask)
        return self.model.fuse(text, rows.text.mask, rows.pictures, rows.first)

    def fused_first(self, rows: HeadInputs) -> Tensor:
        """[R, 1, D] token 0 of `fused`."""
        (text,) = self.model.encode_texts([rows.text])
        return self.model.fuse_first(text, rows.text.mask, rows.pictures, rows.first)

    def added_state(self) -> dict[str, Tensor]:
        """Tensors that the task adds, by their names here."""
        return {name: t for name, t in self.state_dict().items() if name.startswith(ADDED)}

    def shared_state(self) -> dict[str, Tensor]:
        """Tensors of the pre-trained model, by their names in `Backbone`."""
        state = self.state_dict()
        return {name.removeprefix("model."): t for name, t in state.items() if not name.startswith(ADDED)}


class Classifier(TaskModel):
    """A head with classes, or one output for a value, on `features`."""

    head: nn.Module

    def features(self, rows: HeadInputs) -> Tensor:
        """[R, F] input of the head; with `HeadKind.PROBE` the features of all encoders."""
        raise NotImplementedError

    def classify(self, rows: HeadInputs) -> Tensor:
        """[R, C] logits."""
        return self.head(self.features(rows))

    def built_head(self, width: int, probed: int) -> nn.Module:
        """The configured head: a probe on `probed` numbers, or the task's own on `width`."""
        if self.task.head is HeadKind.PROBE:
            return ProbeHead(probed, self.task.classes)
        return mlp_head(width, self.task.classes)

    @torch.no_grad()
    def cool(self, temperature: float) -> None:
        """Divide the logits by a temperature in the weights of the head's last layer, so that pipelines,
        exports and other libraries agree."""
        last = self.head[-1] if isinstance(self.head, nn.Sequential) else self.head
        for tensor in last.parameters():
            tensor.div_(temperature)
        self.task = replace(self.task, temperature=self.task.temperature * temperature)

    def forward(
        self, pixels: Tensor | None = None, tokens: Tokens | None = None, index: Tensor | None = None
    ) -> Tensor:
        """[R, C] logits of images [I, 3, H, W], texts [R, T] and the images [R, K] int64 of each row (by
        default image r)."""
        image = None if pixels is None else self.encode_image(pixels)
        return self.classify(HeadInputs(tokens, image, index))


class TextClassifier(Classifier):
    """Language token 0 -> MLP head (GLUE; one output: STS-B). A probe sees token 0 and the mean of all
    tokens."""

    whole = False

    def __init__(self, model: Backbone, task: TaskConfig) -> None:
        super().__init__(model, task)
        self.language = model.language
        width = self.language.config.width
        self.head = self.built_head(width, 2 * width)

    def features(self, rows: HeadInputs) -> Tensor:
        """[R, D] of texts, or [R, 2 D]."""
        ids, mask = rows.text.ids, rows.text.mask
        if self.task.head is not HeadKind.PROBE:
            return encode_first(self.language, ids, mask)
        states = self.language(ids, mask)
        return torch.cat([states[:, 0], mean_of_tokens(states, mask)], dim=-1)


class ImageClassifier(Classifier):
    """Vision slot 0 -> linear head, or the published head on [slot 0 ; mean of the patches], which are the
    same vector here."""

    whole = False

    def __init__(self, model: Backbone, task: TaskConfig) -> None:
        super().__init__(model, task)
        self.vision = model.vision
        width, classes = self.vision.config.width, task.classes
        published = task.image_head is ImageHead.PUBLISHED
        self.head = deep_head(2 * width, classes) if published else nn.Linear(width, classes)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """[I, 3, H, W] -> [I, 1 + P, Dv]."""
        return self.vision(pixels)

    def features(self, rows: HeadInputs) -> Tensor:
        """[I, Dv] of pictures, or [I, 2 Dv] for the published head."""
        slot0 = rows.pictures[:, 0]
        if self.task.image_head is ImageHead.PUBLISHED:
            slot0 = torch.cat([slot0, rows.pictures[:, 1:].mean(dim=1)], dim=-1)
        return slot0

    def classify(self, rows: HeadInputs) -> Tensor:
        """[R, C] logits; equal images are classified once."""
        return rows.of_rows(self.head(self.features(rows)))


class PairClassifier(Classifier):
    """Fusion token 0 of an image and its text -> MLP head. A probe also sees the mean of the text and the
    image."""

    def __init__(self, model: Backbone, task: TaskConfig) -> None:
        super().__init__(model, task)
        text, vision = model.config.language.width, model.config.vision.width
        self.head = self.built_head(text, 2 * text + vision)

    def features(self, rows: HeadInputs) -> Tensor:
        """[R, D] of texts with their pictures, or [R, 2 D + Dv]."""
        if self.task.head is not HeadKind.PROBE:
            return self.fused_first(rows)[:, 0]
        (text,) = self.model.encode_texts([rows.text])
        fused = self.model.fuse_first(text, rows.text.mask, rows.pictures, rows.first)[:, 0]
        seen = rows.of_rows(rows.pictures[:, 0])
        return torch.cat([fused, mean_of_tokens(text, rows.text.mask), seen], dim=-1)


class Reasoner(Classifier):
    """The text fused with each of two images, both token-0 vectors -> MLP head (NLVR2). A probe also sees
    the mean of the text and each image."""

    def __init__(self, model: Backbone, task: TaskConfig) -> None:
        super().__init__(model, task)
        text, vision = model.config.language.width, model.config.vision.width
        self.head = self.built_head(2 * text, 3 * text + 2 * vision)

    def features(self, rows: HeadInputs) -> Tensor:
        """[R, 2 D] of texts with two pictures each, or [R, 3 D + 2 Dv]."""
        assert rows.index is not None
        tokens, both = rows.text, rows.index.t().flatten()  # [2R], the left ones first
        (text,) = self.model.encode_texts([tokens])
        twice = torch.arange(len(text), device=text.device).repeat(2)
        fused = self.model.fuse_first(text, tokens.mask, rows.pictures, both, twice)[:, 0]
        both_fused = torch.cat(fused.chunk(2), dim=-1)
        if self.task.head is not HeadKind.PROBE:
            return both_fused
        seen = rows.pictures[:, 0][rows.index].flatten(1)  # [R, 2 Dv]
        return torch.cat([both_fused, mean_of_tokens(text, tokens.mask), seen], dim=-1)


class Grounder(TaskModel):
    """The box of a phrase by the pre-trained box head (RefCOCO+): nothing is added."""

    def forward(self, pixels: Tensor, tokens: Tokens, image_index: Tensor | None = None) -> Tensor:
        """[I, 3, H, W] pictures and [R, T] phrases -> [R, 4] boxes (cx, cy, w, h) as fractions."""
        return self.model.boxes(self.fused_first(_rows(self, pixels, tokens, image_index)))


class Answerer(TaskModel):
    """The fused question -> causal decoder that starts from the fusion encoder (VQA)."""

    def __init__(self, model: Backbone, task: TaskConfig) -> None:
        super().__init__(model, task)
        self.decoder = Decoder(model)

    def fuse(self, pixels: Tensor, question: Tokens, image_index: Tensor | None = None) -> Tensor:
        """[I, 3, H, W] pictures and [R, T] questions -> [R, T, D] fused questions."""
        return self.fused(_rows(self, pixels, question, image_index))

    def forward(
        self,
        pixels: Tensor,
        question: Tokens,
        answer: Tokens,
        image_index: Tensor | None = None,
        question_index: Tensor | None = None,
    ) -> Tensor:
        """[N, L, V] answer logits, position l for token l + 1, of images [I, 3, H, W], questions [R, T]
        and answers [N, L]; image [R] of each question and question [N] of each answer default to their own
        place."""
        memory = self.fuse(pixels, question, image_index)
        return self.decoder(answer.ids, answer.mask, memory, question.mask, question_index)


class Captioner(TaskModel):
    """Causal decoder over the vision output, started from the fusion encoder (COCO captions)."""

    def __init__(self, model: Backbone, task: TaskConfig) -> None:
        super().__init__(model, task)
        self.decoder = Decoder(model, model.config.vision.width)

    def forward(self, pixels: Tensor, caption: Tokens, image_index: Tensor | None = None) -> Tensor:
        """[R, L, V] caption logits, position l for token l + 1, of images [I, 3, H, W] and captions [R,
        L], whose image [R] defaults to their own place."""
        memory, seen = self.remember(self.encode_image(pixels))
        return self.decoder(caption.ids, caption.mask, memory, seen, image_index)

    def remember(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """[I, 1 + P, Dv] encoded images -> the decoder's memory and its mask [I, 1 + P], all True."""
        return image, torch.ones(image.shape[:2], dtype=torch.bool, device=image.device)


def _rows(model: TaskModel, pixels: Tensor, tokens: Tokens, image_index: Tensor | None) -> HeadInputs:
    index = None if image_index is None else image_index[:, None]
    return HeadInputs(tokens, model.encode_image(pixels), index)


def build_task_model(task: TaskConfig, model: Backbone) -> TaskModel:
    """The task model of a configuration on a model whose parts it shares."""
    return task.spec.head_class()(model, task)
