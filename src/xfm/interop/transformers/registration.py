"""Entries of transformers' auto classes."""

import transformers

from xfm.interop.transformers.configuration import XFMConfig
from xfm.interop.transformers.model import XFMModel
from xfm.interop.transformers.processing import XFMImageProcessor, XFMProcessor, XFMTokenizer
from xfm.interop.transformers.tasks import (
    XFMForImageClassification,
    XFMForMaskedLM,
    XFMForSequenceClassification,
)
from xfm.modeling.shared_format import MODEL_TYPE

MODELS = {
    transformers.AutoModel: XFMModel,
    transformers.AutoModelForZeroShotImageClassification: XFMModel,
    transformers.AutoModelForSequenceClassification: XFMForSequenceClassification,
    transformers.AutoModelForImageClassification: XFMForImageClassification,
    transformers.AutoModelForMaskedLM: XFMForMaskedLM,
}


def register() -> None:
    """Enter the classes; a second call changes nothing."""
    transformers.AutoConfig.register(MODEL_TYPE, XFMConfig, exist_ok=True)
    for auto, model in MODELS.items():
        auto.register(XFMConfig, model, exist_ok=True)
    transformers.AutoTokenizer.register(XFMConfig, tokenizer_class=XFMTokenizer, exist_ok=True)
    # One class does for both of transformers' backends: it computes as the rest of this package does.
    backends: dict[str, type] = dict.fromkeys(("torchvision", "pil"), XFMImageProcessor)
    transformers.AutoImageProcessor.register(XFMConfig, image_processor_classes=backends, exist_ok=True)
    transformers.AutoProcessor.register(XFMConfig, XFMProcessor, exist_ok=True)
