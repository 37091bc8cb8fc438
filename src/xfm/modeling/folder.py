"""A model folder, loaded and saved with everything that belongs to the model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xfm.data.tokenizer import Tokenizer
from xfm.modeling.belongings import Belongings as Belongings
from xfm.modeling.belongings import Preprocessing as Preprocessing
from xfm.modeling.model_files import read_config, read_model
from xfm.modeling.model_files import save_model as save_model
from xfm.modeling.task_models import TaskModel
from xfm.modeling.xfm import XFM


@dataclass(frozen=True)
class Pretrained:
    """A loaded model folder.

    Attributes:
        model: in evaluation mode.
        given_tokenizer: the model's tokenizer, None if it was saved without one.
        preprocessing: how pictures become pixels.
        provenance: where the model comes from.
        task: what the model was fine-tuned for, sharing the parts of `model`; None before fine-tuning.
    """

    model: XFM
    given_tokenizer: Tokenizer | None
    preprocessing: Preprocessing
    provenance: dict[str, Any]
    task: TaskModel | None = None

    @property
    def belongings(self) -> Belongings:
        """All but the model."""
        return Belongings(self.given_tokenizer, self.preprocessing, self.provenance, self.task)

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer.

        Raises:
            UserError: the model has none.
        """
        return self.belongings.tokenizer


def load_model(
    folder: Path | str, image_size: int | None = None, image_width: int | None = None
) -> Pretrained:
    """Read a model folder.

    Args:
        folder: a folder written by `save_model`.
        image_size: side in pixels of the pictures that the model is to take, if not the stored one; the
            tables of relative positions, or the positions, are resampled, and the preprocessing follows.
        image_width: width of pictures that are not to be square; image_size is then their height.

    Returns:
        The model in evaluation mode on the CPU, and what belongs to it.

    Raises:
        UserError: a file is missing, truncated or of another model.
    """
    model, own = read_model(folder, XFM)
    shown = own.preprocessing
    if image_size is not None:
        _, shown = read_config(folder, image_size, image_width)
        model.resize(image_size, image_width)
    return Pretrained(model, own.given_tokenizer, shown, own.provenance, own.task)
