"""Examples of the page: new scenes of the embedded world, drawn at start, which no training has seen."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from xfm.config.world import WorldConfig
from xfm.world.captions import caption
from xfm.world.catalog import ART_LICENCE, Catalog, load_objects
from xfm.world.grammar import joined, with_article
from xfm.world.phrases import by_place, by_relation, refer, the
from xfm.world.questions import ask, how_many
from xfm.world.render import Renderer
from xfm.world.rng import Rng
from xfm.world.scene import KindChooser, Scene, SceneSampler, Split
from xfm.world.statements import statements

SIDE = 384
"""Pixels of a picture's side, four times what the world has: for people. Models make them smaller."""
EXAMPLES, GALLERY, EACH = "examples", 96, 6
LICENCE = ART_LICENCE
PLEASANT = """airplane avocado balloon banana bear bicycle bird cactus camel camera car cat chair couch cow
    crab croissant crown cupcake dog donkey dragon elephant fish fox frog ghost giraffe globe hamburger
    hedgehog horse jellyfish key kite koala lemon lion llama lobster octopus otter peach peacock pear penguin
    pineapple rabbit robot rocket rose sailboat saxophone seal sheep snake snowman star steak sun sunflower
    teapot tent tiger tomato tractor trumpet tulip turtle umbrella unicorn violin waffle watermelon"""
"""Things that are told apart at a glance; those that the world lacks are passed over."""
ABSENT = ("volcano", "rainbow")
"""Things that the gallery does not show: searches for them should find nothing."""
_PLACED, _RELATED = ((by_place, 1),), ((by_relation, 1),)


@dataclass(frozen=True)
class Example:
    """One picture or two, texts to choose from, and the truth of each text.

    A truth is an answer, a box of corners in pixels (None: not there), a label, or a word; of labels the
    right one.
    """

    images: list[str]
    texts: list[str] = field(default_factory=list)
    truths: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Examples:
    """Everything that the page offers: JPEG files, a gallery with captions, tabs, queries with their
    pictures.

    The last queries fit nothing.
    """

    pictures: dict[str, bytes] = field(repr=False)
    gallery: dict[str, str]
    tabs: dict[str, list[Example]]
    queries: dict[str, list[str]]
    licence: str = LICENCE


class _Drawer:
    def __init__(self) -> None:
        config = WorldConfig()
        objects = load_objects(config.objects)
        self.catalog = Catalog(objects, config.heldout_objects, config.heldout_pairs, config.seed)
        self.chooser = KindChooser(SceneSampler(self.catalog, SIDE), Split.SEEN)
        wanted = frozenset(PLEASANT.split())
        pool = tuple(kind for kind in self.catalog.seen if kind.name in wanted)
        self.shown = tuple(kind for kind in pool if kind.name not in ABSENT)
        self._renderer, self.pictures = Renderer(SIDE), dict[str, bytes]()
        self.chooser.pool = pool

    def scene(self, rng: Rng, least: int = 2, most: int = 4, repeat: int = 15) -> Scene:
        count = least + rng.below(most - least + 1)
        return self.chooser.sampler.place(rng, self.chooser.choose(rng, count, repeat=repeat))

    def kept(self, name: str, scene: Scene) -> str:
        self.pictures[f"{name}.jpg"] = self._renderer.encode(scene)
        return f"{name}.jpg"


def draw_examples(maskable: Callable[[str], bool] = lambda word: " " not in word) -> Examples:
    """The examples, the same at every start; `maskable` tells words that one mask can stand for."""
    drawer = _Drawer()
    tabs = {
        "ask": [_asked(drawer, Rng("demo", "ask", n), f"ask-{n}") for n in range(EACH)],
        "find": [_found(drawer, Rng("demo", "find", n), f"find-{n}") for n in range(EACH)],
        "compare": [_compared(drawer, Rng("demo", "compare", n), f"compare-{n}") for n in range(4)],
        "caption": [
            Example([drawer.kept(f"caption-{n}", drawer.scene(Rng("demo", "caption", n), 1, 3))])
            for n in range(EACH)
        ],
        "classify": [_classified(drawer, Rng("demo", "classify", n), f"classify-{n}") for n in range(EACH)],
        "fill": [_filled(drawer, Rng("demo", "fill", n), f"fill-{n}", maskable) for n in range(EACH)],
        "look": [_found(drawer, Rng("demo", "look", n), f"look-{n}", whole=True) for n in range(EACH)],
    }
    drawer.chooser.pool = drawer.shown
    gallery, queries = _gallery(drawer)
    return Examples(drawer.pictures, gallery, tabs, queries)


