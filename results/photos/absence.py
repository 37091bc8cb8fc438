"""Fit when a search finds nothing, and score that on captions, artists and pictures that no fit has seen.

    python absence.py MODEL PAIRS

Held-out captions of variants.py search galleries of up to 5,000 pictures, with their picture and without; the
other pictures are of the training, a half for the fit and a half for the score. A picture counts as fitting
where all words of one of its captions are in the caption, or the other way round. Validation captions are
fitted, test titles and artists scored. Writes the fit into the folder of the model, and what was trained in
the precision in which it is shipped, so that later scores are of that. Prints lines of CSV: the share of
absent captions that is refused where 95 % of the present ones are answered, and both shares with the fit.
"""

import csv
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pack import trained_in_half
from scipy.sparse import csr_array

from xfm.config.evaluation import EvaluationConfig, RetrievalConfig
from xfm.config.labels import MatchCalibration, PresenceFit
from xfm.config.typed import from_plain
from xfm.evaluation.context import Context, EncodedCaptions
from xfm.evaluation.parts.matching import run_matching, search_galleries
from xfm.metrics.calibration import GallerySearches, fit_presence
from xfm.metrics.intervals import bootstrap
from xfm.models.features import encode_texts
from xfm.models.folder import load_model
from xfm.models.model_files import save_model
from xfm.tasks.images import TaskImages
from xfm.tasks.rows import read_captioned

SIZES, QUERIES = (100, 1000, 5000), 400


@dataclass(frozen=True)
class Searched(EncodedCaptions):
    """Captions and pictures, of which some have other captions: `said`, [I] sets."""

    said: list[set[str]]

    def fits(self) -> csr_array:
        """See `EncodedCaptions`."""
        own = super().fits().toarray()
        words = [[set(text.split()) for text in texts] for texts in self.said]
        for row, caption in enumerate(self.captions):
            asked = set(caption.split())
            own[:, row] |= [any(asked <= one or one <= asked for one in texts) for texts in words]
        return csr_array(own)


def searched(context: Context, pairs: Path, split: str, half: int) -> Searched:
    """A split's captions, among its own pictures and a half of those for training."""
    rows = read_captioned(pairs / f"tasks/retrieval/{split}.jsonl")
    others = [json.loads(line) for line in (pairs / "tasks/gallery.jsonl").read_text("utf-8").splitlines()]
    order = np.random.default_rng(0).permutation(len(others))[half::2][: max(SIZES) + 1500 - len(rows)]
    paths = [row.image for row in rows] + [pairs / "tasks" / others[one]["image"] for one in order]
    images, places = context.encode(paths)
    said = [set[str]()] * len(rows) + [set(others[one]["captions"]) for one in order]
    texts = encode_texts(context.encoder, [row.caption for row in rows])
    return Searched(rows, images, texts, places[: len(rows)].numpy(), said)


def shares(found: GallerySearches, fit: PresenceFit) -> dict[str, tuple[Any, float, int]]:
    """Shares by gallery size, with their intervals, chance and numbers of captions."""
    scores: dict[str, tuple[Any, float, int]] = {}
    heights = found.heights(fit.contrast, fit.matching)
    for size in np.unique(found.pictures).tolist():
        own = found.pictures == size
        high, there, groups = heights[own], found.there[own], found.groups[own]
        present, absent = high[there], high[~there]
        answered = np.array([fit.probability(one, size) >= fit.threshold(size) for one in high.tolist()])
        measured = {
            "refused at 95 % answered": lambda at, there=present, absent=absent: (
                absent[at] < np.quantile(there[at], 0.05)
            ).mean(),
            "answered": lambda at, own=answered[there]: own[at].mean(),
            "refused": lambda at, own=~answered[~there]: own[at].mean(),
        }
        refused = float((~answered[there]).mean())  # a refusal that knows nothing is as frequent
        chances = {"refused at 95 % answered": 0.05, "answered": 1 - refused, "refused": refused}
        for name, share in measured.items():
            found_share = bootstrap(share, groups[there], 0)
            scores[f"absence/{size}/{name}"] = found_share, chances[name], len(present)
    return scores


def main(folder: Path, pairs: Path) -> None:
    """Write the fit and print the lines."""
    found = load_model(folder)
    trained_in_half(found.model)
    config = EvaluationConfig(retrieval=RetrievalConfig(rows=0))
    context = Context(found, pairs, config, torch.device("cpu"), TaskImages(found.preprocessing))
    result = run_matching(context)
    matching = from_plain(MatchCalibration, result.calibration, folder)
    known = search_galleries(context, searched(context, pairs, "validation", 0), SIZES, QUERIES)
    fit = fit_presence(known, "400 validation captions of results/photos, among pictures of its training")
    new = search_galleries(context, searched(context, pairs, "seen", 1), SIZES, QUERIES)
    data = "validation pictures of results/photos"
    own, calibration = found.artifacts, replace(matching, data=data, presence=fit)
    save_model(folder, found.model, own.tokenizer, own.preprocessing, found.provenance, None, calibration)
    out = csv.writer(sys.stdout, lineterminator="\n")
    for name, (one, chance, rows) in shares(new, fit).items():
        out.writerow([name, *(f"{part:.4f}" for part in (one.value, one.low, one.high, chance)), "", rows])
    for name, one in result.scores.items():
        out.writerow(
            [name, *(f"{part:.4f}" for part in (one.value, one.low, one.high, one.chance)), "", one.n]
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
