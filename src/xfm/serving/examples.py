"""Examples of the page: new scenes of the embedded world, drawn at start, which no training has seen."""

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from xfm.config.world import WorldConfig
from xfm.world.captions import caption
from xfm.world.catalog import ART_LICENCE
from xfm.world.grammar import joined, with_article
from xfm.world.phrases import by_place, by_relation, refer, the
from xfm.world.questions import ask, how_many
from xfm.world.rng import Rng
from xfm.world.scene import Scene, Split
from xfm.world.statements import statements
from xfm.world.units import WorkerState

SIDE = 384
"""Pixels of a picture's side, four times what the world has: for people. Models make them smaller."""
EXAMPLES, GALLERY, EACH = "examples", 96, 6
PLEASANT = """airplane avocado balloon banana bear bicycle bird cactus camel camera car cat chair couch cow
    crab croissant crown cupcake dog donkey dragon elephant fish fox frog ghost giraffe globe hamburger
    hedgehog horse jellyfish key kite koala lemon lion llama lobster octopus otter peach peacock pear penguin
    pineapple rabbit robot rocket rose sailboat saxophone seal sheep snake snowman star steak sun sunflower
    teapot tent tiger tomato tractor trumpet tulip turtle umbrella unicorn violin waffle watermelon"""
"""Things that are told apart at a glance; those that the world lacks are passed over."""
ABSENT = ("volcano", "rainbow")
"""Things that the gallery does not show: searches for them should find nothing."""
_PLACED, _RELATED = ((by_place, 1),), ((by_relation, 1),)


def example(images: list[str], texts: Iterable[str] = (), truths: Iterable[Any] = ()) -> dict[str, Any]:
    """One picture or two, texts to choose from, and the truth of each text. A truth is an answer, a box of
    corners in pixels (None: not there), a label, or a word; of labels the right one."""
    return {"images": images, "texts": [*texts], "truths": [*truths]}


