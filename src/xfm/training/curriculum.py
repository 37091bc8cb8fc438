"""The batches of a whole pre-training: a data set for every phase, and which of them a step belongs to."""

import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from xfm.config.phases import Phase
from xfm.config.recipe import Recipe
from xfm.core.errors import UserError
from xfm.core.paths import home_path
from xfm.data.fingerprint import data_fingerprint
from xfm.data.image_cache import image_cache_of
from xfm.data.loader import PretrainingData
from xfm.data.rng import mix
from xfm.data.schema import Batch
from xfm.data.tokenizer import Tokenizer
from xfm.data.transforms import CLIP
from xfm.models.folder import Preprocessing
from xfm.training import distributed
from xfm.training.clock import TrainingClock

_log = logging.getLogger(__name__)


class CurriculumData:
    """The batches of a run, each phase with a data set of its own; pixels are CLIP's without `preprocessing`.
    UserError: a missing or damaged corpus, or a tokenizer that does not fit the model."""

    def __init__(
        self,
        recipe: Recipe,
        process: distributed.Process,
        preprocessing: Preprocessing | None = None,
        clock: TrainingClock | None = None,
    ) -> None:
        self.device, self._root = process.device, Path(recipe.root)
        self.phases = recipe.phases()
        self.clock = clock or TrainingClock.of(recipe.training, recipe.ends())
        self.gradient_accumulation_steps = recipe.training.gradient_accumulation_steps
        path = Path(self.phases[-1].data.tokenizer)
        if not home_path(recipe.root).is_dir() and not path.exists():
            raise UserError(
                f"{recipe.root} does not exist: set --root to the folder of the data, or build the "
                f"embedded world there with `xfm prepare --out {recipe.root}`"
            )
        written = recipe.model.language.written
        self.tokenizer = Tokenizer.load(path, written)
        if self.tokenizer.vocab_size > recipe.model.language.vocab_size:
            raise UserError(
                f"{path} has {self.tokenizer.vocab_size} tokens, the model only "
                f"{recipe.model.language.vocab_size}: set model.language.vocab_size to at least that"
            )
        if self.tokenizer.pad != recipe.model.language.pad:
            raise UserError(
                f"{path} pads with token {self.tokenizer.pad}, the model with {recipe.model.language.pad}: "
                "set model.language.pad to that of the tokenizer"
            )
        vision, seed = recipe.model.vision, recipe.training.seed
        if vision.image_width not in (None, vision.image_size):
            raise UserError("pre-training takes square pictures: leave model.vision.image_width out")
        size = vision.image_size, vision.patch_size
        pixels = CLIP if preprocessing is None else (preprocessing.mean, preprocessing.std)
        cache = image_cache_of(recipe.data.cache_mb // distributed.world_here())
        self._sets = [
            PretrainingData(
                phase.data, *size, mix(seed, n), process.rank, process.world, pixels, cache, written
            )
            for n, phase in enumerate(self.phases)
        ]
        reports = dict.fromkeys(report for data in self._sets for report in data.reports)
        for report in reports if process.is_first else ():
            _log.warning("%s", report)

    def fingerprint(self) -> dict[str, str]:
        """The files of the data with a digest each."""
        return data_fingerprint([phase.data for phase in self.phases], self._root)

    def phase_number(self, batch: int) -> int:
        """The number of the phase that the batch with that index belongs to."""
        return self.clock.at(batch // self.gradient_accumulation_steps).phase

    def phase(self, batch: int) -> Phase:
        """The phase of the run that the batch with that index belongs to."""
        return self.phases[self.phase_number(batch)]

    def begun(self, batch: int) -> list[Phase]:
        """The phases that begin with this batch: also those that the clock has passed over."""
        before = self.phase_number(batch - 1) if batch else -1
        return self.phases[before + 1 : self.phase_number(batch) + 1]

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """The batches `start` (included) to `stop` (excluded); the phase is asked for when the step has
        begun."""
        batch = start
        while batch < stop:
            phase = self.phase_number(batch)
            with closing(self._sets[phase].batches(batch, stop, self.device)) as loaded:
                for found in loaded:
                    yield found
                    batch += 1
                    if batch == stop or self.phase_number(batch) != phase:
                        break
