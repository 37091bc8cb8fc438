"""What vision-language losses are to masked image modelling: trains arms.yaml and probes the vision encoders.

    python results/guidance/run.py ARMS COLLECTED PAIRS WORLD OUT [STEPS]

MIM sees the pictures of results/photos/variants.py in PAIRS, which has no held-out ones, without their
words and without the photographs that are scored (PAIRS/wordless.jsonl). Linear probes on frozen features
of slot 0: `design` learns the names of 300 things from one picture each in Noto's design, and is tested on
EmojiOne's; `kinds` of held-out drawings of Open Clip Art in five folds, no caption in two of them;
`patches`, the same told by single patches; `digits` of scikit-learn from ten a class, mean of five draws;
`photographs`, four kinds of GCompris's, too few to decide anything. A collapse shows in two shares of the
features of the drawings: `deviation` of their root mean square, and `effective_rank` (the exponential of
the entropy of the singular values) of the largest possible. OUT has what `xfm ablate` writes, and
start.csv; the same command goes on where it was stopped. The models that the seeds begin with lie beside
OUT as start-SEED/model. Beside each model, cases.npz has what each picture was worth to each probe.
"""

import csv
import json
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import torch
from benchmarks.crossed import write_cases
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import GroupKFold
from torch import Tensor

from xfm.config.ablation import load_ablation
from xfm.config.probing import RegressionConfig
from xfm.core.files import write_text
from xfm.data.images import load_image
from xfm.evaluation.ablation import ablate, as_csv
from xfm.evaluation.probing.linear_probe import fit_probe
from xfm.finetuning.frozen_features import LabelledFeatures
from xfm.models.artifacts import framed, model_pixels
from xfm.models.folder import Pretrained, load_model

OBJECTS, FOLDS, EXAMPLES, DRAWS, PATCHES, BATCH = 300, 5, 10, 5, 6, 64
PENALTIES = RegressionConfig(standardise=True, lowest=-3, highest=0, max_iterations=200)


@torch.inference_mode()
def states(model: Pretrained, pictures: list[Tensor]) -> NDArray[np.float32]:
    """[N, 1 + P, D] states of the vision encoder."""
    found = []
    for start in range(0, len(pictures), BATCH):
        part = torch.stack([framed(one, model.preprocessing) for one in pictures[start : start + BATCH]])
        found.append(model.model.encode_image(model_pixels(part, model.preprocessing)).float().numpy())
    return np.concatenate(found)


