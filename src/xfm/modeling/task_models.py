"""Task models: the pre-trained model, or an encoder of it, with what a task adds (spec: fine-tuning).

A task model shares the parts of the `XFM` that it is built on; copy the model first where several tasks start
from one. What it adds is called `head` or `decoder`.
"""

import torch
from torch import Tensor, nn

from xfm.config.task import ImageHead, TaskConfig, TaskKind
from xfm.data.schema import Tokens
from xfm.modeling.composition import Backbone
from xfm.modeling.decoder import Decoder
from xfm.modeling.encoders import AnyLanguage, AnyVision
from xfm.modeling.heads import DeepHead, MLPHead

ADDED = ("head.", "decoder.")


class TaskModel(nn.Module):
    """A model for one task.

    Attributes:
        task: its kind and the size of its head.
    """

    def __init__(self, task: TaskConfig) -> None:
        super().__init__()
        self.task = task

    def added_state(self) -> dict[str, Tensor]:
        """The tensors that the task adds, by their names here."""
        return {name: t for name, t in self.state_dict().items() if name.startswith(ADDED)}

    def shared_state(self) -> dict[str, Tensor]:
        """The tensors that belong to the pre-trained model, by their names in `XFM`."""
        state = self.state_dict()
        return {name.removeprefix("model."): t for name, t in state.items() if not name.startswith(ADDED)}


class TextClassifier(TaskModel):
    """Language token 0 -> MLP head (GLUE); one output is a regression (STS-B)."""

    def __init__(self, language: AnyLanguage, classes: int) -> None:
        super().__init__(TaskConfig(TaskKind.TEXT, classes))
        self.language = language
        self.head = MLPHead(language.config.width, classes)

    def forward(self, tokens: Tokens) -> Tensor:
        """[R, T] tokens -> [R, C] logits."""
        return self.head(self.language(tokens.ids, tokens.mask)[:, 0])


