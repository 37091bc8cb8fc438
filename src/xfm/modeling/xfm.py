"""X-FM as a model that is loaded, saved and shared."""

from pathlib import Path

from xfm.config.model import ModelConfig
from xfm.modeling.belongings import Belongings
from xfm.modeling.composition import Backbone
from xfm.modeling.hub import find_model, push_to_hub, save_pretrained
from xfm.modeling.model_files import read_model


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
            UserError: the folder cannot be written, or there are no belongings.
        """
        save_pretrained(folder, self, belongings or self.belongings)

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
        return push_to_hub(name, self, belongings or self.belongings, private, message)
