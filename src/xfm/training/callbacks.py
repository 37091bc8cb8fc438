"""What happens between the steps of a training: checkpoints, and an early end."""

from collections.abc import Callable
from typing import Any

from xfm.training import distributed
from xfm.training.trainer import Callback, StepOutput, Trainer


class Checkpoints(Callback):
    """Saves every `config.save_every` steps and at the end; it stands last among the callbacks."""

    def __init__(self) -> None:
        self._saved = 0

    def on_begin(self, trainer: Trainer[Any]) -> None:
        """What is loaded is saved already, and a model that has not moved need not be."""
        self._saved = trainer.step

    def on_step(self, trainer: Trainer[Any], output: StepOutput) -> None:
        """Save when it is time to."""
        if trainer.config.save_every and trainer.step % trainer.config.save_every == 0:
            self._save(trainer)

    def on_end(self, trainer: Trainer[Any]) -> None:
        """Save the last step, and wait until it is written."""
        self._save(trainer)
        if trainer.folder is not None:
            trainer.folder.settle()

    def _save(self, trainer: Trainer[Any]) -> None:
        if trainer.folder is not None and trainer.step != self._saved:
            trainer.save()
            self._saved = trainer.step


class EarlyStopping(Callback):
    """Ends a training before its last step.

    Args:
        finished: asked after every step but the last, given the steps done, whether that was enough; the
            first process's answer counts. It may look at the model, and must leave its mode and every random
            state as they are.
    """

    def __init__(self, finished: Callable[[int], bool]) -> None:
        self.finished = finished

    def on_step(self, trainer: Trainer[Any], output: StepOutput) -> None:
        """Ask."""
        if not trainer.ended:
            trainer.enough = distributed.from_first(self.finished(trainer.step))


class AfterUpdate(Callback):
    """Calls a function after every step that changed the weights, such as `WeightAverage.update`."""

    def __init__(self, function: Callable[[], None]) -> None:
        self.function = function

    def on_step(self, trainer: Trainer[Any], output: StepOutput) -> None:
        """Call it."""
        if not output.skipped:
            self.function()