def _gallery(drawer: _Drawer) -> tuple[dict[str, str], dict[str, list[str]]]:
    gallery, things = dict[str, str](), dict[str, list[str]]()
    placed, related = dict[str, list[str]](), dict[str, list[str]]()
    for number in range(GALLERY):
        rng = Rng("demo", "gallery", number)
        scene = drawer.scene(rng, 1, 4)
        name = drawer.kept(f"gallery-{number:02}", scene)
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


def _asked(drawer: _Drawer, rng: Rng, name: str) -> Example:
    scene = drawer.scene(rng, 3, 4, repeat=40)
    asked = [*ask(rng, scene, drawer.catalog, 3), how_many(rng, scene, rng.pick(scene.objects).kind)]
    answers = {one.question: one.answer for one in asked}
    return Example([drawer.kept(name, scene)], [*answers], [*answers.values()])


def _found(drawer: _Drawer, rng: Rng, name: str, whole: bool = False) -> Example:
    scene = drawer.scene(rng, 3, 4, repeat=30)
    phrases = [(refer(rng, scene, item, determiners=(the,)), item) for item in scene.objects]
    boxes = {
        phrase: [item.left, item.top, item.left + item.width, item.top + item.height]
        for phrase, item in phrases
        if phrase
    }
    found = [*boxes][:3]
    if whole:
        return Example([drawer.kept(name, scene)], [*found[:2], caption(rng, scene)])
    there = {kind.name for kind in scene.groups}
    absent = rng.pick([kind.name for kind in drawer.shown if kind.name not in there])
    truths = [*(boxes[phrase] for phrase in found), None]
    return Example([drawer.kept(name, scene)], [*found, the(absent)], truths)


def _compared(drawer: _Drawer, rng: Rng, name: str) -> Example:
    rows = statements(rng, drawer.chooser)
    left, right = rows[0].left, rows[0].right
    labels = {row.text: row.label for row in rows if row.left is left and row.right is right}
    labels |= {
        row.text.replace("left", "\0").replace("right", "left").replace("\0", "right"): row.label
        for row in rows
        if row.left is right and row.right is left
    }
    names = [drawer.kept(f"{name}-{side}", scene) for side, scene in (("left", left), ("right", right))]
    return Example(names, [*labels], [str(label).lower() for label in labels.values()])


def _classified(drawer: _Drawer, rng: Rng, name: str) -> Example:
    scene = drawer.scene(rng, 1, 1)
    right = scene.objects[0].name
    others = [kind.name for kind in rng.sample(drawer.shown, 5) if kind.name != right]
    labels = rng.shuffled([right, *others[:4]])
    return Example([drawer.kept(name, scene)], labels, [right])


def _filled(drawer: _Drawer, rng: Rng, name: str, maskable: Callable[[str], bool]) -> Example:
    scene, texts = drawer.scene(rng, 2, 3, repeat=0), dict[str, str]()
    for _ in range(60):
        names = [item.name for item in scene.objects]
        told = [joined([with_article(one) for one in names]), caption(rng, scene)]
        texts = {_masked(text, word): word for word in filter(maskable, names) for text in told}
        texts = dict([one for one in texts.items() if one[0]][:3])
        if len(texts) > 1:
            break
        scene = drawer.scene(rng, 2, 3, repeat=0)
    if len(texts) < 2:
        texts = {}
    return Example([drawer.kept(name, scene)], [*texts], [*texts.values()])


def _masked(text: str, word: str) -> str:
    if not re.search(rf"\b{word}\b", text):
        return ""
    return re.sub(r"\ban {mask}", "a {mask}", re.sub(rf"\b{word}\b", "{mask}", text, count=1))
