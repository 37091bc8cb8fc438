"""Pre-training of a recipe: model, data, losses and the loop put together."""

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from xfm.config.model import MimTarget
from xfm.config.plain import differences, to_plain
from xfm.config.recipe import InitConfig, Recipe
from xfm.config.training import ActivationCheckpointing, Change, Precision
from xfm.core.errors import UserError, explained, naming
from xfm.core.files import read_json_or_nothing
from xfm.core.paths import home_path
from xfm.core.processes import free_memory
from xfm.core.results_folder import require_run_folder
from xfm.models.adapters import require_whole
from xfm.models.artifacts import CODE_LICENCE, FRESH
from xfm.models.composition import HEADS, PAIR_HEADS
from xfm.models.folder import Artifacts, Preprocessing, load_model, save_model
from xfm.models.gradients import GradientPolicy, Objective
from xfm.models.model_files import TOKENIZER, WEIGHTS, write_description
from xfm.models.model_reading import read_config, read_provenance
from xfm.models.resolve import hub_names
from xfm.models.xfm import XFM
from xfm.training import distributed
from xfm.training.callbacks import Checkpoints
from xfm.training.checkpoint import load_weights
from xfm.training.clock import TrainingClock
from xfm.training.curriculum import CurriculumData
from xfm.training.distributed import whole as whole_tensor
from xfm.training.failures import explaining_failures
from xfm.training.logging import RunLog
from xfm.training.planning.memory import checkpointing_within
from xfm.training.pretraining_step import PretrainingStep, Validation
from xfm.training.randomness import seed_all
from xfm.training.run_folder import RunFolder, held, require_new, require_run, restarted, saved_of
from xfm.training.trainer import Trainer

_OF_THE_START = ("recipe", "steps", "seed", "composed", "base_model", "licences", "began_with")
_OF_THE_WORLD = ("seed", "licences", "fingerprint", "packages", "counts")


def _describe_run(
    recipe: Recipe,
    steps: int,
    precision: Precision,
    origin: Mapping[str, Any] = MappingProxyType({}),
    changes: Sequence[str] = (),
    average: float = 0.0,
) -> dict[str, Any]:
    corpora: dict[str, list[str]] = {}
    for phase in recipe.phases():
        for name, stream in phase.data.streams.items():
            paths = [corpus.path for corpus in stream.corpora] if stream.batch_size else []
            corpora[name] = [*dict.fromkeys([*corpora.get(name, []), *paths])]
    world = read_json_or_nothing(Path(recipe.root) / "world.json")  # other data has none
    config, policies = recipe.training, [GradientPolicy.of(phase.gradients) for phase in recipe.phases()]
    length = {"minutes": config.minutes} if config.minutes else {"of": config.steps}
    described: dict[str, Any] = {
        "recipe": recipe.name,
        "steps": steps,
        "position": {"steps": steps, **length, "batches": steps * config.gradient_accumulation_steps},
        "precision": precision.value,
        "seed": recipe.training.seed,
        "init": to_plain(recipe.init),
        "base_model": hub_names(recipe.init.model, recipe.init.language, recipe.init.vision),
        "gradients": {
            objective.value: sorted({one for policy in policies for one in policy.reaches[objective]})
            for objective in Objective
        },
        "data": {name: paths for name, paths in corpora.items() if paths},
        "licences": {"code": CODE_LICENCE, "weights": recipe.licence, "data": world.get("licences")},
        "versions": {"xfm": version("xfm"), "torch": torch.__version__},
        "settings": to_plain(recipe),
    }
    if world:
        described["world"] = {key: world[key] for key in _OF_THE_WORLD if key in world}
    if average:
        described["weights"] = f"exponential moving average of decay {average:g}, not those of the last step"
    if changes:
        described["changed_on_resuming"] = list(changes)
    return described | ({"began_with": dict(origin)} if origin else {})


MODEL_FOLDER = "model"
_log = logging.getLogger(__name__)
TOLD = 6
"""Fields that a warning names."""


