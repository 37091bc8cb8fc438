"""Put what was trained of a model into the package as `photos`, in half precision, with its card.

    python pack.py MODEL COLLECTED SCORES

Encoders and words that are still those of the packages are left to them. COLLECTED/pictures.csv says what was
trained on and under which licences, SCORES is the CSV of evaluate.py.
"""

import csv
import json
import sys
from collections import Counter
from pathlib import Path

import torch

from xfm.config.artifacts import PackagedEncoders
from xfm.config.plain import to_plain
from xfm.core.files import drafting, replace_folder, write_text
from xfm.metrics.numbers import percent
from xfm.models.artifacts import CARD, model_card
from xfm.models.folder import load_model
from xfm.models.interop.packages import MINILM, packaged_tensors
from xfm.models.model_files import PACKAGES, TOKENIZER, WEIGHTS, as_json, save_model
from xfm.models.shipped import HOME
from xfm.models.weights import write_tensors
from xfm.models.xfm import XFM

PARTS = "value", "low", "high", "chance"
NAME, MOST = "photos", 30_000_000
ENCODERS = PackagedEncoders(MINILM, "efficientnet-lite0")
LIMITS = """\
It was taught things, animals, food, vehicles, places and signs by their names, on drawings and icons;
photographs are not among what its tests ask for. Who is where it knows of composed scenes: of four captions
that differ in a relation matching alone takes the right one in 84.5 % of 200, with contrast, as a search
orders, in 75.5 % (chance: 25 %; one training); numbers and backgrounds it does not. Whether anything in a
gallery fits at all it can hardly tell, of titles as hard as those it is tested on. It
does not know faces, nor read text in pictures, nor tell fine kinds (breeds, models, species beyond those of
ImageNet). Captions were short: it was not taught long sentences."""


def told(row: dict[str, str]) -> str:
    """A score in words."""
    value, low, high, chance = (percent(float(row[part])) if row[part] else "-" for part in PARTS)
    return f"{value} (95 %: {low} to {high}); chance {chance}; n {int(row['rows']):,}"


def trained_in_half(model: XFM) -> dict[str, torch.Tensor]:
    """The tensors that are not those of the packages, rounded in place to what is stored."""
    given, kept = packaged_tensors(ENCODERS), {}
    for name, tensor in model.state_dict().items():
        if name not in given or not torch.equal(tensor, given[name]):
            if tensor.is_floating_point():
                tensor.copy_(tensor.half())
            kept[name] = tensor
    return kept


def main(model: str, collected: Path, scores: Path) -> None:
    """Write the folder of the package."""
    found = load_model(model)
    kept = trained_in_half(found.model)
    with (collected / "pictures.csv").open(encoding="utf-8", newline="") as file:
        used = [row for row in csv.DictReader(file) if row["split"] == "train"]
    counts = Counter((row["source"], row["licence"]) for row in used)
    with scores.open(encoding="utf-8", newline="") as file:
        shown = {row["score"]: told(row) for row in csv.DictReader(file)}
    provenance = {key: value for key, value in found.provenance.items() if key != "settings"} | {
        "name": NAME,
        "commands": (Path(__file__).parent / "photos.sh").read_text("utf-8").strip(),
        "limits": LIMITS,
        "scores": shown,
        "licences": found.provenance["licences"] | {"data": "open ones, by source: see the data"},
        "data": {
            "captioned pictures": [
                f"{len(used):,} drawings, icons, emoji and photographs of open packages",
                "72,000 scenes that are composed of them",
                "24,000 scenes of Twemoji's pictures (CC-BY-4.0)",
            ],
            **{f"{source} ({licence})": f"{n:,} pictures" for (source, licence), n in sorted(counts.items())},
        },
    }
    with drafting(HOME / NAME) as draft:
        own, folder = found.artifacts, draft / NAME
        save_model(folder, found.model, own.tokenizer, own.preprocessing, provenance, None, own.calibration)
        write_tensors(folder / WEIGHTS, kept, half=True)
        compact = json.loads((folder / TOKENIZER).read_text("utf-8"))
        write_text(folder / TOKENIZER, json.dumps(compact, ensure_ascii=False, separators=(",", ":")))
        write_text(folder / PACKAGES, as_json(to_plain(ENCODERS)))
        write_text(folder / CARD, model_card(found.model.config, load_model(folder).artifacts))
        size = sum(path.stat().st_size for path in folder.iterdir())
        if size > MOST:
            sys.exit(f"{model} would take {size:,} bytes of the package, which has room for {MOST:,}")
        replace_folder(folder, HOME / NAME)
    print(f"{HOME / NAME}: {size:,} bytes, {len(kept)} of {len(found.model.state_dict())} tensors")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
