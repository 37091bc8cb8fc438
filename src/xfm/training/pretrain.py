"""Pre-training of a recipe: model, data, losses and the loop put together."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from xfm.config.recipe import InitConfig, Recipe, Stretch
from xfm.config.training import Change
from xfm.data.fingerprint import data_fingerprint
from xfm.data.loader import PretrainingData
from xfm.data.picture_cache import picture_cache
from xfm.data.rng import mix
from xfm.data.schema import Batch
from xfm.data.tokenizer import Tokenizer
from xfm.data.transforms import Normalisation
from xfm.errors import UserError
from xfm.modeling.folder import Preprocessing, load_model, save_model
from xfm.modeling.gradients import PRETRAINING, GradientPolicy
from xfm.modeling.model_files import FRESH, TOKENIZER, WEIGHTS, read_config, read_provenance
from xfm.modeling.xfm import XFM
from xfm.objectives.losses import Losses
from xfm.objectives.step import pretraining_losses
from xfm.paths import home_path
from xfm.results_folder import require_run_folder
from xfm.training import distributed
from xfm.training.bad_log import BadLog
from xfm.training.checkpoint import load_weights
from xfm.training.failures import explained
from xfm.training.logging import LOG_FILE
from xfm.training.loop import train
from xfm.training.provenance import checkpoint_describer, describe_run, origin_of
from xfm.training.randomness import seed_all
from xfm.training.run_folder import held, require_run, saved_of

MODEL_FOLDER = "model"
_log = logging.getLogger(__name__)

_HEADS = ("vision_proj.", "text_proj.", "itm_head.", "bbox_head.", "language_head.", "fusion_head.")
_PUBLISHED_NEW = ("vision_proj.", "text_proj.", "temperature", "itm_head.", "bbox_head.")


def pretrain(
    recipe: Recipe,
    folder: Path,
    resume: bool = False,
    progress: bool = True,
    device: str = "auto",
    policy: GradientPolicy = PRETRAINING,
    compiled: bool = False,
    allowed: frozenset[Change] = frozenset(),
) -> Path:
    """Pre-train a model and save it.

    Under torchrun every process takes the recipe's batch sizes, and the contrastive loss spans all of them.

    Args:
        recipe: what to train on what, and how.
        folder: run folder: configuration, logs, checkpoints, and the finished model in `model/`.
        resume: continue from the newest checkpoint of the folder.
        progress: show a bar on the terminal.
        device: `auto`, or a torch device.
        policy: where gradients go.
        compiled: run the encoders through torch.compile, which takes minutes and is meant for GPUs.
        allowed: what a resumed run may have otherwise: its data, the number of processes.

    Returns:
        The model folder.

    Raises:
        UserError: see `train`; also missing data, or a tokenizer that does not fit the model.
        Interrupted: SIGINT or SIGTERM came; the run is saved.

    Source: X-FM (arXiv 2301.05065), sections 3 and 4.1.
    """
    folder = home_path(folder)
    require_run_folder(folder, resume)
    if resume:
        require_run(folder)  # before anything about the data
    recipe, preprocessing, fresh = begin(recipe)
    new = new_parts(recipe.init, recipe.training.optim.published, fresh)
    provenance = partial(describe_run, recipe, policy=policy, origin=origin_of(recipe.init.model))
    said = explained(lambda: saved_of(folder))
    with distributed.processes(device) as process, held(folder, process), said:
        if process.device.type == "cuda":
            torch.set_float32_matmul_precision("high")  # what autocast leaves in float32 may use TF32
        data = CurriculumData(recipe, process, preprocessing)
        bad = BadLog(folder, process, resume)
        seed_all(recipe.training.seed)
        model = build_model(recipe, compiled)

        def losses(batch: Batch, generator: torch.Generator) -> Losses:
            stretch = data.stretch(batch.step)
            if stretch.inherit_words and batch.step == stretch.start * data.accumulate:
                model.inherit_words()
            return pretraining_losses(
                model, batch, policy, stretch.weights, generator, distributed.gather_rows
            )

        result = train(
            model,
            losses,
            lambda start, stop: bad.watched(data.batches(start, stop)),
            recipe.training,
            folder,
            is_new=lambda name: name.startswith(new),
            settings=recipe,
            resume=resume,
            progress=progress,
            device=str(process.device),
            describe=checkpoint_describer(model.config, data.tokenizer, preprocessing, provenance),
            data=data.fingerprint() if process.is_first else {},
            allowed=allowed,
        )
        bad.close()
        if process.is_first:
            for report in data.reports:
                bad.folder(report)
            made = provenance(result.step, changes=result.changes)
            save_model(folder / MODEL_FOLDER, model, data.tokenizer, preprocessing, made)
            if count := data.used_in_part:
                _log.warning("%s pictures were used in part; see the events in %s", count, folder / LOG_FILE)
        distributed.barrier()
    return folder / MODEL_FOLDER


def begin(recipe: Recipe) -> tuple[Recipe, Preprocessing, tuple[str, ...]]:
    """The recipe with what the model folder that it begins with decides.

    Returns:
        The recipe with the folder's configuration and tokenizer; how pictures become pixels; and the
        beginnings of the names of parameters that no one has trained yet (those of a fresh `xfm init`).

    Raises:
        UserError: the folder is no model, or the recipe's texts are too long for it.
    """
    folder = recipe.init.model
    if folder is None:
        return recipe, Preprocessing(recipe.model.vision.image_size), ()
    config, preprocessing = read_config(folder, recipe.init.image_size)
    tokenizer = str((Path(folder) / TOKENIZER).resolve())
    try:
        recipe = replace(recipe, model=config, data=replace(recipe.data, tokenizer=tokenizer))
    except ValueError as error:
        raise UserError(f"init.model {folder} does not fit the recipe: {error}") from error
    return recipe, preprocessing, tuple(read_provenance(folder).get(FRESH, ()))


class CurriculumData:
    """The batches of a whole run: every stretch of the recipe has a data set of its own.

    Args:
        recipe: the recipe.
        process: this process; batches go to its device.
        preprocessing: mean and deviation of the pixels; CLIP's when None.

    Raises:
        UserError: a corpus of any stretch is missing or damaged, or the tokenizer does not fit the model.
    """

    def __init__(
        self, recipe: Recipe, process: distributed.Process, preprocessing: Preprocessing | None = None
    ) -> None:
        self.device, self._root = process.device, Path(recipe.root)
        self.stretches = recipe.stretches()
        self.accumulate = recipe.training.accumulate
        path = Path(self.stretches[-1].data.tokenizer)
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
        vision, seed = recipe.model.vision, recipe.training.seed
        if vision.image_width not in (None, vision.image_size):
            raise UserError("pre-training takes square pictures: leave model.vision.image_width out")
        pixels = None if preprocessing is None else Normalisation(preprocessing.mean, preprocessing.std)
        cache = picture_cache(recipe.data.cache_mb // process.world)
        self._sets = [
            PretrainingData(
                stretch.data,
                vision.image_size,
                vision.patch_size,
                mix(seed, phase),
                process.rank,
                process.world,
                pixels,
                cache,
            )
            for phase, stretch in enumerate(self.stretches)
        ]

        reports = {report.folder: report for data in self._sets for report in data.reports}
        self.reports = list(reports.values())
        for report in self.reports if process.is_first else ():
            _log.warning("%s", report.sentence)

    def fingerprint(self) -> dict[str, str]:
        """The files of the data with a digest each."""
        return data_fingerprint([stretch.data for stretch in self.stretches], self._root)

    def stretch(self, batch: int) -> Stretch:
        """The stretch of the run that the batch with that index belongs to."""
        return next(s for s in self.stretches if batch < s.stop * self.accumulate)

    @property
    def used_in_part(self) -> int:
        """How many pictures of this process could be decoded in part only."""
        return len({origin for data in self._sets for origin in data.partial})

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """The batches `start` (included) to `stop` (excluded) of the run."""
        for stretch, data in zip(self.stretches, self._sets, strict=True):
            first = max(start, stretch.start * self.accumulate)
            last = min(stop, stretch.stop * self.accumulate)
            if first < last:
                yield from data.batches(first, last, self.device)


def build_model(recipe: Recipe, compiled: bool = False) -> XFM:
    """The recipe's model with the weights that it begins with, and its encoders compiled if wanted."""
    init = recipe.init
    model = XFM(recipe.model) if init.model is None else load_model(init.model, init.image_size).model
    if init.vision is not None:
        load_weights(home_path(init.vision) / WEIGHTS, model.vision, "vision.")
    if init.language is not None:
        load_weights(home_path(init.language) / WEIGHTS, model.language, "language.")
    if not model.words_fit and any(stretch.inherit_words for stretch in recipe.stretches()):
        raise UserError(
            "inherit_words needs word vectors as wide as the language encoder's states, but this one's are "
            "not: set it to false, in the curriculum too"
        )
    if compiled:
        for encoder in (model.vision, model.language, model.fusion):
            encoder.compile()
    return model


def new_parts(init: InitConfig, published: bool = False, fresh: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Beginnings of the names of parameters that are newly initialised while others are not, or heads'.

    The published multiplier misses the randomly initialised fusion encoder and the token heads; here they
    have their share whenever an encoder is loaded, unless the published optimiser is asked for.

    Args:
        init: what the run begins with.
        published: whether the published optimiser is asked for.
        fresh: beginnings of the names that are new in the model folder that it begins with.
    """
    if published:
        return _PUBLISHED_NEW
    if init.model is not None:
        return fresh
    return _HEADS if init.vision is None and init.language is None else (*_HEADS, "fusion.")
