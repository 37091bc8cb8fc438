"""What vision-language losses are to masked image modelling: trains arms.yaml and probes the vision encoders.

    python results/guidance/run.py ARMS COLLECTED WORLD OUT [STEPS]

Linear probes on frozen features of slot 0, on pictures that results/photos/collect.py collected: `design`
learns the names of 300 things from one picture each in Noto's design, and is tested on OpenMoji's; `kinds` of
GCompris's photographs in five folds, no caption in two of them; `patches`, the same kinds told by one patch
alone; `digits` of scikit-learn from ten a class, mean of five draws. A collapse shows in two shares of the
features of the photographs: `deviation` of their root mean square, and `rank` (the exponential of the entropy
of the singular values) of their width. OUT has what
`xfm ablate` writes; the same command goes on where it was stopped.
"""

import csv
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import GroupKFold
from torch import Tensor

from xfm.config.ablation import load_ablation
from xfm.config.probing import RegressionConfig
from xfm.data.images import load_image
from xfm.evaluation.ablation import ablate
from xfm.evaluation.probing.linear_probe import fit_probe
from xfm.finetuning.frozen_features import LabelledFeatures
from xfm.models.artifacts import framed, model_pixels
from xfm.models.folder import Pretrained, load_model

OBJECTS, FOLDS, EXAMPLES, DRAWS, BATCH = 300, 5, 10, 5, 64
PENALTIES = RegressionConfig(standardise=True, lowest=-3, highest=0, max_iterations=200)


@torch.inference_mode()
def states(model: Pretrained, pictures: list[Tensor]) -> NDArray[np.float32]:
    """[N, 1 + P, D] states of the vision encoder."""
    found = []
    for start in range(0, len(pictures), BATCH):
        part = torch.stack([framed(one, model.preprocessing) for one in pictures[start : start + BATCH]])
        found.append(model.model.encode_image(model_pixels(part, model.preprocessing)).float().numpy())
    return np.concatenate(found)


def right(known: tuple[NDArray, NDArray], tested: tuple[NDArray, NDArray]) -> float:
    """Accuracy of a linear probe."""
    return float(
        (fit_probe(LabelledFeatures(*known), None, PENALTIES).predict(tested[0]) == tested[1]).mean()
    )


def score(collected: Path, model: Path, seed: int) -> dict[str, float]:
    """Scores of a model folder; splits and draws are the same for all."""
    del seed
    pretrained = load_model(model)
    with (collected / "pictures.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    designs = {
        source: {row["caption"]: row["image"] for row in reversed(rows) if row["source"] == source}
        for source in ("noto", "openmoji")
    }
    names = np.random.default_rng(0).permutation(sorted(set.intersection(*map(set, designs.values()))))[
        :OBJECTS
    ]
    noto, other = (
        states(pretrained, [load_image(collected / design[name]) for name in names])[:, 0]
        for design in designs.values()
    )
    photos = [
        row for row in rows if row["source"] == "gcompris" and row["kind"] == "photo" and row["keywords"]
    ]
    common = Counter(row["keywords"] for row in photos)
    photos = [row for row in photos if common[row["keywords"]] >= 2 * FOLDS]
    seen = states(pretrained, [load_image(collected / row["image"]) for row in photos])
    labels = np.array([row["keywords"] for row in photos])
    groups = np.unique([row["caption"] for row in photos], return_inverse=True)[1]
    rng, kinds, patches = np.random.default_rng(0), list[float](), list[float]()
    place = rng.integers(1, seen.shape[1], len(seen))
    single = seen[np.arange(len(seen)), place]
    for known, tested in GroupKFold(FOLDS, shuffle=True, random_state=0).split(seen, labels, groups):
        for features, found in ((seen[:, 0], kinds), (single, patches)):
            found.append(right((features[known], labels[known]), (features[tested], labels[tested])))
    dots, target = load_digits(return_X_y=True)
    dots = torch.from_numpy(np.uint8(15.9 * np.asarray(dots).reshape(-1, 1, 8, 8)))
    drawn = [one.expand(3, -1, -1).repeat_interleave(12, 1).repeat_interleave(12, 2) for one in dots]
    written, truth, found = states(pretrained, drawn)[:, 0], np.asarray(target).astype(str), list[float]()
    for _ in range(DRAWS):
        shown = np.concatenate(
            [rng.choice(np.flatnonzero(truth == one), EXAMPLES, False) for one in np.unique(truth)]
        )
        rest = np.setdiff1d(np.arange(len(truth)), shown)
        found.append(right((written[shown], truth[shown]), (written[rest], truth[rest])))
    values = np.linalg.svd(seen[:, 0] - seen[:, 0].mean(0), compute_uv=False)
    shares = values / values.sum()
    return {
        "vision/design": right((noto, names), (other, names)),
        "vision/kinds": float(np.mean(kinds)),
        "vision/patches": float(np.mean(patches)),
        "vision/digits": float(np.mean(found)),
        "vision/deviation": float(seen[:, 0].std(0).mean() / np.sqrt((seen[:, 0] ** 2).mean())),
        "vision/rank": float(np.exp(-(shares * np.log(shares + 1e-12)).sum()) / seen.shape[2]),
    }


def main(file: str, collected: str, world: str, out: str, steps: str = "") -> None:
    """Train and score."""
    more = ["--training.steps", steps] if steps else []
    ablate(load_ablation(file), Path(out), Path(world), more, partial(score, Path(collected)))


if __name__ == "__main__":
    main(*sys.argv[1:])
