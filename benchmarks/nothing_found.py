"""Does a search refuse what is not there, and does re-ranking find relations? On test scenes of a world.

    xfm prepare --out worlds/galleries --tasks.retrieval 6000 --tasks.validation 6000
    python -m benchmarks.nothing_found --model small --world worlds/galleries --json FILE

A caption of a test scene searches a gallery with its picture and one of as many pictures without. Reported
for each size: the share that is refused where the threshold answers 95 % of the captions whose picture is
there, which no threshold fitted elsewhere can promise; and both shares with the threshold in the model's
folder, which `xfm evaluate` fitted on validation scenes. Captions count as absent whose own picture is not
there: in a large gallery another one may fit.

Relations: captions that say where something is to something else search a gallery of `--gallery` pictures.
R@1 by cosine alone, and after re-ranking `--depth`, with the interval of the difference (bootstrap over
pictures). Latency: of `Searcher.search` over that gallery, with and without re-ranking, alternately; every
search is for another text, and its pictures are encoded for it unless an earlier one needed them lately.
"""

import argparse
import json
import re
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xfm.config.evaluation import EvaluationConfig
from xfm.config.pipelines import SearchOptions
from xfm.core.files import write_text
from xfm.data.skipped import SkippedRecords
from xfm.evaluation.context import Context, EncodedCaptions
from xfm.evaluation.parts.matching import search_galleries
from xfm.metrics.calibration import GallerySearches
from xfm.metrics.intervals import bootstrap
from xfm.models.folder import load_model
from xfm.search.ingest import fill
from xfm.search.opening import open_index
from xfm.search.searching import Searcher
from xfm.search.sources import FolderSupply
from xfm.tasks.images import TaskImages
from xfm.tasks.ranking import cosines, match, rerank_scores

RELATION = re.compile(
    r"\b(left of|right of|above|below|higher than|lower than|between|to its (left|right)|above it|below it)\b"
)


def presence(
    context: Context, encoded: EncodedCaptions, sizes: list[int], queries: int
) -> list[dict[str, Any]]:
    """What is refused and answered, by gallery size."""
    calibration = context.pretrained.calibration
    fitted = calibration.presence if calibration else None
    if fitted is None:
        raise SystemExit("the model's folder has no fit of what is there: run `xfm evaluate` on it")
    found: list[dict[str, Any]] = []
    everything = search_galleries(context, encoded, sizes, queries)
    for size in sizes:
        rows = everything.pictures == size
        own = GallerySearches(
            everything.contrast[rows],
            everything.odds[rows],
            everything.there[rows],
            everything.pictures[rows],
            everything.groups[rows],
        )
        heights, least = own.heights(fitted.contrast, fitted.matching), fitted.threshold(size)
        answered = np.array([fitted.probability(height, size) >= least for height in heights.tolist()])
        found.append(
            {
                "pictures": size,
                "searches": len(heights),
                "refused_at_95": float((heights[~own.there] < np.quantile(heights[own.there], 0.05)).mean()),
                "answered": float(answered[own.there].mean()),
                "refused": float((~answered[~own.there]).mean()),
            }
        )
    return found


