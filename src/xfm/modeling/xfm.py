"""X-FM as a model that is loaded, saved and shared."""

import tempfile
from pathlib import Path

from xfm.config.model import ModelConfig
from xfm.errors import UserError
from xfm.files import write_text
from xfm.modeling.belongings import Belongings
from xfm.modeling.card import CARD, model_card
from xfm.modeling.composition import Backbone
from xfm.modeling.hub import find_model
from xfm.modeling.libraries import explained
from xfm.modeling.model_files import (
    CALIBRATION,
    TASK,
    TASK_WEIGHTS,
    TOKENIZER,
    UNUSED,
    read_model,
    save_model,
)
from xfm.modeling.self_check import SELF_CHECK


class XFM(Backbone):
    """X-FM (arXiv 2301.05065): language, vision and fusion encoders with their pre-training heads.

    Attributes:
        belongings: tokenizer, preprocessing, provenance and task, if the model came from `from_pretrained`.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.belongings: Belongings | None = None

    @classmethod
    def from_pretrained(cls, reference: Path | str, revision: str | None = None) -> "XFM":
        """The model of a folder, or of a repository of the Hugging Face hub; nothing in it is executed.

        Args:
            reference: a model folder, or the name of a repository that holds one: `owner/name`.
            revision: branch, tag or commit of the repository.

        Returns:
            The model in evaluation mode on the CPU; tokenizer, preprocessing and, of a fine-tuned model, its
            task are its `belongings`.

        Raises:
            UserError: there is no such model, or its files are damaged.
        """
        model, belongings = read_model(find_model(reference, revision), cls)
        model.belongings = belongings
        return model

    def save_pretrained(self, folder: Path | str, belongings: Belongings | None = None) -> None:
        """Write a model folder with a model card.

        Args:
            folder: the folder; a model that lies there is replaced.
            belongings: tokenizer, preprocessing and provenance; those that the model came with if not given.

        Raises:
            UserError: the folder cannot be written, or there are no belongings, or those of another model.
        """
        belongings = belongings or self.belongings
        if belongings is None:
            raise UserError(
                "the model has no tokenizer and preprocessing to be saved with: give `belongings`, such as "
                "those of the folder that it was loaded from (`load_model(FOLDER).belongings`)"
            )
        task = belongings.task
        own = {name: tensor.data_ptr() for name, tensor in self.state_dict().items()}
        shared = task.shared_state() if task else {}
        if any(own.get(name) != tensor.data_ptr() for name, tensor in shared.items()):
            raise UserError(
                "the task of these `belongings` was built on another model, whose weights would be saved; "
                "build it on this one, or leave it out (`dataclasses.replace(belongings, task=None)`)"
            )
        shown, provenance = belongings.preprocessing, belongings.provenance
        fitted = belongings.calibration
        save_model(folder, self, belongings.given_tokenizer, shown, provenance, task, calibration=fitted)
        write_text(Path(folder) / CARD, model_card(self.config, belongings))

    def push_to_hub(
        self,
        name: str,
        belongings: Belongings | None = None,
        private: bool = True,
        message: str = "Upload an X-FM model",
    ) -> str:
        """Upload the model with its card to a repository of the hub, which is made if it does not exist.

        Args:
            name: of the repository: `owner/name`.
            belongings: as for `save_pretrained`.
            private: whether a new repository is private.
            message: of the commit.

        Returns:
            The address of the commit.

        Raises:
            UserError: the hub cannot be reached or refuses, or there are no belongings.
        """
        from huggingface_hub import HfApi

        remedy = "check the name, your rights there (`hf auth login`) and the connection"
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "model"
            self.save_pretrained(folder, belongings)
            # What its HTTP client raises has no base that all versions share.
            with explained(f"{name}: the hub did not take the model", remedy):
                hub = HfApi(library_name="xfm")
                hub.create_repo(name, private=private, exist_ok=True)
                commit = hub.upload_folder(
                    repo_id=name,
                    folder_path=folder,
                    commit_message=message,
                    # What an earlier model had and this one has not would be read as its own.
                    delete_patterns=[TASK, TASK_WEIGHTS, TOKENIZER, UNUSED, CALIBRATION, SELF_CHECK],
                )
                return str(commit)
