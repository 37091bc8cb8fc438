"""On two processes the contrastive gradient is that of the whole batch, which the published code misses."""

from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import Tensor

from tests.golden.compare import check_gradients, check_loss, check_norms
from tests.golden.recorded import Recorded
from tests.processes import TORCHRUN, run

WORKER = Path(__file__).with_name("two_ranks.py")
WORLD = 2


@pytest.fixture(scope="module")
def found(recorded: Recorded, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    out = tmp_path_factory.mktemp("two") / "gradients.safetensors"
    ended = run([*TORCHRUN, str(WORLD), str(WORKER), str(recorded.folder.resolve()), str(out)], 240)
    assert ended.status == 0, ended.err[-3000:]
    return load_file(out)


def test_the_gradient_of_the_whole_batch(recorded: Recorded, found: dict[str, Tensor]) -> None:
    check_loss(recorded, "image/loss_itc", found["loss"])
    ours = {name: gradient for name, gradient in found.items() if name != "loss"}
    check_gradients(recorded, "image/loss_itc", ours)


def test_the_published_one_is_smaller_by_the_number_of_processes(
    recorded: Recorded, found: dict[str, Tensor]
) -> None:
    wanted = recorded.json("two_rank_contrastive.json")
    assert wanted.keys() == {"description", "loss", "averaged_grads"}
    assert found["loss"].item() == pytest.approx(wanted["loss"], rel=2e-5)
    ours = {name: g if name == "temp" else g / WORLD for name, g in found.items() if name != "loss"}
    check_norms("two ranks", wanted["averaged_grads"], ours)
    assert ours.keys() == wanted["averaged_grads"].keys()
