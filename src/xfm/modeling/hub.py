"""Model folders on the Hugging Face hub: a repository holds the files of a folder and a card."""

import tempfile
from pathlib import Path

from xfm.errors import UserError, first_line
from xfm.files import write_text
from xfm.modeling.belongings import Belongings
from xfm.modeling.card import CARD, model_card
from xfm.modeling.composition import Backbone
from xfm.modeling.model_files import (
    CONFIG,
    PREPROCESSING,
    PROVENANCE,
    TASK,
    TASK_WEIGHTS,
    TOKENIZER,
    UNUSED,
    WEIGHTS,
    save_model,
)
from xfm.modeling.shared_format import INPUT_CLASSES
from xfm.paths import home_path

FILES = (
    *(CONFIG, WEIGHTS, TOKENIZER, PREPROCESSING, PROVENANCE, TASK, TASK_WEIGHTS, INPUT_CLASSES, CARD),
    UNUSED,
)
"""What is downloaded, whatever else a repository holds: no code, no pickles."""


def find_model(reference: Path | str, revision: str | None = None) -> Path:
    """The model folder of a reference; a repository is downloaded once, into the hub's cache.

    Raises:
        UserError: there is no such folder, and no such repository can be read.
    """
    if home_path(reference).exists():  # `read_model` says so of a file
        return home_path(reference)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(reference), revision=revision, allow_patterns=list(FILES)))
    except (OSError, ValueError) as error:  # the hub's errors are of these kinds
        raise UserError(
            f"{reference} is no model folder here, and cannot be read from the hub ({first_line(error)}); "
            "check the path or the name, and the connection"
        ) from error


def save_pretrained(folder: Path | str, model: Backbone, belongings: Belongings | None) -> None:
    """Write a model folder with a card.

    Args:
        folder: the folder; a model that lies there is replaced.
        model: the model.
        belongings: tokenizer, preprocessing and provenance, and the task if it was fine-tuned for one.

    Raises:
        UserError: the folder cannot be written, there are no belongings, or their task is of another model.
    """
    if belongings is None:
        raise UserError(
            "the model has no tokenizer and preprocessing to be saved with: give `belongings`, such as those "
            "of the folder that it was loaded from (`load_model(FOLDER).belongings`)"
        )
    task = belongings.task
    if task is not None:
        own = {name: tensor.data_ptr() for name, tensor in model.state_dict().items()}
        if any(own.get(name) != tensor.data_ptr() for name, tensor in task.shared_state().items()):
            raise UserError(
                "the task of these `belongings` was built on another model, whose weights would be saved; "
                "build it on this one, or leave it out (`dataclasses.replace(belongings, task=None)`)"
            )
    tokenizer, shown, provenance = belongings.given_tokenizer, belongings.preprocessing, belongings.provenance
    save_model(folder, model, tokenizer, shown, provenance, task)
    write_text(Path(folder) / CARD, model_card(model.config, belongings))


def push_to_hub(
    name: str, model: Backbone, belongings: Belongings | None, private: bool, message: str
) -> str:
    """Upload a model with its card; see `XFM.push_to_hub`.

    Raises:
        UserError: the hub cannot be reached or refuses, or there are no belongings.
    """
    from huggingface_hub import HfApi

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        save_pretrained(folder, model, belongings)
        try:
            hub = HfApi(library_name="xfm")
            hub.create_repo(name, private=private, exist_ok=True)
            commit = hub.upload_folder(
                repo_id=name,
                folder_path=folder,
                commit_message=message,
                # What an earlier model had and this one has not would be read as its own.
                delete_patterns=[TASK, TASK_WEIGHTS, TOKENIZER, UNUSED],
            )
            return str(commit)
        except Exception as error:  # those of its HTTP client have no base that all versions share
            raise UserError(
                f"{name}: the hub did not take the model ({first_line(error)}); check the name, your rights "
                "there (`hf auth login`) and the connection"
            ) from error
