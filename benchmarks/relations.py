"""In which captions the matching head knows who is where, on new scenes of the embedded world.

    python -m benchmarks.relations runs/quickstart/model [--scenes 150] [--json FILE]

For scenes of two, three and four objects: how often matching prefers "a A left of a B" to three captions that
differ in the relation (chance 25 %), where the other objects are not named, and where they are.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch

from xfm.config.evaluation import EvaluationConfig
from xfm.config.world import WorldConfig
from xfm.core.files import write_text
from xfm.evaluation.context import Context
from xfm.models.features import encode_texts
from xfm.models.folder import load_model
from xfm.tasks.images import TaskImages
from xfm.tasks.ranking import match, match_odds
from xfm.training.cpu_runtime import prepare_process
from xfm.world.grammar import RELATION_PHRASES, Relation, excluded, joined, relation_between, with_article
from xfm.world.rng import Rng
from xfm.world.scene import Scene, SceneObject
from xfm.world.units import WorkerState

OBJECTS = (2, 3, 4)


class Told(NamedTuple):
    """A scene, whether its captions name everything, and four of them, the true one first."""

    scene: Scene
    whole: bool
    captions: list[str]


def told_scenes(studio: WorkerState, objects: int, count: int, rng: Rng) -> Iterator[Told]:
    """So many scenes, told in both ways where there is a third object."""
    sampler = studio.sampler()
    while count:
        scene = sampler.place(rng, sampler.choose(rng, objects, repeat=0))
        pair = rng.sample(scene.singles, 2)
        if len(pair) < 2 or (relation := _clear(scene, a := pair[0], b := pair[1])) is None:
            continue
        count -= 1
        rest = [with_article(item.name) for item in scene.singles if item not in pair]
        for behind in ("", f", and {joined(rest)}") if rest else ("",):
            yield Told(scene, bool(behind), _captions(a, b, relation, behind))


def _clear(scene: Scene, a: SceneObject, b: SceneObject) -> Relation | None:
    """What `a` is to `b` where every other relation is clearly false."""
    found, side = relation_between(a, b, scene.image_size), scene.image_size
    clear = all(one is found or excluded(a, one, b, side) for one in Relation)
    return found if clear else None


def _captions(a: SceneObject, b: SceneObject, relation: Relation, behind: str) -> list[str]:
    """The true one, the two objects exchanged, the opposite relation, and one along the other axis."""

    def text(first: SceneObject, one: Relation, second: SceneObject) -> str:
        words = RELATION_PHRASES[one][0]
        return f"{with_article(first.name)} {words} {with_article(second.name)}{behind}"

    across = next(one for one in Relation if one not in (relation, relation.inverse))
    true, exchanged = text(a, relation, b), text(b, relation, a)
    return [true, exchanged, text(a, relation.inverse, b), text(a, across, b)]


def shares(model: Path, scenes: int, folder: Path) -> dict[str, float]:
    """How often the true caption is preferred, by objects and by what is named."""
    pretrained, studio = load_model(model), WorkerState(WorldConfig(), folder)
    pictures, device = TaskImages(pretrained.preprocessing), torch.device("cpu")
    context = Context(pretrained, folder, EvaluationConfig(), device, pictures)
    rng = Rng(978, "relations")
    told = [one for objects in OBJECTS for one in told_scenes(studio, objects, scenes, rng)]
    paths = [folder / f"{place}.jpg" for place in range(len(told))]
    for path, one in zip(paths, told, strict=True):
        path.write_bytes(studio.renderer.encode(one.scene))
    images, index = context.encode(paths)
    texts = encode_texts(context.encoder, [text for one in told for text in one.captions])
    rows = index.numpy().repeat(4)
    logits = match(context.encoder, images.states.read, texts.states.read, rows, np.arange(len(rows)))
    odds = match_odds(logits).reshape(-1, 4)
    right = odds[:, 0] > odds[:, 1:].max(axis=1)
    names = np.array([_name(one) for one in told])
    return {str(name): float(right[names == name].mean()) for name in dict.fromkeys(names.tolist())}


def _name(told: Told) -> str:
    named = "all" if told.whole or len(told.scene.objects) == 2 else "two"
    return f"{len(told.scene.objects)} objects, {named} named"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="model folder, or the name of a model of the package")
    parser.add_argument("--scenes", type=int, default=150, help="of each number of objects")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    given = parser.parse_args()
    prepare_process()
    with TemporaryDirectory() as folder:
        found = shares(given.model, given.scenes, Path(folder))
    for name, share in found.items():
        print(f"{name:<24}{share:7.1%}")
    if given.json:
        write_text(given.json, json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
