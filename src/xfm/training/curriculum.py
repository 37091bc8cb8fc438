"""The batches of a whole pre-training: a data set for every phase, and which of them a step belongs to."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from xfm.config.phases import Phase
from xfm.config.recipe import Recipe
from xfm.core.errors import UserError
from xfm.core.files import write_text, writing
from xfm.core.paths import home_path
from xfm.data.fingerprint import data_fingerprint, remote_digest
from xfm.data.image_cache import PictureCache, picture_cache
from xfm.data.loader import PretrainingData
from xfm.data.rng import mix
from xfm.data.schema import Batch
from xfm.data.tokenizer import Tokenizer
from xfm.data.transforms import Normalisation
from xfm.models.folder import Preprocessing
from xfm.training import distributed
from xfm.training.clock import REPLAYED, SCHEDULE, ClockState, TrainingClock, read_finished, written
from xfm.training.run_folder import require_new

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
        self.tokenizer = Tokenizer.load(path)
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
        pixels = None if preprocessing is None else Normalisation(preprocessing.mean, preprocessing.std)
        cache = picture_cache(recipe.data.cache_mb // distributed.world_here())
        self._sets = [
            open_phase(recipe, phase, process.rank, process.world, pixels, cache)
            for phase in range(len(self.phases))
        ]
        self.reports = [*dict.fromkeys(report for data in self._sets for report in data.reports)]
        for report in self.reports if process.is_first else ():
            _log.warning("%s", report)

    def fingerprint(self) -> dict[str, str]:
        """The files of the data with a digest each."""
        return data_fingerprint([phase.data for phase in self.phases], self._root)

    def check_versions(self) -> None:
        """Refuse shards at addresses that changed between their openings; all processes must ask."""
        if distributed.world() == 1:
            return
        distributed.check_alike(
            remote_digest(phase.data for phase in self.phases),
            "shards at addresses changed while the processes opened them, one after the other: start again",
        )

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

    @property
    def used_in_part(self) -> int:
        """How many pictures of this process could be decoded in part only."""
        return len({origin for data in self._sets for origin in data.partial})

    @property
    def regionless(self) -> int:
        """How often this process met a picture without regions in a stream that needs them."""
        return sum(data.regionless for data in self._sets)

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


def open_phase(
    recipe: Recipe,
    phase: int,
    rank: int = 0,
    world: int = 1,
    normalisation: Normalisation | None = None,
    cache: PictureCache | None = None,
) -> PretrainingData:
    """The data of a phase (from 0) of a recipe; other arguments as of `PretrainingData`."""
    vision = recipe.model.seeing
    if vision.image_width not in (None, vision.image_size):
        raise UserError("pre-training takes square pictures: leave model.vision.image_width out")
    return PretrainingData(
        recipe.phases()[phase].data,
        vision.image_size,
        vision.patch_size,
        mix(recipe.training.seed, phase),
        rank,
        world,
        normalisation,
        cache,
    )


def clock_of(recipe: Recipe, folder: Path, replay: Path | None = None, resume: bool = False) -> TrainingClock:
    """The clock of a run: by its steps, by time, or as the run in `replay` went. UserError: nothing to
    follow, or a run of another recipe."""
    record = distributed.on_first(lambda: _followed(folder, replay, resume))
    ends, training = recipe.ends(), recipe.training
    by_time = bool(record and training.minutes)
    clock = TrainingClock(record=record) if by_time else TrainingClock.of(training, ends)
    phases = 1 + max((moment.phase for moment in record), default=0)
    if phases > 1 + len(ends) or (record and not by_time and not _is_by_steps(record, training.steps, ends)):
        raise UserError(
            f"the schedule of {replay or folder / REPLAYED} is not of this recipe: give the one in the "
            "config.yaml beside it, or leave out --replay"
        )
    clock.lr_scales = [phase.lr_scale for phase in recipe.phases()]
    return clock


def _followed(folder: Path, replay: Path | None, resume: bool) -> list[ClockState]:
    kept = folder / REPLAYED
    if resume and replay is not None:
        raise UserError(f"{folder} knows what it replays, if it does: leave out --replay with --resume")
    if resume:
        return read_finished(kept) if kept.exists() else []
    require_new(folder)  # before anything of another run is lost
    if replay is None:
        kept.unlink(missing_ok=True)  # of a replay that left nothing else
        return []
    record = read_finished(home_path(replay) / SCHEDULE)
    with writing(folder, "or choose another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(kept, written(record))
    return record


def _is_by_steps(record: Sequence[ClockState], steps: int, ends: Sequence[float]) -> bool:
    """Whether a run of so many steps goes as recorded; its rates are then known to the last bit."""
    clock = TrainingClock(steps, ends=ends)
    own = (clock.at(step) for step in range(steps + 1))
    return len(record) == steps + 1 and all(
        (one.share, one.phase) == (other.share, other.phase) for one, other in zip(record, own, strict=True)
    )
