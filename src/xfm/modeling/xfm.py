"""X-FM as a model that is loaded, saved and shared."""

import tempfile
from pathlib import Path

from xfm.config.model import ModelConfig
from xfm.errors import UserError
from xfm.files import write_text
from xfm.modeling.adapters import read_model
from xfm.modeling.belongings import Belongings
from xfm.modeling.card import CARD, model_card
from xfm.modeling.composition import Backbone
from xfm.modeling.hub import MESSAGE, push
from xfm.modeling.model_writing import save_model
from xfm.modeling.named import find_model


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
            reference: a model folder, or the name of a repository that holds one: `owner/name`, or
                `owner/name@revision`.
            revision: branch, tag or commit of the repository, where the name has none.

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
        message: str = MESSAGE,
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
            UserError: there is no token, the hub cannot be reached or refuses, or there are no belongings.
        """
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "model"
            self.save_pretrained(folder, belongings)
            return push(folder, name, private, message)
