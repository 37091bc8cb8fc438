"""Plain text, and pairs of texts for entailment and paraphrase."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from xfm.world.captions import caption
from xfm.world.catalog import Catalog
from xfm.world.facts import change, describe, wording
from xfm.world.grammar import joined, plural, with_article
from xfm.world.names import OTHER
from xfm.world.rng import Rng
from xfm.world.scene import Scene, SceneSampler


class TextPair(NamedTuple):
    """Two texts and whether the pair is a positive one."""

    text_a: str
    text_b: str
    label: bool


def _crossed(first: tuple[str, str], second: tuple[str, str]) -> list[TextPair]:
    return [TextPair(first[i], second[j], i == j) for i in range(2) for j in range(2)]


def entailments(rng: Rng, scene: Scene, catalog: Catalog) -> list[TextPair]:
    """Four pairs of a description and a statement that follows from it, or does not."""
    changed = change(rng, describe(rng, scene), catalog, catalog.seen)
    sides = (changed.before, changed.after)
    premises = (wording(rng, sides[0]), wording(rng, sides[1]))
    return _crossed(premises, (changed.state(rng, sides[0]), changed.state(rng, sides[1])))


def paraphrases(rng: Rng, scene: Scene, catalog: Catalog) -> list[TextPair]:
    """Four pairs of descriptions that say the same in other words, or differ in one fact."""
    changed = change(rng, describe(rng, scene), catalog, catalog.seen)
    sides = (changed.before, changed.after)
    first = (wording(rng, sides[0]), wording(rng, sides[1]))
    second = (wording(rng, sides[0]), wording(rng, sides[1]))
    if set(first) & set(second):  # the same wording twice: draw again
        return paraphrases(rng, scene, catalog)
    return _crossed(first, second)


MAX_FACT_CHARACTERS = 160
COUNTS = ((1, 8), (2, 32), (3, 35), (4, 20), (5, 5))


def load_facts() -> list[str]:
    """Safe facts of `randfacts`, lower case, in the package's order: short and plain ASCII."""
    spec = importlib.util.find_spec("randfacts")
    assert spec is not None
    assert spec.origin is not None
    lines = (Path(spec.origin).parent / "safe.txt").read_text("utf-8").splitlines()
    facts = (" ".join(line.lower().split()) for line in lines)
    return [fact for fact in facts if fact.isascii() and 20 <= len(fact) <= MAX_FACT_CHARACTERS]


class Corpus:
    """Draws lines of plain text."""

    def __init__(self, catalog: Catalog, sampler: SceneSampler, facts: Sequence[str]) -> None:
        self.catalog = catalog
        self.sampler = sampler
        self.facts = facts

    def line(self, rng: Rng) -> str:
        """One line of one to four sentences."""
        pick = rng.below(100)
        if pick < 15:
            return rng.pick(self.facts)
        if pick < 20:
            # Half of these lines are about held-out objects.
            kind = rng.pick(
                self.catalog.heldout if rng.chance(50) and self.catalog.heldout else self.catalog.objects
            )
            lines = []
            if kind.category != OTHER:
                others = [o for o in self.catalog.objects if o.category == kind.category and o is not kind]
                peers = joined([with_article(o.name) for o in rng.sample(others, 2)])
                group = {"animal": "an animal", "clothing": "clothing", "food": "food"}.get(
                    kind.category, with_article(kind.category)
                )
                lines.append(f"{with_article(kind.name)} is {group}, like {peers}.")
            if kind.colour and not kind.colour_in_name:
                lines.append(f"{plural(kind.name)} are {kind.colour}.")
            lines.append(f"one {kind.name}, two {plural(kind.name)}.")
            return " ".join(rng.sample(lines, 2))
        # Held-out objects occur in text, among the others.
        pool = self.catalog.objects if rng.chance(15) else self.catalog.seen
        scene = self.sampler.place(rng, self.sampler.choose(rng, rng.weighted(COUNTS), pool))
        if pick < 55 and rng.chance(50):
            return f"{caption(rng, scene)}. {caption(rng, scene)}."
        told = describe(rng, scene)
        if pick < 55:
            return f"{wording(rng, told)}. {wording(rng, told)}."
        # No false fact and no label: whether a fact follows is what entailment tests.
        facts = [change(rng, told, self.catalog, pool) for _ in range(2)]
        return f"{wording(rng, told)}. " + " ".join(f"{fact.state(rng, told)}." for fact in facts)
