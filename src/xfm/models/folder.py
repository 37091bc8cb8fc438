"""A model folder, loaded and saved with everything that belongs to the model."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from xfm.config.artifacts import SelfCheck
from xfm.config.labels import MatchCalibration
from xfm.config.model import lacks
from xfm.core.errors import UserError
from xfm.data.tokenizer import Tokenizer
from xfm.models.adapters import read_model
from xfm.models.artifacts import Belongings as Belongings
from xfm.models.artifacts import Preprocessing as Preprocessing
from xfm.models.composition import Backbone
from xfm.models.model_reading import read_config
from xfm.models.model_writing import save_model as save_model
from xfm.models.model_writing import write_self_check
from xfm.models.resolve import model_folder
from xfm.models.self_check import SELF_CHECK, check_of
from xfm.models.task_models import TaskModel
from xfm.models.xfm import XFM


@dataclass(frozen=True)
class Pretrained:
    """A loaded model folder.

    Attributes:
        model: in evaluation mode.
        given_tokenizer: the model's tokenizer, None if it was saved without one.
        preprocessing: how pictures become pixels.
        provenance: where the model comes from.
        task: what the model was fine-tuned for, sharing the parts of `model`; None before fine-tuning.
        calibration: of the matching head, see `match_probability`; None where nobody fitted it.
        check: what the model made of a text and a picture when it was saved; None of a model that was
            changed since.
    """

    model: XFM
    given_tokenizer: Tokenizer | None
    preprocessing: Preprocessing
    provenance: dict[str, Any]
    task: TaskModel | None = None
    calibration: MatchCalibration | None = None
    check: SelfCheck | None = None

    @property
    def belongings(self) -> Belongings:
        """All but the model."""
        own = self.given_tokenizer, self.preprocessing, self.provenance, self.task
        return Belongings(*own, self.calibration, self.check)

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer.

        Raises:
            UserError: the model has none.
        """
        return self.belongings.tokenizer

    @property
    def encoders(self) -> list[nn.Module]:
        """The encoders, and the decoder of a task that has one: where a pass spends its time."""
        parts = (
            self.model.vision,
            self.model.language,
            self.model.fusion,
            getattr(self.task, "decoder", None),
        )
        return [part for part in parts if part is not None]

    def match_probability(self, logits: Tensor) -> Tensor:
        """[...] probability that a text fits a picture, of [..., 2] matching logits (unmatched, matched).

        By the model's calibration (`calibration.json` in its folder, which `xfm evaluate` fits). Without one
        it is the head's own, which is surer than right: its order means something, its height does not.
        """
        return self.match_odds(logits).sigmoid()

    def match_odds(self, logits: Tensor) -> Tensor:
        """[...] log-odds of that probability."""
        odds = logits[..., 1].float() - logits[..., 0].float()
        fitted = self.calibration
        return odds if fitted is None else fitted.slope * odds + fitted.bias

    def resized(self, name: Path | str, image_size: int, image_width: int | None = None) -> "Pretrained":
        """The same model, which takes pictures of another size from now on; its preprocessing follows.

        A calibration of the matching head does not, nor does the self-check: they are of other pictures.

        Args:
            name: of the model, for the message.
            image_size, image_width: see `load_model`.

        Raises:
            UserError: the model cannot take pictures of that size.
        """
        try:
            self.model.resize(image_size, image_width)
        except ValueError as error:
            raise UserError(f"{name} cannot take pictures of {image_size} pixels: {error}") from error
        shown = replace(self.preprocessing, image_size=image_size, image_width=image_width)
        return replace(self, preprocessing=shown, calibration=None, check=None)


def load_model(
    folder: Path | str,
    image_size: int | None = None,
    image_width: int | None = None,
    check: bool = True,
    base: Path | str | None = None,
) -> Pretrained:
    """Read a model folder, or an adapter. `xfm.load` also takes a published file or another tokenizer.

    Args:
        folder: a folder written by `save_model`, or the name of a model of the package or of the hub.
        image_size: side in pixels of the pictures that the model is to take, if not the stored one; the
            tables of relative positions, or the positions, are resampled, and the preprocessing follows.
        image_width: width of pictures that are not to be square; image_size is then their height.
        check: compare the model with its self-check, by one pass of a text and a picture.
        base: where the model lies that an adapter is for, if not where it lay.

    Returns:
        The model in evaluation mode on the CPU, and what belongs to it.

    Raises:
        UserError: a file is missing, truncated or of another model, or the model is not what it was when it
            was saved.
    """
    model, own = read_model(folder, XFM, check, base)
    found = Pretrained(
        model, own.given_tokenizer, own.preprocessing, own.provenance, own.task, own.calibration, own.check
    )
    return found if image_size is None else found.resized(folder, image_size, image_width)


def require_seeing(folder: Path | str, purpose: str) -> None:
    """Refuse a folder's model for a purpose that needs pictures, before any work.

    Raises:
        UserError: the model is of language alone, or its configuration cannot be read.
    """
    if not read_config(folder)[0].sees:
        raise UserError(f"{purpose} needs pictures, and {lacks(folder)}")


def write_check(folder: Path | str) -> Path:
    """Give the model in a folder a self-check, in place of an older one: of what it is now.

    Raises:
        UserError: there is no model, or it gives no numbers.
        OSError: it cannot be written.
    """
    folder = model_folder(folder)
    model, own = read_model(folder, Backbone, check=False)
    if (check := check_of(model.config, own, model.state_dict(), half=False)) is None:
        raise UserError(f"{folder}: the model gives no numbers, so that there is nothing to compare with")
    write_self_check(folder, check)
    return folder / SELF_CHECK
