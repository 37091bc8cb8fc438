"""The losses of a pre-training on data that it does not train on: the same batches every time."""

from typing import Any

from xfm.config.recipe import Recipe
from xfm.data.rng import mix
from xfm.errors import UserError
from xfm.modeling.folder import Preprocessing
from xfm.modeling.gradients import GradientPolicy
from xfm.modeling.xfm import XFM
from xfm.objectives.losses import Losses
from xfm.training import distributed
from xfm.training.curriculum import CurriculumData
from xfm.training.logging import Window
from xfm.training.pretraining_step import PretrainingStep, Run
from xfm.training.randomness import seeded_generator

_SEED = 0x76616C  # of its own, so that no batch is drawn as one of the training is


class Validation:
    """Gives the recipe's losses on `data.validation`, weighed as the recipe's last phase weighs them.

    What the batches hold, and the negatives that are drawn for them, follows from the seed alone.

    Args:
        recipe: the recipe.
        model: what is trained.
        process: this process; batches go to its device.
        preprocessing: mean and deviation of the pixels.

    Raises:
        UserError: a corpus is missing or damaged, or a batch cannot be shared.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: XFM,
        process: distributed.Process,
        preprocessing: Preprocessing,
    ) -> None:
        self.steps, self.seed = recipe.training.validate_steps, mix(recipe.training.seed, _SEED) >> 2
        self.device = process.device
        policy = GradientPolicy.of(recipe.training.gradients)  # nothing is learned of it
        try:
            self.data = CurriculumData(recipe.validating(self.seed), process, preprocessing)
        except UserError as error:
            raise UserError(f"data.validation: {error}") from error
        self.step = PretrainingStep(model, [policy], recipe.training.mim_target, self.data)

    def __call__(self, run: Run) -> dict[str, float]:
        """The summed `loss` and the losses by name, means over batches and processes.

        Args:
            run: computes something with the model, without gradient.
        """
        window = Window()
        for number, batch in enumerate(self.data.batches(0, self.steps)):
            generator = seeded_generator(mix(self.seed, number), self.device)
            ((part,),) = self.step.whole([batch], generator, run)

            def compute(part: Any = part, generator: Any = generator) -> Losses:
                return self.step(part, generator)

            found: Losses = run(compute)
            window.add({"loss": found.total, **found.parts})
        return window.means()
