"""Model folders, loaded and saved with all their artifacts."""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from torch import Tensor, nn

from xfm.core.errors import explained
from xfm.models.adapters import read_model
from xfm.models.artifacts import Artifacts as Artifacts
from xfm.models.artifacts import Preprocessing as Preprocessing
from xfm.models.model_files import save_model as save_model
from xfm.models.xfm import XFM


@dataclass(frozen=True)
class Pretrained(Artifacts):
    """A loaded model folder: the model in evaluation mode, and its artifacts. Calibration and self-check are
    None after a change of the model."""

    model: XFM = field(kw_only=True)

    @property
    def artifacts(self) -> Artifacts:
        """The artifacts without the model."""
        return Artifacts(**{one.name: getattr(self, one.name) for one in fields(Artifacts)})

    @property
    def encoders(self) -> list[nn.Module]:
        """Encoders, and a task's decoder: the parts where a pass spends its time."""
        decoder = getattr(self.task, "decoder", None)
        parts = (self.model.vision, self.model.language, self.model.fusion, decoder)
        return [part for part in parts if part is not None]

    def match_probability(self, logits: Tensor) -> Tensor:
        """[..., 2] matching logits (unmatched, matched) -> [...] probability, by `calibration.json`, which
        `xfm evaluate` fits. Without it the head's own is overconfident: its order holds, its height does
        not."""
        return self.match_odds(logits).sigmoid()

    def match_odds(self, logits: Tensor) -> Tensor:
        """[...] log-odds of that probability."""
        odds = logits[..., 1].float() - logits[..., 0].float()
        fitted = self.calibration
        return odds if fitted is None else fitted.slope * odds + fitted.bias

    def resized(self, name: Path | str, image_size: int, image_width: int | None = None) -> "Pretrained":
        """The same model for images of another size, without calibration and self-check, which are of the
        old one; a UserError if the model cannot take that size."""
        failing = f"{name} cannot take pictures of {image_size} pixels"
        with explained(failing, "choose another size", ValueError):
            self.model.resize(image_size, image_width)
        shown = replace(self.preprocessing, image_size=image_size, image_width=image_width)
        return replace(self, preprocessing=shown, calibration=None, check=None)


def load_model(
    folder: Path | str,
    image_size: int | None = None,
    image_width: int | None = None,
    check: bool = True,
    base: Path | str | None = None,
) -> Pretrained:
    """Read a model folder, an adapter, or a model of the package or of the hub by its name.

    `xfm.load` also takes a published file or another tokenizer. The model takes pictures of `image_size`
    pixels, or of height `image_size` and `image_width` (default: the stored size): position tables are
    resampled, and the preprocessing follows. `check` compares it with its self-check, by one pass of a text
    and a picture; `base` is where the model of an adapter lies, if not where it lay. In evaluation mode on
    the CPU. UserError: a file is missing, truncated or of another model, or the model has changed since.
    """
    model, own = read_model(folder, XFM, check, base)
    found = Pretrained(**vars(own), model=model)
    return found if image_size is None else found.resized(folder, image_size, image_width)