def relations(
    context: Context, encoded: EncodedCaptions, gallery: int, depth: int, queries: int
) -> dict[str, Any]:
    """R@1 of captions with a relation in a gallery of the first pictures, by cosine and re-ranked."""
    own = [
        row
        for row, caption in enumerate(encoded.captions)
        if encoded.owner[row] < gallery and RELATION.search(caption)
    ]
    rows = np.array(own[: queries or None])
    contrast = cosines(encoded.texts.vectors[rows], encoded.images.vectors[:gallery]).double().numpy()
    best = np.argsort(-contrast, axis=1, kind="stable")[:, :depth]  # [Q, K]
    shown, asked = best.ravel(), np.repeat(rows, best.shape[1])
    order = np.argsort(shown, kind="stable")
    logits = np.empty((len(shown), 2))
    logits[order] = match(
        context.encoder, encoded.images.states.read, encoded.texts.states.read, shown[order], asked[order]
    )
    temperature = context.pretrained.model.temperature.item()
    near = np.take_along_axis(contrast, best, 1)
    scores = rerank_scores(near.ravel(), logits, temperature).reshape(best.shape)
    first = np.take_along_axis(best, scores.argmax(1)[:, None], 1)[:, 0]
    right = [(picks == encoded.owner[rows]).astype(float) for picks in (best[:, 0], first)]
    gain = bootstrap(right[1] - right[0], np.unique(encoded.owner[rows], return_inverse=True)[1])
    return {
        "queries": len(rows),
        "pictures": gallery,
        "r1_contrast": float(right[0].mean()),
        "r1_reranked": float(right[1].mean()),
        "gain": [gain.value, gain.low, gain.high],
    }


def latency(model: str, encoded: EncodedCaptions, gallery: int, depth: int, count: int) -> dict[str, float]:
    """Milliseconds of whole searches, re-ranked and not."""
    paths = list(dict.fromkeys(row.image for row in encoded.rows))[:gallery]
    with tempfile.TemporaryDirectory(prefix="xfm-nothing-") as folder:
        pictures = Path(folder) / "pictures"
        pictures.mkdir()
        for path in paths:
            (pictures / path.name).symlink_to(path.absolute())
        with open_index(Path(folder) / "index", model, make=True) as index:
            fill(index, [FolderSupply(pictures)], SkippedRecords(), progress=False)
            searcher, times = Searcher(index), {0: list[float](), depth: list[float]()}
            for caption in encoded.captions[: count + 1]:
                for rerank, own in times.items():
                    began = time.perf_counter()
                    searcher.search(caption, options=SearchOptions(rerank=rerank))
                    own.append(1000 * (time.perf_counter() - began))
    plain, reranked = (np.array(own[1:]) for own in times.values())
    return {
        "contrast_median_ms": float(np.median(plain)),
        "reranked_median_ms": float(np.median(reranked)),
        "reranked_p95_ms": float(np.quantile(reranked, 0.95)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="small")
    parser.add_argument("--world", type=Path, required=True)
    parser.add_argument("--split", default="seen", help="a retrieval split of the world")
    parser.add_argument("--sizes", default="100,1000,5000", help="pictures of the galleries")
    parser.add_argument("--queries", type=int, default=600, help="captions of each kind; 0 takes all")
    parser.add_argument("--gallery", type=int, default=1000, help="pictures, for relations and latency")
    parser.add_argument("--depth", type=int, default=32, help="pictures that are re-ranked")
    parser.add_argument("--timed", type=int, default=50, help="searches that are timed")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    pretrained, config = load_model(given.model), EvaluationConfig()
    config = replace(config, retrieval=replace(config.retrieval, rows=0, shortlist=given.depth))
    context = Context(
        pretrained, given.world, config, torch.device("cpu"), TaskImages(pretrained.preprocessing)
    )
    encoded = context.captions(given.split)
    found: dict[str, Any] = {"model": given.model, "split": given.split, "depth": given.depth}
    found["galleries"] = presence(
        context, encoded, [int(one) for one in given.sizes.split(",")], given.queries
    )
    print("| pictures | refused at 95 % | answered, fitted | refused, fitted |\n|---|---|---|---|")
    for one in found["galleries"]:
        shares = " | ".join(f"{one[name]:.1%}" for name in ("refused_at_95", "answered", "refused"))
        print(f"| {one['pictures']:,} | {shares} |", flush=True)
    found["relations"] = relations(context, encoded, given.gallery, given.depth, given.queries)
    print(json.dumps(found["relations"]), flush=True)
    found["latency"] = latency(given.model, encoded, given.gallery, given.depth, given.timed)
    print(json.dumps(found["latency"]))
    if given.json:
        write_text(given.json, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
