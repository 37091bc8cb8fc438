"""What nouns alone reach in the retrieval tests of the embedded world, without a model.

    xfm prepare --out worlds/emoji
    python -m benchmarks.nouns worlds/emoji results/nouns.csv

An oracle knows the set of kinds of objects that each caption names, and that each picture's own captions
name, and nothing else: no number, place, size, colour or relation. Candidates with the set of the query come
first, in random order. It is the baseline of `retrieval/*` in `xfm evaluate`
(`xfm.evaluation.parts.zero_shot.noun_recalls`). `unique` is the share of captions whose set no other has.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from xfm.core.errors import UserError
from xfm.core.files import write_text
from xfm.evaluation.ablation import as_csv
from xfm.evaluation.parts.zero_shot import kinds_named, kinds_of, noun_recalls
from xfm.metrics.recalls import with_equal_captions
from xfm.reports.scores import SPLITS_RETRIEVAL
from xfm.tasks.rows import read_captioned
from xfm.world import WorldManifest


def row_of(world: Path, split: str) -> dict[str, str]:
    """Expected recalls of a split, both directions, beside what they were computed from."""
    rows = read_captioned(world / "tasks" / "retrieval" / f"{split}.jsonl")
    places = {image: place for place, image in enumerate(dict.fromkeys(row.image for row in rows))}
    owner, captions = np.array([places[row.image] for row in rows]), [row.caption for row in rows]
    named = kinds_named(captions, kinds_of(world))
    count = Counter(named)
    unique = sum(count[one] == 1 for one in named) / len(named)
    found = noun_recalls(with_equal_captions(owner, captions, len(places)), owner, named)
    manifest = WorldManifest.load(world)
    return {
        "split": split,
        "captions": str(len(rows)),
        "unique": f"{unique:.4f}",
        **{name: f"{value:.4f}" for name, value in found.items()},
        "seed": str(manifest.seed),
        "world": manifest.fingerprint[:12],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("world", type=Path, help="a world that `xfm prepare` wrote")
    parser.add_argument("file", type=Path, help="the CSV file, which is replaced")
    given = parser.parse_args()
    try:
        text = as_csv([row_of(given.world, split) for split in SPLITS_RETRIEVAL])
    except UserError as error:
        parser.exit(2, f"{error}\n")
    write_text(given.file, text)
    print(text, end="")


if __name__ == "__main__":
    main()