def pretrain(
    recipe: Recipe,
    folder: Path,
    resume: bool = False,
    progress: bool = True,
    device: str = "auto",
    compiled: bool = False,
    allowed: frozenset[Change] = frozenset(),
) -> Path:
    """Pre-train a model and save it.

    Under torchrun the processes share the recipe's batches, and the contrastive loss spans all of them.

    Args:
        recipe: what to train on what, and how.
        folder: run folder: configuration, logs, schedule, checkpoints, and the finished model in `model/`.
        resume: continue from the newest checkpoint of the folder; of itself if torchrun has started the
            processes again, or if another process of the run does.
        progress: show a bar on the terminal.
        device: `auto`, or a torch device.
        compiled: run the encoders through torch.compile, which takes minutes and is meant for GPUs.
        allowed: what a resumed run may have otherwise: its data, the number of processes.

    Returns:
        The model folder.

    Raises:
        UserError: see `Trainer.fit`; also missing data, or a tokenizer that does not fit the model.
        Interrupted: SIGINT or SIGTERM came; the run is saved.

    Source: X-FM (arXiv 2301.05065), sections 3 and 4.1.
    """
    folder = home_path(folder)
    resume = resume or restarted(folder)
    require_run_folder(folder, resume)
    if resume:
        require_run(folder)  # before anything about the data
    asked = recipe
    recipe, preprocessing, fresh = begin(recipe)
    new, policies = new_parts(recipe.init, recipe.training.optim.published, fresh), policies_of(recipe)
    before = read_provenance(recipe.init.model) if recipe.init.model else {}
    origin = {key: before[key] for key in _OF_THE_START if key in before}
    provenance = partial(_describe_run, recipe, origin=origin)
    said, minutes = explaining_failures(lambda: saved_of(folder)), recipe.training.timeout
    with distributed.processes(device, minutes) as process, held(folder), said:
        resume = any(distributed.collect(resume))  # torchrun counts restarts by machine
        if not resume:
            distributed.on_first(lambda: require_new(folder))
        if process.device.type == "cuda":
            torch.set_float32_matmul_precision("high")  # what autocast leaves in float32 may use TF32
        if process.is_first and (sentence := overruled(asked, recipe)):
            _log.warning("%s", sentence)
        clock = TrainingClock.of(recipe.training, recipe.ends())
        clock.lr_scales = [phase.lr_scale for phase in recipe.phases()]
        data = CurriculumData(recipe, process, preprocessing, clock)
        seed_all(recipe.training.seed)
        model = build_model(recipe, compiled)

        target, start = recipe.training.mim_target, None
        if target is MimTarget.INITIAL:
            start = copy.deepcopy(model.vision).requires_grad_(False).eval().to(process.device)
        divided = recipe.training.sequential_sources, recipe.training.three_updates
        loss = PretrainingStep(policies, target, data, *divided, start)
        looks = recipe.training.validate_every > 0
        validation = [Validation(recipe, process, preprocessing, start)] if looks else []
        files = data.fingerprint() if process.is_first else {}

        def describe(draft: Path, steps: int, precision: Precision) -> None:
            made = provenance(steps, precision)
            write_description(draft, model.config, Artifacts(data.tokenizer, preprocessing, made))

        run_folder = RunFolder(folder, recipe, describe, files, allowed)
        trainer = Trainer(
            model,
            loss,
            data.batches,
            replace(recipe.training, activation_checkpointing=checkpointing_of(recipe, process)),
            run_folder,
            clock=clock,
            is_new=lambda name: name.startswith(new),
            stateful={"negatives": loss},
            callbacks=[RunLog(progress), *validation, Checkpoints()],
            device=str(process.device),
        ).fit(resume)
        if trainer.ema is not None:
            trainer.ema.give()
        model = _unsharded(model)
        if process.is_first:
            made = provenance(
                trainer.step, trainer.precision, changes=run_folder.changes, average=recipe.training.ema
            )
            save_model(folder / MODEL_FOLDER, model, data.tokenizer, preprocessing, made)
        distributed.barrier()
    return folder / MODEL_FOLDER


def begin(recipe: Recipe) -> tuple[Recipe, Preprocessing, tuple[str, ...]]:
    """The recipe with configuration and tokenizer of the model folder that it begins with, its preprocessing,
    and the prefixes of parameters that are untrained (of a fresh `xfm init`). UserError: no model, or texts
    too long for it."""
    if recipe.init.model is None:
        return recipe, Preprocessing(recipe.model.vision.image_size), ()
    folder = require_whole(recipe.init.model)
    config, preprocessing = read_config(folder, recipe.init.image_size)
    tokenizer = str((folder / TOKENIZER).resolve())
    failing = f"init.model {folder} does not fit the recipe"
    with explained(failing, "change one of the two", ValueError):
        recipe = replace(recipe, model=config, data=replace(recipe.data, tokenizer=tokenizer))
    return recipe, preprocessing, tuple(read_provenance(folder).get(FRESH) or ())


def overruled(asked: Recipe, taken: Recipe) -> str:
    """What the model that a run begins with has otherwise than the recipe; nothing where they agree."""
    changed = differences(to_plain(asked.model), to_plain(taken.model))
    found = [f"model.{name} is {new}, not {old}" for name, old, new in changed]
    if not found:
        return ""
    more = f", and {len(found) - TOLD} more" if len(found) > TOLD else ""
    return f"init.model {taken.init.model} decides the model, not the recipe: {', '.join(found[:TOLD])}{more}"


