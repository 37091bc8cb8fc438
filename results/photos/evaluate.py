"""Scores of a model on the held-out pictures of variants.py and scenes.py, as lines of CSV.

    python evaluate.py MODEL PAIRS SCENES

Captions find pictures and pictures captions, without fine-tuning, by contrast and re-ranked; then come
captions of scenes against three that differ in one thing.
"""

import csv
import sys
from pathlib import Path

import numpy as np
import torch

from xfm.config.evaluation import EvaluationConfig
from xfm.evaluation.context import Context
from xfm.evaluation.parts.zero_shot import run_hard
from xfm.metrics.recalls import chance_recalls, hits
from xfm.models.folder import load_model
from xfm.reports.scores import PartResult
from xfm.tasks.images import TaskImages
from xfm.tasks.ranking import rank

SPLITS = "validation", "test-title", "test-artist", "test-emoji"


def main(model: str, pairs: Path, scenes: Path) -> None:
    """Print the lines."""
    found = load_model(model)
    config, pictures, device = EvaluationConfig(), TaskImages(found.preprocessing), torch.device("cpu")
    result = PartResult()
    context = Context(found, pairs, config, device, pictures)
    for split in SPLITS:
        encoded = context.captions(split)
        positives = encoded.fits()
        depth = config.retrieval.shortlist if found.artifacts.reranks else 1
        text, image = rank(context.encoder, encoded.images, encoded.texts, positives, depth)
        chances = chance_recalls(positives)
        groups = {"text": np.arange(len(encoded.images)), "image": encoded.owner}
        for name, own in hits(text.ranks, image.ranks).items():
            direction, cutoff, *rule = name.split("_")
            if cutoff in ("r1", "r10") and (found.artifacts.reranks or not rule):
                chance = chances[f"{direction}_{cutoff}"]
                result.add_rows(f"{split}/{name}", own, groups[direction], chance, 0)
    scores = dict(result.scores)
    if found.artifacts.reranks:
        scores |= run_hard(Context(found, scenes, config, device, pictures)).scores
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["score", "value", "low", "high", "chance", "rows"])
    for name, one in scores.items():
        out.writerow([name, *(f"{part:.4f}" for part in (one.value, one.low, one.high, one.chance)), one.n])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
