"""Task models: the pre-trained model, or an encoder of it, with what a task adds (spec: fine-tuning).

A task model shares the parts of the `Backbone` that it is built on; copy the model first where several tasks
start from one. What it adds is called `head` or `decoder`.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from xfm.config.task import HeadKind, ImageHead, TaskConfig
from xfm.data.schema import Tokens
from xfm.models.composition import Backbone
from xfm.models.decoder import Decoder
from xfm.models.encoders import encode_first
from xfm.models.heads import DeepHead, Encoded, MLPHead, ProbeHead

ADDED = ("head.", "decoder.")


class TaskModel(nn.Module):
    """A model for one task.

    Attributes:
        task: its kind, the size of its head, and what a pipeline must know.
        model: the pre-trained model whose parts it shares; heads on one encoder hold that encoder instead.
    """

    model: Backbone

    def __init__(self, model: Backbone, task: TaskConfig) -> None:
        super().__init__()
        self.task = task

    def encode_image(self, pixels: Tensor) -> Tensor:
        """[I, 3, H, W] -> [I, 1 + P, Dv]."""
        return self.model.encode_image(pixels)

    def fused(self, rows: Encoded) -> Tensor:
        """Each text fused with its (first) picture: [R, T, D]."""
        text = self.model.encode_text(rows.text.ids, rows.text.mask)
        return self.model.fuse(text, rows.text.mask, rows.pictures, rows.first)

    def fused_first(self, rows: Encoded) -> Tensor:
        """Token 0 of `fused` alone: [R, 1, D]."""
        (text,) = self.model.encode_texts([rows.text])
        return self.model.fuse_first(text, rows.text.mask, rows.pictures, rows.first)

    def added_state(self) -> dict[str, Tensor]:
        """The tensors that the task adds, by their names here."""
        return {name: t for name, t in self.state_dict().items() if name.startswith(ADDED)}

    def shared_state(self) -> dict[str, Tensor]:
        """The tensors that belong to the pre-trained model, by their names in `Backbone`."""
        state = self.state_dict()
        return {name.removeprefix("model."): t for name, t in state.items() if not name.startswith(ADDED)}


class Classifier(TaskModel):
    """A head with classes, or with one output: a value.

    Attributes:
        head: its last part; it takes `features`, if the class has some.
    """

    head: nn.Module

    def features(self, rows: Encoded) -> Tensor:
        """[R, F] what the head stands on; with `HeadKind.PROBE` all that the encoders say of a row.

        Raises:
            NotImplementedError: the class computes its logits in another way, and has no probe.
        """
        raise NotImplementedError

    def classify(self, rows: Encoded) -> Tensor:
        """[R, C] logits."""
        return self.head(self.features(rows))

    @classmethod
    def has_features(cls) -> bool:
        """Whether a probe can be fitted to what the head stands on."""
        return cls.features is not Classifier.features

    def built_head(self, width: int, probed: int) -> nn.Module:
        """The head that the task's configuration names.

        Args:
            width: of what the task's own head takes.
            probed: numbers of `features` under a probe.
        """
        if self.task.head is HeadKind.PROBE:
            return ProbeHead(probed, self.task.classes)
        return MLPHead(width, self.task.classes)

    @torch.no_grad()
    def cool(self, temperature: float) -> None:
        """Divide the logits by a temperature from now on, by the weights of the head's last layer.

        Whatever runs the model then gives the same probabilities: pipelines, exports, other libraries.
        """
        last = self.head[-1] if isinstance(self.head, nn.Sequential) else self.head
        for tensor in last.parameters():
            tensor.div_(temperature)
        self.task = replace(self.task, temperature=self.task.temperature * temperature)

    @property
    def probed(self) -> bool:
        """Whether the head is a probe."""
        return self.task.head is HeadKind.PROBE

    def forward(
        self, pixels: Tensor | None = None, tokens: Tokens | None = None, index: Tensor | None = None
    ) -> Tensor:
        """[R, C] logits.

        Args:
            pixels: [I, 3, H, W] pictures, None where rows have none.
            tokens: [R, T] texts, None where rows have none.
            index: [R, K] int64, the pictures of each row; by default row r has picture r.
        """
        image = None if pixels is None else self.encode_image(pixels)
        return self.classify(Encoded(tokens, image, index))


class WithModel(TaskModel):
    """A head on the whole pre-trained model."""

    def __init__(self, model: Backbone, task: TaskConfig) -> None:
        super().__init__(model, task)
        self.model = model


class TextClassifier(Classifier):
    """Language token 0 -> MLP head (GLUE); one output is a regression (STS-B).

    A probe sees token 0 and the mean of all tokens.
    """

    def __init__(self, model: Backbone, task: TaskConfig) -> None:
        super().__init__(model, task)
        self.language = model.language
        width = self.language.config.width
        self.head = self.built_head(width, 2 * width)

    def features(self, rows: Encoded) -> Tensor:
        """[R, D] of texts, or [R, 2 D]."""
        ids, mask = rows.text.ids, rows.text.mask
        if not self.probed:
            return encode_first(self.language, ids, mask)
        states = self.language(ids, mask)
        return torch.cat([states[:, 0], rows.mean_text(states)], dim=-1)


class ImageClassifier(Classifier):
    """Vision -> linear head on slot 0, or the published head on [slot 0 ; mean of the patches].

    The two halves of the published head's input are the same vector here: slot 0 is that mean.
    """

    def __init__(self, model: Backbone, task: TaskConfig) -> None:
        super().__init__(model, task)
        self.vision = model.vision
        width, classes = self.vision.config.width, task.classes
        published = task.image_head is ImageHead.PUBLISHED
        self.head = DeepHead(2 * width, classes) if published else nn.Linear(width, classes)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """[I, 3, H, W] -> [I, 1 + P, Dv]."""
        return self.vision(pixels)

    def features(self, rows: Encoded) -> Tensor:
        """[I, Dv] of pictures, or [I, 2 Dv] for the published head."""
        slot0 = rows.pictures[:, 0]
        if self.task.image_head is ImageHead.PUBLISHED:
            slot0 = torch.cat([slot0, rows.pictures[:, 1:].mean(dim=1)], dim=-1)
        return slot0

    def classify(self, rows: Encoded) -> Tensor:
        """[R, C] logits of pictures; equal ones are classified once."""
        return rows.of_rows(self.head(self.features(rows)))


class PairClassifier(WithModel, Classifier):
    """Fusion token 0 of a picture and its text -> MLP head.

    A probe sees it, the mean of the text and the picture, each by itself.
    """

    def __init__(self, model: Backbone, task: TaskConfig) -> None:
        super().__init__(model, task)
        text, vision = model.config.language.width, model.config.seeing.width
        self.head = self.built_head(text, 2 * text + vision)

    def features(self, rows: Encoded) -> Tensor:
        """[R, D] of texts with their pictures, or [R, 2 D + Dv]."""
        if not self.probed:
            return self.fused_first(rows)[:, 0]
        (text,) = self.model.encode_texts([rows.text])
        fused = self.model.fuse_first(text, rows.text.mask, rows.pictures, rows.first)[:, 0]
        return torch.cat([fused, rows.mean_text(text), rows.of_rows(rows.pictures[:, 0])], dim=-1)


class Reasoner(WithModel, Classifier):
    """The text fused with each of two pictures, both token-0 vectors -> MLP head (NLVR2).

    A probe sees both, the mean of the text and each picture by itself.
    """

    def __init__(self, model: Backbone, task: TaskConfig) -> None:
        super().__init__(model, task)
        text, vision = model.config.language.width, model.config.seeing.width
        self.head = self.built_head(2 * text, 3 * text + 2 * vision)

    def features(self, rows: Encoded) -> Tensor:
        """[R, 2 D] of texts with two pictures each, or [R, 3 D + 2 Dv]."""
        assert rows.index is not None
        tokens, both = rows.text, rows.index.t().flatten()  # [2R], the left ones first
        (text,) = self.model.encode_texts([tokens])
        twice = torch.arange(len(text), device=text.device).repeat(2)
        fused = self.model.fuse_first(text, tokens.mask, rows.pictures, both, twice)[:, 0]
        both_fused = torch.cat(fused.chunk(2), dim=-1)
        if not self.probed:
            return both_fused
        seen = rows.pictures[:, 0][rows.index].flatten(1)  # [R, 2 Dv]
        return torch.cat([both_fused, rows.mean_text(text), seen], dim=-1)


class TextEmbedder(WithModel):
    """Vectors of texts by the pre-trained projection: nothing is added."""


class Retriever(WithModel):
    """Retrieval by contrast and matching (COCO, Flickr30k): nothing is added."""


class Grounder(WithModel):
    """The box of a phrase by the pre-trained box head (RefCOCO+): nothing is added."""

    def forward(self, pixels: Tensor, tokens: Tokens, image_index: Tensor | None = None) -> Tensor:
        """[I, 3, H, W] pictures and [R, T] phrases -> [R, 4] boxes (cx, cy, w, h) as fractions."""
        return self.locate(_rows(self, pixels, tokens, image_index))

    def locate(self, rows: Encoded) -> Tensor:
        """[R, 4] boxes (cx, cy, w, h) of phrases as fractions of their pictures' sides."""
        return self.model.boxes(self.fused_first(rows))


