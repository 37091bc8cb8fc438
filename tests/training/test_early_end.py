"""A run that ends before its last step."""

from pathlib import Path

import pytest
import torch

from tests.training.support import Line, config, logged_losses, run_line
from xfm.training.checkpoint import list_checkpoints


@pytest.mark.parametrize("enough", [1, 4, 9])
def test_a_run_ends_when_it_is_told_to(tmp_path: Path, enough: int) -> None:
    """After that very step, saved; what was computed is what a whole run computes until there."""
    asked: list[int] = []

    def finished(done: int) -> bool:
        asked.append(done)
        return done >= enough

    result = run_line(tmp_path / "early", config(10), finished=finished)
    run_line(tmp_path / "whole", config(10))
    assert result.step == enough
    assert asked == list(range(1, enough + 1))
    assert [path.name for path in list_checkpoints(tmp_path / "early")] == [f"step-{enough:08d}"]
    whole = logged_losses(tmp_path / "whole")
    assert logged_losses(tmp_path / "early") == {step: whole[step] for step in range(1, enough + 1)}


def test_the_last_step_ends_the_run_anyway(tmp_path: Path) -> None:
    asked: list[int] = []
    result = run_line(None, config(3), finished=lambda done: bool(asked.append(done)))
    assert (result.step, asked) == (3, [1, 2])


def test_looking_at_the_model_changes_nothing() -> None:
    """A look in evaluation mode that draws nothing leaves the run as it is."""
    weights = []
    for look in (False, True):
        model = Line()

        def finished(done: int, model: Line = model, look: bool = look) -> bool:
            if look:
                model.eval()
                model.train()
            return False

        run_line(None, config(5), model, finished=finished)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)