def pictures(collected: Path) -> list[dict[str, str]]:
    """The rows of pictures.csv."""
    with (collected / "pictures.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def is_scored(row: dict[str, str]) -> bool:
    """Whether a picture is one of the photographs, which no arm sees."""
    return row["source"] == "gcompris" and row["kind"] == "photo" and bool(row["keywords"])


def right(known: tuple[NDArray, NDArray], tested: tuple[NDArray, NDArray]) -> NDArray[np.bool_]:
    """[N] bool: which of the tested a linear probe gets right."""
    return fit_probe(LabelledFeatures(*known), None, PENALTIES).predict(tested[0]) == tested[1]


def numbered(rows: list[dict[str, str]], file: Path) -> tuple[list[Path], NDArray, NDArray]:
    """Pictures of a file of variants.py, their labels and the numbers of their captions."""
    told = [json.loads(line) for line in file.read_text().splitlines()]
    captions = [rows[int(Path(one["image"]).stem)]["caption"] for one in told]
    paths = [(file.parent / one["image"]).resolve() for one in told]
    return paths, np.array([one["label"] for one in told]), np.unique(captions, return_inverse=True)[1]


def folds(features: NDArray, labels: NDArray, groups: NDArray) -> NDArray[np.float64]:
    """[captions] what each is worth; the mean is the mean accuracy over folds that share no caption.

    Of features [N, P, D] every patch is a case.
    """
    worth, cells = np.zeros(groups.max() + 1), features.shape[1]
    for known, tested in GroupKFold(FOLDS).split(features, labels, groups):
        parts = (
            (features[at].reshape(-1, features.shape[2]), labels[at].repeat(cells)) for at in (known, tested)
        )
        hits = right(*parts).reshape(-1, cells).mean(1)
        np.add.at(worth, groups[tested], hits * len(worth) / (FOLDS * len(tested)))
    return worth


def score(collected: Path, pairs: Path, model: Path, seed: int) -> dict[str, float]:
    """Scores of a model folder; splits and draws are the same for all."""
    del seed
    pretrained, rng = load_model(model), np.random.default_rng(0)
    rows = pictures(collected)
    designs = {
        source: {row["caption"]: row["image"] for row in reversed(rows) if row["source"] == source}
        for source in ("noto", "emojione")
    }
    names = np.random.default_rng(0).permutation(sorted(set.intersection(*map(set, designs.values()))))[
        :OBJECTS
    ]
    noto, other = (
        states(pretrained, [load_image(collected / design[name]) for name in names])[:, 0]
        for design in designs.values()
    )
    paths, labels, groups = numbered(rows, pairs / "tasks/kinds/openclipart.jsonl")
    seen = states(pretrained, [load_image(path) for path in paths])
    shown = seen[:, 1 + rng.choice(seen.shape[1] - 1, PATCHES, replace=False)]
    photos = [row for row in rows if is_scored(row)]
    common = Counter(row["keywords"] for row in photos)
    photos = [row for row in photos if common[row["keywords"]] >= 2 * FOLDS]
    captions = np.unique([row["caption"] for row in photos], return_inverse=True)[1]
    taken = states(pretrained, [load_image(collected / row["image"]) for row in photos])
    dots, target = load_digits(return_X_y=True)
    dots = torch.from_numpy(np.uint8(15.9 * np.asarray(dots).reshape(-1, 1, 8, 8)))
    drawn = [one.expand(3, -1, -1).repeat_interleave(12, 1).repeat_interleave(12, 2) for one in dots]
    written, truth = states(pretrained, drawn)[:, 0], np.asarray(target).astype(str)
    digits = np.zeros(len(truth))
    for _ in range(DRAWS):
        own = np.concatenate(
            [rng.choice(np.flatnonzero(truth == one), EXAMPLES, False) for one in np.unique(truth)]
        )
        rest = np.setdiff1d(np.arange(len(truth)), own)
        hits = right((written[own], truth[own]), (written[rest], truth[rest]))
        digits[rest] += hits * len(truth) / (DRAWS * len(rest))
    vectors = seen[:, 0]
    values = np.linalg.svd(vectors - vectors.mean(0), compute_uv=False)
    parts = values / values.sum()
    cases = {
        "vision/design": right((noto, names), (other, names)).astype(np.float64),
        "vision/kinds": folds(seen[:, :1], labels, groups),
        "vision/patches": folds(shown, labels, groups),
        "vision/digits": digits,
        "vision/photographs": folds(taken[:, :1], np.array([row["keywords"] for row in photos]), captions),
    }
    write_cases(model, cases)
    return {
        **{name: float(one.mean()) for name, one in cases.items()},
        "vision/deviation": float(vectors.std(0).mean() / np.sqrt((vectors**2).mean())),
        "vision/effective_rank": float(
            np.exp(-(parts * np.log(parts + 1e-12)).sum()) / min(len(vectors) - 1, vectors.shape[1])
        ),
    }


def main(file: str, collected: str, pairs: str, world: str, out: str, steps: str = "") -> None:
    """Train and score; start.csv has the scores of the models that the seeds begin with."""
    rows, place, arms = pictures(Path(collected)), Path(out), load_ablation(file)
    lines = [
        line for name in ("art", "icons") for line in (Path(pairs) / f"{name}.jsonl").read_text().splitlines()
    ]
    kept = [line for line in lines if not is_scored(rows[int(Path(json.loads(line)["image"]).stem[:5])])]
    write_text(Path(pairs) / "wordless.jsonl", "".join(f"{line}\n" for line in kept))
    scorer = partial(score, Path(collected), Path(pairs))
    ablate(arms, place, Path(world), ["--training.steps", steps] if steps else [], scorer)
    starts = []
    for seed in range(arms.seeds):
        if not (start := place.with_name(f"start-{seed}") / "model").exists():
            continue  # seeds that begin with one model
        found = scorer(start, seed)
        starts.append({"arm": "start", "seed": str(seed)} | {key: f"{one:.5f}" for key, one in found.items()})
    write_text(place / "start.csv", as_csv(starts))


if __name__ == "__main__":
    main(*sys.argv[1:])