def policies_of(recipe: Recipe) -> list[GradientPolicy]:
    """Gradient policy of each phase; UserError if a table cannot be, or MIM toward pixels has no head."""
    with naming("training.gradients", ValueError):
        policies = [GradientPolicy.of(phase.gradients) for phase in recipe.phases()]
    if recipe.training.mim_target is MimTarget.PIXELS and not recipe.model.pixel_head:
        raise UserError("training.mim_target pixels needs a head: set model.pixel_head to true")
    if recipe.training.mim_target is MimTarget.INITIAL and not (recipe.init.model or recipe.init.vision):
        raise UserError("training.mim_target initial needs an encoder that knows something: give init.model")
    return policies


FREE = 0.1
"""Share of the memory that `auto` leaves free, for what the allocator cannot use."""


def checkpointing_of(recipe: Recipe, process: distributed.Process) -> ActivationCheckpointing:
    """`training.activation_checkpointing`, with `auto` decided, alike in all processes; a warning says where
    it is not none, or a guess."""
    training = recipe.training
    if training.activation_checkpointing is not ActivationCheckpointing.AUTO:
        return training.activation_checkpointing
    on_gpu = process.device.type == "cuda"
    if training.precision is Precision.AUTO and not on_gpu:  # which it is is measured: at most this
        recipe = replace(recipe, training=replace(training, precision=Precision.FP32))
    free = torch.cuda.mem_get_info(process.device)[0] if on_gpu else free_memory()
    everywhere = distributed.collect(free and free * (1 - FREE) / (1 if on_gpu else distributed.world_here()))
    level, taken, told = ActivationCheckpointing.NONE, 0.0, "the free memory is unknown"
    room = 0.0 if None in everywhere else min(everywhere)
    try:
        if room:
            level, taken = checkpointing_within(recipe, room, process.world, on_gpu)
            told = f"a process takes {taken / 1e9:.1f} GB with it, of {room / 1e9:.1f} that it may take"
    except UserError as error:
        told = str(error)
    settled = level is ActivationCheckpointing.NONE and 0 < taken <= room
    if process.is_first and not settled:
        _log.warning("training.activation_checkpointing auto is %s: %s", level.value, told)
    return level


def build_model(recipe: Recipe, compiled: bool = False) -> XFM:
    """The recipe's model with the weights that it begins with, and its encoders compiled if wanted."""
    init = recipe.init
    model = XFM(recipe.model) if init.model is None else load_model(init.model, init.image_size).model
    if init.vision is not None:
        load_weights(require_whole(init.vision) / WEIGHTS, model.vision, "vision.")
    if init.language is not None:
        load_weights(require_whole(init.language) / WEIGHTS, model.language, "language.")
    if not model.words_fit and any(phase.init_fusion_embeddings_from_language for phase in recipe.phases()):
        raise UserError(
            "init_fusion_embeddings_from_language needs word vectors as wide as the language encoder's "
            "states, but this one's are not: set it to false, in the curriculum too"
        )
    parameters = dict(model.named_parameters())
    for field, begins in (("new", init.new), ("frozen", init.frozen)):
        if unknown := [one for one in begins if not any(name.startswith(one) for name in parameters)]:
            raise UserError(f"init.{field}: no parameter of the model begins with {unknown[0]}; leave it out")
    for name, parameter in parameters.items():
        if name.startswith(init.frozen):
            parameter.requires_grad_(False)
    if compiled:
        for encoder in (model.vision, model.language, model.fusion):
            encoder.compile()
    return model


def _unsharded(model: XFM) -> XFM:
    """The model, or a whole one on the CPU where it is sharded; all processes must ask."""
    state = model.state_dict()
    if not any(hasattr(tensor, "full_tensor") for tensor in state.values()):
        return model
    found = XFM(model.config)
    found.load_state_dict({name: whole_tensor(tensor).cpu() for name, tensor in state.items()})
    return found


def new_parts(init: InitConfig, published: bool = False, fresh: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Prefixes of parameters that are newly initialised while others are not. The published multiplier misses
    the fusion encoder and the token heads; here they have it unless the published optimiser is asked for."""
    if published:
        return PAIR_HEADS
    if init.model is not None:
        return (*fresh, *init.new)
    heads = tuple(name for name in HEADS if name != "temperature")
    return heads if init.vision is None and init.language is None else (*heads, "fusion.")
