"""The losses of a pre-training on data that it does not train on: the same batches every time."""

from typing import Any

from torch import nn

from xfm.config.recipe import Recipe
from xfm.data.rng import mix
from xfm.errors import UserError
from xfm.modeling.folder import Preprocessing
from xfm.modeling.gradients import GradientPolicy
from xfm.objectives.losses import NoGrad
from xfm.training import distributed
from xfm.training.callbacks import Callback, StepOutput
from xfm.training.curriculum import CurriculumData
from xfm.training.logging import Window
from xfm.training.pretraining_step import PretrainingStep
from xfm.training.randomness import seeded_generator
from xfm.training.trainer import Trainer

_SEED = 0x76616C  # of its own, so that no batch is drawn as one of the training is


class Validation(Callback):
    """Logs the recipe's losses on `data.validation`, weighed as the recipe's last phase weighs them.

    It does every `training.validate_every` steps and at the end. What the batches hold, and the negatives
    that are drawn for them, follows from the seed alone.

    Args:
        recipe: the recipe.
        process: this process; batches go to its device.
        preprocessing: mean and deviation of the pixels.

    Raises:
        UserError: a corpus is missing or damaged, or a batch cannot be shared.
    """

    def __init__(self, recipe: Recipe, process: distributed.Process, preprocessing: Preprocessing) -> None:
        self.steps, self.seed = recipe.training.validate_steps, mix(recipe.training.seed, _SEED) >> 2
        self.device = process.device
        policy = GradientPolicy.of(recipe.training.gradients)  # nothing is learned of it
        try:
            self.data = CurriculumData(recipe.validating(self.seed), process, preprocessing)
        except UserError as error:
            raise UserError(f"data.validation: {error}") from error
        self.loss = PretrainingStep([policy], recipe.training.mim_target, self.data)

    def on_step(self, trainer: Trainer[Any], output: StepOutput) -> None:
        """Look when it is time to, with the weights and with their average."""
        if trainer.step % trainer.config.validate_every and not trainer.ended:
            return
        losses, average = trainer.validate(self.look)
        kinds = {"losses": losses} | ({} if average is None else {"average": average})
        also = "" if average is None else f", of the average of the weights {average['loss']:.4g}"
        message = f"Validation after step {trainer.step}: loss {losses['loss']:.4g}{also}"
        trainer.event(trainer.step, "validation", message, **kinds)

    def look(self, model: nn.Module, no_grad: NoGrad) -> dict[str, float]:
        """`loss` and the losses by name, means over batches and processes; see `Trainer.validate`."""
        window = Window()
        for number, batch in enumerate(self.data.batches(0, self.steps)):
            generator = seeded_generator(mix(self.seed, number), self.device)
            ((part,),) = self.loss.split(model, [batch], generator, no_grad)
            found = no_grad(self.loss, part, generator)
            window.add({"loss": found.total, **found.terms})
        return window.means()
