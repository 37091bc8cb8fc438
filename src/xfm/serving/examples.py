"""Examples of the page: new scenes of the embedded world, drawn at start, which no training has seen."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xfm.config.world import WorldConfig
from xfm.world.captions import caption
from xfm.world.grammar import joined, with_article
from xfm.world.phrases import refer, the
from xfm.world.questions import absent, ask
from xfm.world.rng import Rng
from xfm.world.scene import Scene, Split
from xfm.world.statements import statements
from xfm.world.units import WorkerState

SIDE = 384
"""Pixels of a picture's side, four times what the world has: for people. Models make them smaller."""
EXAMPLES, GALLERY, EACH, PAIRS = "examples", 96, 6, 3


@dataclass(frozen=True)
class Examples:
    """JPEG files by name, captions of those that are the gallery, and examples by tab: pictures (one or two),
    texts to choose from, and the truth of each text. A truth is an answer, a box of corners in pixels (None:
    not there), a label, a word, or the pictures of a search; of labels the right one."""

    pictures: dict[str, bytes]
    gallery: dict[str, str]
    tabs: dict[str, list[dict[str, Any]]]


def draw_examples() -> Examples:
    """Everything that the page offers, the same at every start; UserError: the art is not installed."""
    studio = WorkerState(replace(WorldConfig(), image_size=SIDE), Path())
    sampler = studio.sampler(Split.SEEN)
    sampler.pool = tuple(kind for kind in sampler.pool if " " not in kind.name)  # one mask may stand for it
    found, things = Examples({}, {}, {}), dict[str, list[str]]()

    def kept(name: str, scene: Scene) -> str:
        found.pictures[name] = studio.renderer.encode(scene)
        return name

    def offer(tab: str, images: list[str], texts: Iterable[str] = (), truths: Iterable[Any] = ()) -> None:
        told = {"images": images, "texts": [*texts], "truths": [*truths]}
        found.tabs.setdefault(tab, []).append(told)

    for number in range(GALLERY):
        rng = Rng("demo", number)
        scene = sampler.place(rng, sampler.choose(rng, 2 + number % 2, repeat=0))
        name, told = kept(f"{number:02}.jpg", scene), caption(rng, scene)
        found.gallery[name] = told
        names = [kind.name for kind in scene.groups]
        for one in names:
            things.setdefault(with_article(one), []).append(name)
        if number >= EACH:
            continue
        others = [absent(rng, scene, studio.catalog).name for _ in range(4)]
        asked = {one.question: one.answer for one in ask(rng, scene, studio.catalog, 3)}
        phrases = ((refer(rng, scene, item, determiners=(the,)), item) for item in scene.objects)
        boxes = {
            phrase: [item.left, item.top, item.left + item.width, item.top + item.height]
            for phrase, item in phrases
            if phrase
        }
        listed = [*map(with_article, names)]
        gaps = {joined([*listed[:n], "a {mask}", *listed[n + 1 :]]): one for n, one in enumerate(names)}
        offer("ask", [name], asked, asked.values())
        offer("find", [name], [*boxes, the(others[0])], [*boxes.values(), None])
        offer("caption", [name])
        offer("classify", [name], rng.shuffled([*dict.fromkeys([names[0], *others])]), names[:1])
        offer("fill", [name], gaps, gaps.values())
        offer("look", [name], [*boxes, told])
    for number in range(PAIRS):
        rows = statements(Rng("demo", "compare", number), sampler)
        scenes = dict.fromkeys(scene for row in rows for scene in (row.left, row.right))
        names = {scene: kept(f"compare-{number}-{n}.jpg", scene) for n, scene in enumerate(scenes)}
        for row in rows:
            offer("compare", [names[row.left], names[row.right]], [row.text], [str(row.label).lower()])
    queries = {one: things[one] for one in sorted(things, key=lambda one: -len(things[one]))[:4]}
    queries |= {told: [name] for name, told in [*found.gallery.items()][:2]}
    lacking = [one for kind in sampler.pool if (one := with_article(kind.name)) not in things]
    queries |= {one: [] for one in lacking[:2]}
    offer("search", [], queries, queries.values())
    return found
