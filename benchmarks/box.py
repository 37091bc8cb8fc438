"""Puts a model into the package: half precision, with its card.

    python -m benchmarks.box half runs/small --out runs/box
    xfm evaluate runs/box --world worlds/emoji
    python -m benchmarks.box install runs/box small results/small.sh
    python -m benchmarks.box positions runs/small --out runs/placed
    python -m benchmarks.box presence runs/box --world worlds/galleries

`half` stores a model in half precision, so that what is evaluated is what is loaded. `install` copies the
evaluated model of a run to `src/xfm/models/shipped/NAME` with a card of its scores and of the commands that
made it, which are in a file; more than 30 MB are refused. `positions` gives a model that was trained without
them fixed positions in its fusion encoder, to be trained on with: they hold no weights. `presence` fits anew
when a search has found nothing, on the galleries that a world with more validation scenes has room for.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from benchmarks.results import EVERYTHING, PARTS, ROOT

from xfm.config.encoders import TextPositions
from xfm.config.evaluation import EvaluationConfig, RetrievalConfig
from xfm.core.errors import UserError
from xfm.core.files import drafting, read_json_object, read_text, replace_folder
from xfm.evaluation.context import Context
from xfm.evaluation.parts.matching import gallery_fit
from xfm.evaluation.suite import weights_digest
from xfm.models.folder import Pretrained, load_model
from xfm.models.model_files import save_model
from xfm.models.xfm import XFM
from xfm.tasks.images import TaskImages
from xfm.training.pretrain import MODEL_FOLDER

MANY = 6000
"""Captions of the galleries on which it is fitted when a search has found nothing."""
MOST = 30_000_000
"""Bytes of a model in the package."""
LIMITS = """\
Trained on composed pictures of emoji alone, with captions of one grammar and some plain text: names of some
six hundred things, places, sizes, counts, colours and relations. Photographs, other names and free language
are not its world. Take it to try the package, in tests, and to begin a fine-tuning on small data. It answers
whatever it is asked: what it was not taught it does not know, as the scores of held-out objects show."""


def half(source: Path, out: Path) -> Path:
    """Store the model of a run, or of a folder, in half precision, as that of the run `out`."""
    found = load_model(source)
    _save(out / MODEL_FOLDER, found, found.provenance)
    return out / MODEL_FOLDER


def positions(source: Path, out: Path) -> Path:
    """Store the model of a run, or of a folder, with positions in fusion, as that of the run `out`."""
    found = load_model(source)
    config = found.model.config
    fusion = replace(config.fusion, positions=TextPositions.SINE)
    model = XFM(replace(config, fusion=fusion))
    model.load_state_dict(found.model.state_dict())
    own = found.artifacts
    save_model(out / MODEL_FOLDER, model, own.tokenizer, own.preprocessing, found.provenance)
    return out / MODEL_FOLDER


def presence(run: Path, world: Path) -> Path:
    """Fit when a search has found nothing on the galleries of a world, and keep it in the run's model.

    Raises:
        UserError: the model has not been evaluated.
    """
    folder = run / MODEL_FOLDER
    found = load_model(folder)
    if found.calibration is None:
        raise UserError(f"{folder} has no calibration: run `xfm evaluate {run}` first")
    pictures = TaskImages(found.preprocessing)
    config = EvaluationConfig(retrieval=RetrievalConfig(rows=MANY))
    context = Context(found, world, config, torch.device("cpu"), pictures)
    fitted = gallery_fit(context, f"retrieval/validation of {world}")
    calibration = replace(found.calibration, presence=fitted)
    _save(folder, replace(found, calibration=calibration), found.provenance)
    return folder


def _save(folder: Path, found: Pretrained, provenance: dict[str, Any]) -> None:
    own = found.artifacts
    save_model(
        folder,
        found.model,
        own.tokenizer,
        own.preprocessing,
        provenance,
        calibration=own.calibration,
        half=True,
    )


def install(run: Path, name: str, commands: Path) -> Path:
    """Put the evaluated model of a run into the package.

    Args:
        run: with the model in half precision and its scores.
        name: by which it is loaded.
        commands: a file of the commands that made it, for the card.

    Raises:
        UserError: the run is not evaluated, its scores are of other weights, or its model is too large.
        OSError: the file cannot be read.
    """
    told = read_text(commands).strip()
    details, scores = (read_json_object(run / file) for file in ("evaluation.json", "metrics.json"))
    found = load_model(run / MODEL_FOLDER)
    folder = ROOT / "src" / "xfm" / "models" / "shipped" / name
    with drafting(folder) as draft:
        _save(draft / name, found, described(found, name, details, scores, told))
        if weights_digest(draft / name) != details["weights_sha256"]:
            raise UserError(
                f"{run}: its scores are of other weights than those of its model in half precision"
            )
        size = sum(path.stat().st_size for path in (draft / name).iterdir())
        if size > MOST:
            raise UserError(
                f"{run / 'model'} would take {size:,} bytes of the package, which has room for {MOST:,}"
            )
        replace_folder(draft / name, folder)
    return folder


def described(
    found: Pretrained, name: str, details: dict[str, Any], scores: dict[str, Any], commands: str
) -> dict[str, Any]:
    """The provenance of the model in the package: that of its training, with scores, limits and commands.

    Of its training's settings, which name paths of the machine that it was made on, the commands say enough.
    """
    shown = {
        key: {"name": label, **{part: scores[key].get(part) for part in PARTS}}
        for label, key in EVERYTHING.items()
        if key in scores
    }
    kept = {key: value for key, value in found.provenance.items() if key != "settings"}
    return kept | {
        "name": name,
        "commands": commands,
        "limits": LIMITS,
        "scores": shown,
        "scored": {"weights_sha256": details["weights_sha256"], "torch": details["torch"]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    halving = verbs.add_parser("half", help="store a model in half precision")
    halving.add_argument("model", type=Path, help="a finished run, or a model folder")
    halving.add_argument("--out", type=Path, required=True, help="folder of a run that gets the new model")
    placing = verbs.add_parser("positions", help="give the fusion encoder of a model positions")
    placing.add_argument("model", type=Path, help="a finished run, or a model folder")
    placing.add_argument("--out", type=Path, required=True, help="folder of a run that gets the new model")
    installing = verbs.add_parser("install", help="put the evaluated model of a run into the package")
    installing.add_argument("run", type=Path)
    installing.add_argument("name", help="by which it is loaded")
    installing.add_argument("commands", type=Path, help="a file of the commands that made it, for its card")
    fitting = verbs.add_parser("presence", help="fit when a search has found nothing")
    fitting.add_argument("run", type=Path)
    fitting.add_argument("--world", type=Path, required=True, help="with many validation scenes")
    given = parser.parse_args()
    try:
        if given.verb == "half":
            print(f"The model is in {half(given.model, given.out)}; `xfm evaluate {given.out}` scores it")
        elif given.verb == "positions":
            print(f"The model is in {positions(given.model, given.out)}; train it on with --init.model")
        elif given.verb == "presence":
            print(f"It is in {presence(given.run, given.world)}")
        else:
            print(f"The model is in {install(given.run, given.name, given.commands)}")
    except (UserError, OSError, ValueError) as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