class Examples:
    """Everything that the page offers, the same at every start: JPEG files by name, a gallery with captions,
    the examples of each tab, and queries with their pictures, of which the last fit nothing. `maskable` tells
    words that one mask can stand for."""

    licence = ART_LICENCE

    def __init__(self, maskable: Callable[[str], bool] = lambda word: " " not in word) -> None:
        self._studio = WorkerState(replace(WorldConfig(), image_size=SIDE), Path())
        self._catalog, self._sampler = self._studio.catalog, self._studio.sampler(Split.SEEN)
        wanted = frozenset(PLEASANT.split())
        self._sampler.pool = tuple(kind for kind in self._catalog.seen if kind.name in wanted)
        self._shown = tuple(kind for kind in self._sampler.pool if kind.name not in ABSENT)
        self.pictures = dict[str, bytes]()
        ways: dict[str, Callable[[Rng, str], dict[str, Any]]] = {
            "ask": self._asked,
            "find": self._found,
            "compare": self._compared,
            "caption": lambda rng, name: example([self._kept(name, self._scene(rng, 1, 3))]),
            "classify": self._classified,
            "fill": partial(self._filled, maskable=maskable),
            "look": partial(self._found, whole=True),
        }
        counts = {"compare": 4}
        self.tabs = {
            tab: [way(Rng("demo", tab, n), f"{tab}-{n}") for n in range(counts.get(tab, EACH))]
            for tab, way in ways.items()
        }
        self._sampler.pool = self._shown
        self.gallery, self.queries = self._drawn_gallery()

    def _scene(self, rng: Rng, least: int = 2, most: int = 4, repeat: int = 15) -> Scene:
        count = least + rng.below(most - least + 1)
        return self._sampler.place(rng, self._sampler.choose(rng, count, repeat=repeat))

    def _kept(self, name: str, scene: Scene) -> str:
        self.pictures[f"{name}.jpg"] = self._studio.renderer.encode(scene)
        return f"{name}.jpg"

    def _drawn_gallery(self) -> tuple[dict[str, str], dict[str, list[str]]]:
        gallery, things = dict[str, str](), dict[str, list[str]]()
        placed, related = dict[str, list[str]](), dict[str, list[str]]()
        for number in range(GALLERY):
            rng = Rng("demo", "gallery", number)
            scene = self._scene(rng, 1, 4)
            name = self._kept(f"gallery-{number:02}", scene)
            gallery[name] = caption(rng, scene)
            for kind in scene.groups:
                things.setdefault(with_article(kind.name), []).append(name)
            for item in scene.singles:
                for ways, found in ((_PLACED, placed), (_RELATED, related)):
                    phrase = refer(rng, scene, item, ways, 0, (with_article,))
                    if phrase:
                        found.setdefault(phrase, []).append(name)
        common = sorted(things.items(), key=lambda one: -len(one[1]))[:2]
        absent = {with_article(name): list[str]() for name in ABSENT}
        return gallery, dict([*common, *[*placed.items()][:2], *[*related.items()][:2]]) | absent

    def _asked(self, rng: Rng, name: str) -> dict[str, Any]:
        scene = self._scene(rng, 3, 4, repeat=40)
        asked = [*ask(rng, scene, self._catalog, 3), how_many(rng, scene, rng.pick(scene.objects).kind)]
        answers = {one.question: one.answer for one in asked}
        return example([self._kept(name, scene)], answers, answers.values())

    def _found(self, rng: Rng, name: str, whole: bool = False) -> dict[str, Any]:
        scene = self._scene(rng, 3, 4, repeat=30)
        phrases = [(refer(rng, scene, item, determiners=(the,)), item) for item in scene.objects]
        boxes = {
            phrase: [item.left, item.top, item.left + item.width, item.top + item.height]
            for phrase, item in phrases
            if phrase
        }
        found = [*boxes][:3]
        if whole:
            return example([self._kept(name, scene)], [*found[:2], caption(rng, scene)])
        there = {kind.name for kind in scene.groups}
        absent = rng.pick([kind.name for kind in self._shown if kind.name not in there])
        truths = [*(boxes[phrase] for phrase in found), None]
        return example([self._kept(name, scene)], [*found, the(absent)], truths)

    def _compared(self, rng: Rng, name: str) -> dict[str, Any]:
        rows = statements(rng, self._sampler)
        left, right = rows[0].left, rows[0].right
        labels = {row.text: row.label for row in rows if row.left is left and row.right is right}
        labels |= {
            row.text.replace("left", "\0").replace("right", "left").replace("\0", "right"): row.label
            for row in rows
            if row.left is right and row.right is left
        }
        names = [self._kept(f"{name}-{side}", scene) for side, scene in (("left", left), ("right", right))]
        return example(names, labels, [str(label).lower() for label in labels.values()])

    def _classified(self, rng: Rng, name: str) -> dict[str, Any]:
        scene = self._scene(rng, 1, 1)
        right = scene.objects[0].name
        others = [kind.name for kind in rng.sample(self._shown, 5) if kind.name != right]
        labels = rng.shuffled([right, *others[:4]])
        return example([self._kept(name, scene)], labels, [right])

    def _filled(self, rng: Rng, name: str, maskable: Callable[[str], bool]) -> dict[str, Any]:
        scene, texts = self._scene(rng, 2, 3, repeat=0), dict[str, str]()
        for _ in range(60):
            names = [item.name for item in scene.objects]
            told = [joined([with_article(one) for one in names]), caption(rng, scene)]
            texts = {_masked(text, word): word for word in filter(maskable, names) for text in told}
            texts = dict([one for one in texts.items() if one[0]][:3])
            if len(texts) > 1:
                break
            scene = self._scene(rng, 2, 3, repeat=0)
        if len(texts) < 2:
            texts = {}
        return example([self._kept(name, scene)], texts, texts.values())


def _masked(text: str, word: str) -> str:
    if not re.search(rf"\b{word}\b", text):
        return ""
    return re.sub(r"\ban {mask}", "a {mask}", re.sub(rf"\b{word}\b", "{mask}", text, count=1))
