"""X-FM as a model that is loaded, saved, and uploaded to the Hugging Face hub."""

import re
import tempfile
from pathlib import Path

from xfm.config.model import ModelConfig
from xfm.core.errors import UserError, explained
from xfm.models.adapters import read_model
from xfm.models.artifacts import Artifacts
from xfm.models.composition import Backbone
from xfm.models.model_files import CALIBRATION, TASK, TASK_WEIGHTS, TOKENIZER, save_model
from xfm.models.resolve import LOG_IN, find_model
from xfm.models.self_check import SELF_CHECK

MESSAGE = "Upload an X-FM model"
_NOT_ALWAYS = [TASK, TASK_WEIGHTS, TOKENIZER, CALIBRATION, SELF_CHECK]
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


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

    def push_to_hub(
        self, name: str, artifacts: Artifacts | None = None, private: bool = True, message: str = MESSAGE
    ) -> str:
        """Upload the model with its card to `owner/name` on the hub, made (`private`) if it does not exist;
        returns the address of the commit. `artifacts` as for `save_pretrained`. Raises UserError where there
        is no token, the hub cannot be reached or refuses, or there are no artifacts."""
        import huggingface_hub as hub

        check_repository(name)
        if hub.get_token() is None:
            raise UserError(f"{name}: the hub takes a model only from those whom it knows; {LOG_IN}")
        remedy = "check the name, your rights there (`hf auth login`) and the connection"
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "model"
            self.save_pretrained(folder, artifacts)
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
