"""Pairs of texts: entailment and paraphrase.

A quadruple combines two firsts and two seconds, two pairs true and two false: neither text alone, and no
word, tells the label.
"""

from typing import NamedTuple

from xfm.world.catalog import Catalog
from xfm.world.facts import change, describe, wording
from xfm.world.rng import Rng
from xfm.world.scene import Scene


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
