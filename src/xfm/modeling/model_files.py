"""The files of a model: weights (safetensors), configuration, tokenizer, preprocessing, provenance.

`self_check.json` holds one text and one picture with what the model makes of them, which every load compares.
`calibration.json`, where it is there, makes the matching head's odds a probability. A fine-tuned model's
folder also has `task.json`, what it is for, and `task.safetensors`, what the task adds.

These are their names; `xfm.modeling.model_writing` writes the files, `xfm.modeling.model_reading` reads them.
"""

from xfm.modeling.self_check import SELF_CHECK
from xfm.modeling.shared_format import INPUT_CLASSES

WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"
PREPROCESSING, PROVENANCE = "preprocessing.json", "provenance.json"
UNUSED = "unused.safetensors"
"""Caption heads of a published file, so that an export gives the file back whole."""
CALIBRATION = "calibration.json"
TASK, TASK_WEIGHTS = "task.json", "task.safetensors"
MODEL_FILES = (
    *(WEIGHTS, CONFIG, TOKENIZER, PREPROCESSING, PROVENANCE, INPUT_CLASSES, SELF_CHECK),
    *(UNUSED, CALIBRATION, TASK, TASK_WEIGHTS),
)
"""All that a whole model's folder may have."""
FRESH = "fresh"  # in the provenance: beginnings of the names of parameters that were never trained
