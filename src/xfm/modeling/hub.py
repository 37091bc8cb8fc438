"""Model folders on the Hugging Face hub: a repository holds the files of a folder and a card."""

from pathlib import Path

from xfm.files import model_folder
from xfm.modeling.card import CARD
from xfm.modeling.libraries import explained
from xfm.modeling.model_files import (
    CALIBRATION,
    CONFIG,
    PREPROCESSING,
    PROVENANCE,
    TASK,
    TASK_WEIGHTS,
    TOKENIZER,
    UNUSED,
    WEIGHTS,
)
from xfm.modeling.self_check import SELF_CHECK
from xfm.modeling.shared_format import INPUT_CLASSES

FILES = (
    *(CONFIG, WEIGHTS, TOKENIZER, PREPROCESSING, PROVENANCE, TASK, TASK_WEIGHTS, INPUT_CLASSES, CARD),
    *(UNUSED, CALIBRATION, SELF_CHECK),
)
"""What is downloaded, whatever else a repository holds: no code, no pickles."""


def find_model(reference: Path | str, revision: str | None = None) -> Path:
    """The model folder of a reference: a path, the name of a model of the package, or a repository, which is
    downloaded once, into the hub's cache.

    Raises:
        UserError: there is no such folder, and no such repository can be read.
    """
    if (place := model_folder(reference)).exists():  # `read_model` says so of a file
        return place
    from huggingface_hub import snapshot_download

    failing = f"{reference} is no model folder here, and cannot be read from the hub"
    remedy = "check the path or the name, and the connection"
    with explained(failing, remedy, OSError, ValueError):  # the hub's errors are of these kinds
        return Path(snapshot_download(str(reference), revision=revision, allow_patterns=list(FILES)))