class ImageClassifier(TaskModel):
    """Vision -> linear head on slot 0, or the published head on [slot 0 ; mean of the patches].

    The two halves of the published head's input are the same vector here: slot 0 is that mean.
    """

    def __init__(self, vision: AnyVision, classes: int, image_head: ImageHead = ImageHead.LINEAR) -> None:
        super().__init__(TaskConfig(TaskKind.IMAGE, classes, image_head))
        self.vision = vision
        width = vision.config.width
        published = image_head is ImageHead.PUBLISHED
        self.head = DeepHead(2 * width, classes) if published else nn.Linear(width, classes)

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, C] logits."""
        return self.classify(self.vision(pixels))

    def classify(self, states: Tensor) -> Tensor:
        """[B, 1 + P, Dv] encoded pictures -> [B, C] logits."""
        slot0 = states[:, 0]
        if self.task.image_head is ImageHead.LINEAR:
            return self.head(slot0)
        return self.head(torch.cat([slot0, states[:, 1:].mean(dim=1)], dim=-1))


class PairClassifier(TaskModel):
    """Fusion token 0 of a picture and its text -> MLP head."""

    def __init__(self, model: Backbone, classes: int) -> None:
        super().__init__(TaskConfig(TaskKind.PAIR, classes))
        self.model = model
        self.head = MLPHead(model.config.language.width, classes)

    def forward(self, pixels: Tensor, tokens: Tokens, image_index: Tensor | None = None) -> Tensor:
        """[B, 3, H, W] pictures and [R, T] texts, with the picture of each -> [R, C] logits."""
        return self.classify(self.model.encode_image(pixels), tokens, image_index)

    def classify(self, image: Tensor, tokens: Tokens, image_index: Tensor | None = None) -> Tensor:
        """[B, 1 + P, Dv] encoded pictures and [R, T] texts, with the picture of each -> [R, C] logits."""
        return self.head(fuse_encoded(self.model, image, tokens, image_index)[:, 0])


class Reasoner(TaskModel):
    """The text fused with each of two pictures, both token-0 vectors -> MLP head (NLVR2)."""

    def __init__(self, model: Backbone, classes: int = 2) -> None:
        super().__init__(TaskConfig(TaskKind.REASONING, classes))
        self.model = model
        self.head = MLPHead(2 * model.config.language.width, classes)

    def forward(self, pixels: Tensor, left: Tensor, right: Tensor, tokens: Tokens) -> Tensor:
        """[I, 3, H, W] pictures, [R] int64 both pictures of each text, [R, T] texts -> [R, C] logits."""
        return self.classify(self.model.encode_image(pixels), left, right, tokens)

    def classify(self, image: Tensor, left: Tensor, right: Tensor, tokens: Tokens) -> Tensor:
        """`forward` on encoded pictures [I, 1 + P, Dv]."""
        text = self.model.encode_text(tokens.ids, tokens.mask)
        both = torch.cat([left, right])  # [2R]
        fused = self.model.fuse(text.repeat(2, 1, 1), tokens.mask.repeat(2, 1), image, both)[:, 0]
        return self.head(torch.cat(fused.chunk(2), dim=-1))


class Retriever(TaskModel):
    """Retrieval by contrast and matching (COCO, Flickr30k): nothing is added."""

    def __init__(self, model: Backbone) -> None:
        super().__init__(TaskConfig(TaskKind.RETRIEVAL))
        self.model = model


class Grounder(TaskModel):
    """The box of a phrase by the pre-trained box head (RefCOCO+): nothing is added."""

    def __init__(self, model: Backbone) -> None:
        super().__init__(TaskConfig(TaskKind.GROUNDING))
        self.model = model

    def forward(self, pixels: Tensor, tokens: Tokens, image_index: Tensor | None = None) -> Tensor:
        """[I, 3, H, W] pictures and [R, T] phrases -> [R, 4] boxes (cx, cy, w, h) as fractions."""
        return self.model.boxes(fuse(self.model, pixels, tokens, image_index))


class Answerer(TaskModel):
    """The fused question -> causal decoder that starts from the fusion encoder (VQA)."""

    def __init__(self, model: Backbone) -> None:
        super().__init__(TaskConfig(TaskKind.VQA))
        self.model = model
        self.decoder = Decoder.from_fusion(model)

    def fuse(self, pixels: Tensor, question: Tokens, image_index: Tensor | None = None) -> Tensor:
        """[I, 3, H, W] pictures and [R, T] questions -> [R, T, D] fused questions."""
        return fuse(self.model, pixels, question, image_index)

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


class Captioner(TaskModel):
    """Causal decoder over the vision output, started from the fusion encoder (COCO captions)."""

    def __init__(self, model: Backbone) -> None:
        super().__init__(TaskConfig(TaskKind.CAPTIONING))
        self.model = model
        self.decoder = Decoder.from_fusion(model, model.config.vision.width)

    def forward(self, pixels: Tensor, caption: Tokens, image_index: Tensor | None = None) -> Tensor:
        """[R, L, V] logits of the captions; position l predicts token l + 1.

        Args:
            pixels: [I, 3, H, W] pictures.
            caption: [R, L], begin token first.
            image_index: [R] int64, the picture of each caption; by default caption r has picture r.
        """
        memory = self.model.encode_image(pixels)  # [I, 1 + P, Dv]
        seen = torch.ones(memory.shape[:2], dtype=torch.bool, device=memory.device)
        return self.decoder(caption.ids, caption.mask, memory, seen, image_index)


def fuse(model: Backbone, pixels: Tensor, tokens: Tokens, image_index: Tensor | None = None) -> Tensor:
    """Encode pictures [I, 3, H, W] and texts [R, T] and fuse them: [R, T, D]."""
    return fuse_encoded(model, model.encode_image(pixels), tokens, image_index)


def fuse_encoded(model: Backbone, image: Tensor, tokens: Tokens, image_index: Tensor | None = None) -> Tensor:
    """Encode texts [R, T] and fuse them with encoded pictures [I, 1 + P, Dv]: [R, T, D]."""
    text = model.encode_text(tokens.ids, tokens.mask)
    return model.fuse(text, tokens.mask, image, image_index)


def build_task_model(task: TaskConfig, model: Backbone) -> TaskModel:
    """The task model of a configuration on a model whose parts it shares."""
    built = _of_kind(task, model)
    built.task = task  # labels, answers and text length too
    return built


def _of_kind(task: TaskConfig, model: Backbone) -> TaskModel:
    match task.kind:
        case TaskKind.TEXT:
            return TextClassifier(model.language, task.classes)
        case TaskKind.IMAGE:
            return ImageClassifier(model.vision, task.classes, task.image_head)
        case TaskKind.PAIR:
            return PairClassifier(model, task.classes)
        case TaskKind.REASONING:
            return Reasoner(model, task.classes)
        case TaskKind.RETRIEVAL:
            return Retriever(model)
        case TaskKind.GROUNDING:
            return Grounder(model)
        case TaskKind.VQA:
            return Answerer(model)
        case TaskKind.CAPTIONING:
            return Captioner(model)
