"""Plain text, and pairs of texts for entailment and paraphrase."""

from collections.abc import Sequence
from typing import Any

from xfm.world.captions import caption
from xfm.world.catalog import Catalog, package_folder
from xfm.world.facts import change, describe, wording
from xfm.world.grammar import joined, plural, with_article
from xfm.world.names import OTHER
from xfm.world.rng import Rng
from xfm.world.scene import Scene, SceneSampler


def text_pairs(rng: Rng, scene: Scene, catalog: Catalog, entailment: bool) -> list[dict[str, Any]]:
    """Four rows of two texts, and whether the pair is a positive one.

    The second text is a statement that follows from the first or does not; else a description that says the
    same in other words or differs in one fact.
    """
    told = describe(rng, scene)
    changed, state = change(rng, told, catalog, catalog.seen)
    first = [wording(rng, one) for one in (told, changed)]
    second = [(state if entailment else wording)(rng, one) for one in (told, changed)]
    if not entailment and set(first) & set(second):  # the same wording twice: draw again
        return text_pairs(rng, scene, catalog, entailment)
    return [
        {"text_a": a, "text_b": b, "label": i == j} for i, a in enumerate(first) for j, b in enumerate(second)
    ]


MAX_FACT_CHARACTERS = 160
COUNTS = ((1, 8), (2, 32), (3, 35), (4, 20), (5, 5))


def load_facts() -> list[str]:
    """Safe facts of `randfacts`, lower case, in the package's order: short and plain ASCII."""
    lines = (package_folder("randfacts") / "safe.txt").read_text("utf-8").splitlines()
    facts = (" ".join(line.lower().split()) for line in lines)
    return [fact for fact in facts if fact.isascii() and 20 <= len(fact) <= MAX_FACT_CHARACTERS]


def text_line(rng: Rng, sampler: SceneSampler, facts: Sequence[str]) -> str:
    """One line of plain text, of one to four sentences."""
    catalog = sampler.catalog
    pick = rng.below(100)
    if pick < 15:
        return rng.pick(facts)
    if pick < 20:
        # Half of these lines are about held-out objects.
        kind = rng.pick(catalog.heldout if rng.chance(50) and catalog.heldout else catalog.objects)
        lines = []
        if kind.category != OTHER:
            others = [o for o in catalog.objects if o.category == kind.category and o is not kind]
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
    pool = catalog.objects if rng.chance(15) else catalog.seen
    scene = sampler.place(rng, sampler.choose(rng, rng.weighted(COUNTS), pool=pool))
    if pick < 55 and rng.chance(50):
        return f"{caption(rng, scene)}. {caption(rng, scene)}."
    told = describe(rng, scene)
    if pick < 55:
        return f"{wording(rng, told)}. {wording(rng, told)}."
    # No false fact and no label: whether a fact follows is what entailment tests.
    states = [change(rng, told, catalog, pool)[1] for _ in range(2)]
    return f"{wording(rng, told)}. " + " ".join(f"{state(rng, told)}." for state in states)
