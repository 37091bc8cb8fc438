"""X-FM as a model that is loaded, saved, and uploaded to the Hugging Face hub."""

import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from xfm.config.model import ModelConfig
from xfm.core.errors import UserError, explained, printable
from xfm.core.files import path_below, write_text
from xfm.models.adapters import read_model, require_whole
from xfm.models.artifacts import CARD, Artifacts, model_card
from xfm.models.composition import Backbone
from xfm.models.model_files import CALIBRATION, MODEL_FILES, TASK, TASK_WEIGHTS, TOKENIZER, save_model
from xfm.models.resolve import LOG_IN, cached_repository, find_model
from xfm.models.self_check import SELF_CHECK

MESSAGE = "Upload an X-FM model"
_NOT_ALWAYS = [TASK, TASK_WEIGHTS, TOKENIZER, CALIBRATION, SELF_CHECK]
_SHOWN = 4
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def push_to_hub(
    model: Path | str,
    name: str,
    *,
    private: bool = True,
    scores: Mapping[str, Any] | None = None,
    message: str = MESSAGE,
) -> str:
    """Upload a model folder with its card to `owner/name` on the hub, made if missing; returns the commit's
    address. `scores` join the card's. A UserError without a model or token, or if the hub refuses."""
    check_repository(name)
    folder = require_whole(find_model(model))
    built, own = read_model(folder, Backbone, check=False)
    stored = own.provenance.get("scores")
    told = {**(stored if isinstance(stored, Mapping) else {}), **(scores or {})}
    own = replace(own, provenance={**own.provenance, **({"scores": told} if told else {})})
    within = cached_repository(folder) or folder
    files = [folder / name for name in MODEL_FILES if (folder / name).is_file()]
    for file in files:
        if path_below(folder, file.name, within) is None:
            raise UserError(f"{file} is a link that leads out of the folder; put the file there to upload it")
    if others := sorted({one.name for one in folder.iterdir()} - {*MODEL_FILES, CARD}):
        shown = printable(", ".join(others[:_SHOWN]) + (", ..." if len(others) > _SHOWN else ""))
        told = f"Note: {len(others)} of {folder} are no files of a model and stay here: {shown}"
        print(told, file=sys.stderr)
    with tempfile.TemporaryDirectory() as place:
        for file in files:
            (Path(place) / file.name).symlink_to(file.resolve())
        write_text(Path(place) / CARD, model_card(built.config, own))
        return push(Path(place), name, private, message)


def push(folder: Path, name: str, private: bool, message: str) -> str:
    """Upload a folder with a model and its card, as `push_to_hub`."""
    import huggingface_hub as hub

    check_repository(name)
    if hub.get_token() is None:
        raise UserError(f"{name}: the hub takes a model only from those whom it knows; {LOG_IN}")
    remedy = "check the name, your rights there (`hf auth login`) and the connection"
    # What its HTTP client raises has no base that all versions share.
    with explained(f"{name}: the hub did not take the model", remedy):
        api = hub.HfApi(library_name="xfm")
        api.create_repo(name, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=name,
            folder_path=folder,
            commit_message=message,
            # What an earlier model had and this one has not would be read as its own.
            delete_patterns=_NOT_ALWAYS,
        )
        return str(commit)


def check_repository(name: str) -> None:
    """A UserError, before hours of work, for a name that is not `owner/name`."""
    if not _REPOSITORY.fullmatch(name):
        raise UserError(f"{name!r} is no repository of the hub; give owner/name, such as me/reviews")


class XFM(Backbone):
    """X-FM (arXiv 2301.05065): language, vision and fusion encoders with their pre-training heads.
    `artifacts` are tokenizer, preprocessing, provenance and task, if the model came from
    `from_pretrained`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.artifacts: Artifacts | None = None

    @classmethod
    def from_pretrained(cls, reference: Path | str, revision: str | None = None) -> "XFM":
        """The model of a folder, or of a repository of the Hugging Face hub (`owner/name` or
        `owner/name@revision`, else `revision`: a branch, tag or commit); nothing in it is executed. In
        evaluation mode on the CPU; tokenizer, preprocessing and, of a fine-tuned model, its task are its
        `artifacts`. Raises UserError where there is no such model, or its files are damaged."""
        model, artifacts = read_model(find_model(reference, revision), cls)
        model.artifacts = artifacts
        return model

    def save_pretrained(self, folder: Path | str, artifacts: Artifacts | None = None) -> None:
        """Write a model folder with a model card, in place of a model that lies there. `artifacts` are
        tokenizer, preprocessing and provenance (default: those that the model came with). Raises UserError
        where the folder cannot be written, or there are no artifacts, or those of another model."""
        artifacts = artifacts or self.artifacts
        if artifacts is None:
            raise UserError(
                "the model has no tokenizer and preprocessing to be saved with: give `artifacts`, such as "
                "those of the folder that it was loaded from (`load_model(FOLDER).artifacts`)"
            )
        task, given = artifacts.task, artifacts
        own = {name: tensor.data_ptr() for name, tensor in self.state_dict().items()}
        shared = task.shared_state() if task else {}
        if any(own.get(name) != tensor.data_ptr() for name, tensor in shared.items()):
            raise UserError(
                "the task of these `artifacts` was built on another model, whose weights would be saved; "
                "build it on this one, or leave it out (`dataclasses.replace(artifacts, task=None)`)"
            )
        kept = (given.given_tokenizer, given.preprocessing, given.provenance, task, given.calibration)
        save_model(folder, self, *kept)
        write_text(Path(folder) / CARD, model_card(self.config, artifacts))

    def push_to_hub(
        self, name: str, artifacts: Artifacts | None = None, private: bool = True, message: str = MESSAGE
    ) -> str:
        """Upload the model with its card to `owner/name` on the hub, made (`private`) if it does not exist;
        returns the address of the commit. `artifacts` as for `save_pretrained`. Raises UserError where there
        is no token, the hub cannot be reached or refuses, or there are no artifacts."""
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "model"
            self.save_pretrained(folder, artifacts)
            return push(folder, name, private, message)
