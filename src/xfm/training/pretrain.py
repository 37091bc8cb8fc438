"""Pre-training of a recipe: model, data, losses and the loop put together."""

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from xfm.config.plain import to_plain
from xfm.config.recipe import Recipe
from xfm.config.training import LossWeights
from xfm.data.loader import PretrainingData
from xfm.data.schema import Batch
from xfm.data.tokenizer import Tokenizer
from xfm.errors import UserError
from xfm.modeling.folder import WEIGHTS, Preprocessing, save_model
from xfm.modeling.gradients import PRETRAINING, GradientPolicy
from xfm.modeling.xfm import XFM
from xfm.objectives.losses import Losses
from xfm.objectives.step import pretraining_losses
from xfm.training import distributed
from xfm.training.checkpoint import load_weights
from xfm.training.loop import train
from xfm.training.randomness import seed_all

MODEL_FOLDER = "model"

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

    Returns:
        The model folder.

    Raises:
        UserError: see `train`; also missing data, or a tokenizer that does not fit the model.
        Interrupted: SIGINT or SIGTERM came; the run is saved.

    Source: X-FM (arXiv 2301.05065), sections 3 and 4.1.
    """
    with distributed.processes(device) as process:
        if process.device.type == "cuda":
            torch.set_float32_matmul_precision("high")  # what autocast leaves in float32 may use TF32
        data = CurriculumData(recipe, process)
        seed_all(recipe.training.seed)
        model = build_model(recipe, compiled)

        def losses(batch: Batch, generator: torch.Generator) -> Losses:
            weights = data.weights(batch.step)
            return pretraining_losses(model, batch, policy, weights, generator, distributed.gather_rows)

        result = train(
            model,
            losses,
            data.batches,
            recipe.training,
            folder,
            is_new=lambda name: is_new_part(name, recipe),
            settings=to_plain(recipe),
            resume=resume,
            progress=progress,
            device=str(process.device),
        )
        if process.is_first:
            preprocessing = Preprocessing(recipe.model.vision.image_size)
            provenance = describe_run(recipe, result.step)
            save_model(folder / MODEL_FOLDER, model, data.tokenizer, preprocessing, provenance)
        distributed.barrier()
    return folder / MODEL_FOLDER


class CurriculumData:
    """The batches of a whole run: every stretch of the recipe has a data set of its own.

    Args:
        recipe: the recipe.
        process: this process; batches go to its device.

    Raises:
        UserError: a corpus of any stretch is missing or damaged, or the tokenizer does not fit the model.
    """

    def __init__(self, recipe: Recipe, process: distributed.Process) -> None:
        self.device = process.device
        self.stretches = recipe.stretches()
        self.accumulate = recipe.training.accumulate
        path = Path(self.stretches[-1].data.tokenizer)
        self.tokenizer = Tokenizer.load(path)
        if self.tokenizer.vocab_size > recipe.model.language.vocab_size:
            raise UserError(
                f"{path} has {self.tokenizer.vocab_size} tokens, the model only "
                f"{recipe.model.language.vocab_size}: set model.language.vocab_size to at least that"
            )
        vision, seed = recipe.model.vision, recipe.training.seed
        self._sets = [
            PretrainingData(
                stretch.data, vision.image_size, vision.patch_size, seed + phase, process.rank, process.world
            )
            for phase, stretch in enumerate(self.stretches)
        ]

    def weights(self, batch: int) -> LossWeights:
        """Weights of the losses of the batch with that index."""
        return next(s.weights for s in self.stretches if batch < s.stop * self.accumulate)

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """The batches `start` (included) to `stop` (excluded) of the run."""
        for stretch, data in zip(self.stretches, self._sets, strict=True):
            first = max(start, stretch.start * self.accumulate)
            last = min(stop, stretch.stop * self.accumulate)
            if first < last:
                yield from data.batches(first, last, self.device)


def build_model(recipe: Recipe, compiled: bool = False) -> XFM:
    """The recipe's model with the weights that it begins with, and its encoders compiled if wanted."""
    model, init = XFM(recipe.model), recipe.init
    if init.model is not None:
        load_weights(Path(init.model) / WEIGHTS, model)
    if init.vision is not None:
        load_weights(Path(init.vision) / WEIGHTS, model.vision, "vision.")
    if init.language is not None:
        load_weights(Path(init.language) / WEIGHTS, model.language, "language.")
    if compiled:
        for encoder in (model.vision, model.language, model.fusion):
            encoder.compile()
    return model


def is_new_part(name: str, recipe: Recipe) -> bool:
    """Whether a parameter is newly initialised while others are not, or belongs to a head.

    The published multiplier misses the randomly initialised fusion encoder and the token heads; here they
    have their share whenever an encoder is loaded, unless the published optimiser is asked for.
    """
    init = recipe.init
    if recipe.training.optim.published:
        return name.startswith(_PUBLISHED_NEW)
    if init.model is not None:
        return False
    encoders_loaded = init.vision is not None or init.language is not None
    return name.startswith(_HEADS) or (encoders_loaded and name.startswith("fusion."))


def describe_run(recipe: Recipe, steps: int) -> dict[str, Any]:
    """Provenance of the trained model: recipe, data, seeds and versions, and what the data's licences say."""
    data = recipe.stretches()[-1].data
    streams = {"text": data.text, "image": data.image, "pair": data.pair, "region": data.region}
    described: dict[str, Any] = {
        "recipe": recipe.name,
        "steps": steps,
        "seed": recipe.training.seed,
        "init": to_plain(recipe.init),
        "data": {
            name: [c.path for c in stream.corpora] for name, stream in streams.items() if stream.batch_size
        },
        "versions": {"xfm": version("xfm"), "torch": torch.__version__},
        "settings": to_plain(recipe),
    }
    manifest = Path(recipe.root) / "world.json"
    if manifest.is_file():
        world = json.loads(manifest.read_text(encoding="utf-8"))
        described["world"] = {key: world[key] for key in ("seed", "licences") if key in world}
    return described
