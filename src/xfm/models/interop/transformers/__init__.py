"""X-FM for transformers (`pip install 'xfm[transformers]'`): importing this module registers the classes.

Afterwards a model folder, local or on the hub, loads with transformers' auto classes, without remote code:

    AutoConfig, AutoModel, AutoProcessor, AutoTokenizer, AutoImageProcessor
    AutoModelForSequenceClassification, AutoModelForImageClassification
    AutoModelForMaskedLM, AutoModelForZeroShotImageClassification

The folder is the one that `save_model` writes; `xfm.models.model_files` says how both sides read it.
"""

from xfm.core.errors import UserError, import_extra

if int(import_extra("transformers", "this module").__version__.split(".")[0]) < 5:
    raise UserError("this module needs transformers 5: pip install -U 'xfm[transformers]'")

import transformers

from xfm.models.interop.transformers.model import XFMConfig, XFMModel, XFMOutput, XFMPreTrainedModel
from xfm.models.interop.transformers.processing import XFMImageProcessor, XFMProcessor, XFMTokenizer
from xfm.models.interop.transformers.tasks import (
    XFMForImageClassification,
    XFMForMaskedLM,
    XFMForSequenceClassification,
)
from xfm.models.model_files import MODEL_TYPE

__all__ = [
    "XFMConfig",
    "XFMForImageClassification",
    "XFMForMaskedLM",
    "XFMForSequenceClassification",
    "XFMImageProcessor",
    "XFMModel",
    "XFMOutput",
    "XFMPreTrainedModel",
    "XFMProcessor",
    "XFMTokenizer",
]

# Entries of transformers' auto classes; a second one changes nothing.
_MODELS = {
    transformers.AutoModel: XFMModel,
    transformers.AutoModelForZeroShotImageClassification: XFMModel,
    transformers.AutoModelForSequenceClassification: XFMForSequenceClassification,
    transformers.AutoModelForImageClassification: XFMForImageClassification,
    transformers.AutoModelForMaskedLM: XFMForMaskedLM,
}
transformers.AutoConfig.register(MODEL_TYPE, XFMConfig, exist_ok=True)
for _auto, _model in _MODELS.items():
    _auto.register(XFMConfig, _model, exist_ok=True)
transformers.AutoTokenizer.register(XFMConfig, tokenizer_class=XFMTokenizer, exist_ok=True)
# One class does for both of transformers' backends: it computes as the rest of this package does.
_backends: dict[str, type] = dict.fromkeys(("torchvision", "pil"), XFMImageProcessor)
transformers.AutoImageProcessor.register(XFMConfig, image_processor_classes=_backends, exist_ok=True)
transformers.AutoProcessor.register(XFMConfig, XFMProcessor, exist_ok=True)
