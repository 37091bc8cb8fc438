"""Task classes for transformers: an encoder and a head; the other parts stay behind."""

from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_outputs import ImageClassifierOutput, MaskedLMOutput, SequenceClassifierOutput
from transformers.utils.generic import can_return_tuple

from xfm.config.tasks import IMAGE_CLASSIFICATION, TEXT_CLASSIFICATION
from xfm.data.masking import IGNORED
from xfm.models.encoders import LANGUAGE, VISION
from xfm.models.heads import TokenHead, mlp_head
from xfm.models.interop.transformers.model import XFMConfig, XFMPreTrainedModel, refuse_unused


class XFMForSequenceClassification(XFMPreTrainedModel):
    """Language token 0 -> MLP head (spec: fine-tuning, GLUE)."""

    task_kind = TEXT_CLASSIFICATION.name
    _keys_to_ignore_on_load_unexpected: ClassVar[Any] = [r"^(?!language\.|head\.)"]

    def __init__(self, config: XFMConfig) -> None:
        super().__init__(config)
        language = config.native.language
        self.language = LANGUAGE[type(language)](language)
        self.head = mlp_head(language.width, config.num_labels or 2)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **unused: Any,
    ) -> SequenceClassifierOutput:
        """Logits [R, C] of input_ids [R, T], and the loss of labels, see `classification_loss`."""
        refuse_unused(unused)
        mask = self.text_mask(input_ids, attention_mask)
        logits = self.head(self.language(input_ids, mask)[:, 0])
        loss = None if labels is None else classification_loss(logits, labels, self.config)
        return SequenceClassifierOutput(loss=loss, logits=logits)  # pyright: ignore[reportArgumentType]


class XFMForImageClassification(XFMPreTrainedModel):
    """Vision slot 0 -> linear head (spec: fine-tuning, ImageNet)."""

    task_kind = IMAGE_CLASSIFICATION.name
    main_input_name = "pixel_values"
    input_modalities = "image"
    _keys_to_ignore_on_load_unexpected: ClassVar[Any] = [r"^(?!vision\.|head\.)"]

    def __init__(self, config: XFMConfig) -> None:
        super().__init__(config)
        vision = config.native.vision
        self.vision = VISION[type(vision)](vision)
        self.head = nn.Linear(vision.width, config.num_labels or 2)
        self.post_init()

    @can_return_tuple
    def forward(
        self, pixel_values: Tensor, labels: Tensor | None = None, **unused: Any
    ) -> ImageClassifierOutput:
        """Logits [B, C] of pixel_values [B, 3, H, W], and the loss of labels, see `classification_loss`."""
        refuse_unused(unused)
        logits = self.head(self.vision(pixel_values)[:, 0])
        loss = None if labels is None else classification_loss(logits, labels, self.config)
        return ImageClassifierOutput(loss=loss, logits=logits)  # pyright: ignore[reportArgumentType]


class XFMForMaskedLM(XFMPreTrainedModel):
    """The language encoder with its MLM head, whose output matrix is the word matrix."""

    _keys_to_ignore_on_load_unexpected: ClassVar[Any] = [r"^(?!language\.|language_head\.)"]

    def __init__(self, config: XFMConfig) -> None:
        super().__init__(config)
        native = config.native.language
        self.language = LANGUAGE[type(native)](native)
        words = self.language.words
        self.language_head = TokenHead(native.width, words, native.norm_eps)
        # transformers wants to see the output matrix as a layer; its two tensors are those of others.
        self.word_logits = nn.Linear(words.embedding_dim, words.num_embeddings)
        matrix = next(name for name, tensor in self.named_parameters() if tensor is words.weight)
        self._tied_weights_keys = {"word_logits.weight": matrix, "word_logits.bias": "language_head.bias"}
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        """The output matrix: the word matrix again."""
        return self.word_logits

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **unused: Any,
    ) -> MaskedLMOutput:
        """Logits [R, T, V] of input_ids [R, T], and the loss of labels [R, T] (-100: not predicted)."""
        refuse_unused(unused)
        mask = self.text_mask(input_ids, attention_mask)
        hidden = self.language_head.hidden(self.language(input_ids, mask))
        logits = self.word_logits(hidden)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED)
        return MaskedLMOutput(loss=loss, logits=logits)  # pyright: ignore[reportArgumentType]


def classification_loss(logits: Tensor, labels: Tensor, config: XFMConfig) -> Tensor:
    """Mean loss of the kind that `problem_type` names; without one, squared error for one output, binary
    cross-entropy for float labels [B, C], else cross-entropy of labels [B]."""
    kind = config.problem_type
    if kind is None:
        single = "multi_label_classification" if labels.is_floating_point() else "single_label_classification"
        kind = "regression" if logits.shape[1] == 1 else single
    logits = logits.float()
    if kind == "regression":
        return F.mse_loss(logits, labels.float().view_as(logits))
    if kind == "multi_label_classification":
        return F.binary_cross_entropy_with_logits(logits, labels.float())
    return F.cross_entropy(logits, labels.flatten())
