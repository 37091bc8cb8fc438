"""X-FM for transformers (`pip install 'xfm[transformers]'`): importing this module registers the classes.

Afterwards a model folder, local or on the hub, loads with transformers' auto classes, without remote code:

    AutoConfig, AutoModel, AutoProcessor, AutoTokenizer, AutoImageProcessor
    AutoModelForSequenceClassification, AutoModelForImageClassification
    AutoModelForMaskedLM, AutoModelForZeroShotImageClassification

The folder is the one that `save_model` writes; `xfm.modeling.shared_format` says how both sides read it.
"""

from xfm.errors import UserError, import_extra

if (
    int(import_extra("transformers", "this module").__version__.split(".")[0]) < 5
):  # also says so if it is not installed
    raise UserError("xfm.interop.transformers needs transformers 5: pip install -U 'xfm[transformers]'")

from xfm.interop.transformers.configuration import XFMConfig
from xfm.interop.transformers.model import XFMModel, XFMOutput, XFMPreTrainedModel
from xfm.interop.transformers.processing import XFMImageProcessor, XFMProcessor, XFMTokenizer
from xfm.interop.transformers.registration import register
from xfm.interop.transformers.tasks import (
    XFMForImageClassification,
    XFMForMaskedLM,
    XFMForSequenceClassification,
)

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

register()