class Answerer(WithModel):
    """The fused question -> causal decoder that starts from the fusion encoder (VQA)."""

    def __init__(self, model: Backbone, task: TaskConfig) -> None:
        super().__init__(model, task)
        self.decoder = Decoder.from_fusion(model)

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
        """[N, L, V] logits of the answers; position l predicts token l + 1.

        Args:
            pixels: [I, 3, H, W] pictures.
            question: [R, T].
            answer: [N, L], begin token first.
            image_index: [R] int64, the picture of each question; by default question r has picture r.
            question_index: [N] int64, the question of each answer; by default answer n has question n.
        """
        memory = self.fuse(pixels, question, image_index)
        return self.decoder(answer.ids, answer.mask, memory, question.mask, question_index)


class Captioner(WithModel):
    """Causal decoder over the vision output, started from the fusion encoder (COCO captions)."""

    def __init__(self, model: Backbone, task: TaskConfig) -> None:
        super().__init__(model, task)
        self.decoder = Decoder.from_fusion(model, model.config.seeing.width)

    def forward(self, pixels: Tensor, caption: Tokens, image_index: Tensor | None = None) -> Tensor:
        """[R, L, V] logits of the captions; position l predicts token l + 1.

        Args:
            pixels: [I, 3, H, W] pictures.
            caption: [R, L], begin token first.
            image_index: [R] int64, the picture of each caption; by default caption r has picture r.
        """
        memory, seen = self.remember(self.encode_image(pixels))
        return self.decoder(caption.ids, caption.mask, memory, seen, image_index)

    def remember(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """[I, 1 + P, Dv] encoded pictures -> what the decoder attends to, and [I, 1 + P] bool: all of it."""
        return image, torch.ones(image.shape[:2], dtype=torch.bool, device=image.device)


def _rows(model: TaskModel, pixels: Tensor, tokens: Tokens, image_index: Tensor | None) -> Encoded:
    """Pictures [I, 3, H, W], encoded, and texts [R, T] with the picture of each [R]."""
    index = None if image_index is None else image_index[:, None]
    return Encoded(tokens, model.encode_image(pixels), index)


def build_task_model(task: TaskConfig, model: Backbone) -> TaskModel:
    """The task model of a configuration on a model whose parts it shares."""
    return task.spec.head_class()(model, task)
