"""An independent reader of the world's English: parses sentences, and checks what they say on the boxes.

It shares the vocabulary with the generator, but none of its predicates: places, sizes and relations are
computed from the boxes here, with thresholds of its own that the generator's margins must satisfy.
"""

import re
from dataclasses import dataclass
from typing import Any

from xfm.world.catalog import Catalog
from xfm.world.grammar import plural
from xfm.world.palette import BACKGROUNDS, COLOURS
from xfm.world.scene import Scene

NUMBERS = {"zero": 0, "no": 0, "a": 1, "an": 1, "one": 1, "only one": 1}
NUMBERS |= {"two": 2, "three": 3, "four": 4, "five": 5}
SIZES = {"small": 0, "little": 0, "tiny": 0, "large": 2, "big": 2, "huge": 2}
_ROW = {"top": 0, "upper": 0, "bottom": 2, "lower": 2}
_COLUMN = {"left": 0, "right": 2}

PLACE = (
    r"(?:(?:at|in) the (?:top|bottom|upper|lower) (?:left|right)(?: corner)?"
    r"|(?:at|in) the (?:top|bottom) (?:centre|middle)|at the (?:top|bottom)"
    r"|(?:on|at) the (?:left|right)(?! of)(?: side)?|(?:in|at) the (?:centre|middle))"
)
RELATION = r"(?:(?:to the |on the )?(?:left|right) of|above|over|higher than|below|under|lower than)"
SIDE = r"(?:to its left|to its right|above it|below it)"


def place_cell(words: str) -> tuple[int, int]:
    """(row, column) of a wording of a place."""
    row = next((v for k, v in _ROW.items() if k in words.split()), 1)
    column = next((v for k, v in _COLUMN.items() if k in words.split()), 1)
    return row, column


def direction(words: str) -> str:
    """left, right, above or below of a wording of a relation or side."""
    table = {"left": "left", "right": "right", "above": "above", "over": "above", "higher": "above",
             "below": "below", "under": "below", "lower": "below"}  # fmt: skip
    return next(v for k, v in table.items() if k in words.split())


OPENING = "a picture of|an image of|there is|there are|this shows|we see|a scene with|the picture shows"
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}


@dataclass(frozen=True)
class Noun:
    """A parsed noun phrase."""

    count: int
    size: int | None
    colour: str | None
    name: str
    article: str


class Grammar:
    """Reads noun phrases; the longest name is tried first: "red apple" is not a red thing called apple."""

    def __init__(self, catalog: Catalog) -> None:
        self.forms = {o.name: o.name for o in catalog.objects}
        self.forms |= {plural(o.name): o.name for o in catalog.objects}
        names = "|".join(re.escape(n) for n in sorted(self.forms, key=len, reverse=True))
        self.name = f"(?:{names})"
        sizes, colours = "|".join(SIZES), "|".join(COLOURS)
        self._noun = re.compile(
            rf"(?P<det>only one|an?|the|one|two|three|four|five) (?:(?P<size>{sizes}) )?"
            rf"(?:(?P<name>{names})|(?P<colour>{colours}) (?P<named>{names}))(?= |$|,|\.|\?)"
        )

    def read(self, text: str, start: int = 0) -> tuple[Noun, int] | None:
        """The noun phrase at `start` and where it ends."""
        found = self._noun.match(text, start)
        if found is None:
            return None
        name = found["name"] or found["named"]
        size = SIZES[found["size"]] if found["size"] else None
        det = found["det"]
        return Noun(NUMBERS.get(det, 1), size, found["colour"], self.forms[name], det), found.end()


class View:
    """A scene as named boxes."""

    def __init__(self, scene: Scene) -> None:
        self.side = scene.image_size
        self.boxes: dict[str, list[list[int]]] = {}
        self.colours: dict[str, str | None] = {}
        for item in scene.objects:
            self.boxes.setdefault(item.name, []).append(item.box)
            self.colours[item.name] = item.kind.colour
        self.background = BACKGROUNDS[scene.background.colour][0]
        self.total = len(scene.objects)

    def all(self) -> list[tuple[str, list[int]]]:
        return [(name, box) for name, boxes in self.boxes.items() for box in boxes]

    def count(self, name: str) -> int:
        return len(self.boxes.get(name, []))

    def only(self, name: str) -> list[int]:
        assert self.count(name) == 1, f"{name} is not unique"
        return self.boxes[name][0]

    def cell(self, box: list[int]) -> tuple[int, int]:
        x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
        return int(3 * y / self.side), int(3 * x / self.side)

    def size(self, box: list[int]) -> int:
        longer = max(box[2:]) * 96 / self.side
        return 0 if longer < 25 else 1 if longer < 36 else 2

    def offset(self, a: list[int], b: list[int]) -> tuple[float, float]:
        return a[0] + a[2] / 2 - b[0] - b[2] / 2, a[1] + a[3] / 2 - b[1] - b[3] / 2

    def toward(self, a: list[int], relation: str, b: list[int]) -> tuple[float, float]:
        """How far `a` lies from `b` along a direction and across it."""
        dx, dy = self.offset(a, b)
        return {"left": (-dx, dy), "right": (dx, dy), "above": (-dy, dx), "below": (dy, dx)}[relation]

    def clearly(self, a: list[int], relation: str, b: list[int]) -> bool:
        along, across = self.toward(a, relation, b)
        return along >= self.side * 0.12 and abs(across) <= 1.2 * along

    def never(self, a: list[int], relation: str, b: list[int]) -> bool:
        """Not in that direction by anything that a reader would see, unless far off the axis."""
        along, across = self.toward(a, relation, b)
        return along <= self.side * 0.03 or abs(across) > 2.9 * along

    def between(self, a: list[int], b: list[int], c: list[int]) -> bool:
        """Whether `a`'s centre lies between two others', within a fifth of the side of their line."""
        px, py = self.offset(a, b)
        qx, qy = self.offset(c, b)
        t = (px * qx + py * qy) / (qx * qx + qy * qy)
        distance = abs(px * qy - py * qx) / (qx * qx + qy * qy) ** 0.5
        return 0.08 < t < 0.92 and distance <= self.side * 0.21

    def holds(self, noun: Noun) -> None:
        """Assert that the scene has exactly what the noun phrase says."""
        assert self.count(noun.name) == noun.count, noun
        if noun.size is not None:
            assert all(self.size(box) == noun.size for box in self.boxes[noun.name]), noun
        if noun.colour is not None:
            assert self.colours[noun.name] == noun.colour, noun


def parse(grammar: Grammar, text: str) -> tuple[list[Noun], list[tuple[Any, ...]]]:
    """Noun phrases, and what is said of them: ("place", a, cell), ("left", a, b), ("between", a, b, c)."""
    nouns: list[Noun] = []
    said: list[tuple[Any, ...]] = []
    position, relation = 0, None

    def read(start: int) -> int:
        found = grammar.read(text, start)
        assert found is not None, (text, text[start:])
        nouns.append(found[0])
        return found[1]

    while position < len(text):
        position = read(position)
        own, rest = nouns[-1].name, text[position:]
        if relation is not None:
            said.append((relation, nouns[-2].name, own))
            relation = None
        if found := re.match(rf" ({PLACE})(?=,| and |$)", rest):
            said.append(("place", own, place_cell(found[1])))
        elif found := re.match(rf" ({SIDE})", rest):
            said.append((direction(found[1]), own, nouns[-2].name))
        elif found := re.match(rf" ({RELATION}) ", rest):
            relation = direction(found[1])
            position += found.end()
            continue
        elif rest.startswith(" between "):
            position = read(position + 9)
            assert text[position : position + 5] == " and ", text
            position = read(position + 5)
            said.append(("between", *(noun.name for noun in nouns[-3:])))
        if found:
            position += found.end()
        joint = re.compile(r", (?:and |with |also )?| and | with |$").match(text, position)
        assert joint is not None, (text, text[position:])
        position = joint.end()
    assert relation is None, text
    return nouns, said


def check_caption(grammar: Grammar, view: View, text: str, complete: bool = True) -> None:
    """Assert that a caption is true and, if `complete`, that it names every object."""
    original = text
    text = re.sub(f"^({OPENING}) ", "", text)
    found = re.match(r"(two|three|four|five) (?:objects|things): ", text)
    if found:
        assert view.total == NUMBERS[found[1]], original
        text = text[found.end() :]
    found = re.search(
        r"(?:^on (?:an?|the) (\w+) background: )|(?: (?:on|in front of) (?:an?|the) (\w+) background$)", text
    )
    if found and (found[1] or found[2]) in COLOURS:
        assert view.background == (found[1] or found[2]), original
        text = text[: found.start()] + text[found.end() :]
    nouns, said = parse(grammar, text)
    for noun in nouns:
        view.holds(noun)
    for what, name, *others in said:
        if what == "place":
            assert view.cell(view.only(name)) == others[0], original
        elif what == "between":
            assert view.between(*(view.only(one) for one in (name, *others))), original
        else:
            assert view.clearly(view.only(name), what, view.only(others[0])), original
    if complete:
        assert {noun.name for noun in nouns} == set(view.boxes), original


def check_reference(grammar: Grammar, view: View, phrase: str, box: list[int]) -> str:
    """Assert that `phrase` means `box` and nothing else; returns the way of referring."""
    sizes, colours = "|".join(SIZES), "|".join(COLOURS)
    noun_words, said = f"{grammar.name}|object|thing", "the |an? |"
    pattern = re.compile(
        rf"^(?P<d0>{said})(?:(?P<size>{sizes}) |(?P<extreme>leftmost|rightmost|topmost|highest|lowest) )?"
        rf"(?:(?P<name>{noun_words})|(?P<colour>{colours}) (?P<named>{noun_words}))"
        rf"(?: (?P<place>{PLACE})| (?P<relation>{RELATION}) (?P<d1>{said})(?P<anchor>{grammar.name})"
        rf"| between (?P<d2>{said})(?P<b>{grammar.name}) and (?P<d3>{said})(?P<c>{grammar.name}))?$"
    )
    found = pattern.match(phrase)
    assert found is not None, phrase
    determiners = [found[name] for name in ("d0", "d1", "d2", "d3") if found[name] is not None]
    assert len({one.replace("an ", "a ") for one in determiners}) == 1, phrase
    noun = found["name"] or found["named"]
    candidates = [b for n, b in view.all() if noun in ("object", "thing") or n == noun]
    others = [b for b in candidates if b is not box]
    assert any(b is box for b in candidates), phrase
    if found["size"]:
        assert view.size(box) == SIZES[found["size"]], phrase
        assert all(view.size(b) != SIZES[found["size"]] for b in others), phrase
        return "size"
    if found["extreme"]:
        sides = {"leftmost": (0, 1), "rightmost": (0, -1), "lowest": (1, -1)}
        index, sign = sides.get(found["extreme"], (1, 1))
        assert all(sign * view.offset(o, box)[index] >= view.side * 0.09 for o in others), phrase
        return "extreme"
    if found["place"]:
        cell = place_cell(found["place"])
        assert view.cell(box) == cell, phrase
        assert all(view.cell(o) != cell for o in others), phrase
        return "place"
    if found["relation"]:
        relation, anchor = direction(found["relation"]), view.only(found["anchor"])
        assert view.clearly(box, relation, anchor), phrase
        assert all(o is anchor or view.never(o, relation, anchor) for o in others), phrase
        return "relation"
    if found["b"]:
        b, c = view.only(found["b"]), view.only(found["c"])
        assert view.between(box, b, c), phrase
        return "between"
    if noun in ("object", "thing"):
        assert found["colour"], phrase
        coloured = [n for n, _ in view.all() if view.colours[n] == found["colour"]]
        assert [view.boxes[n][0] for n in coloured] == [box], phrase
        return "colour"
    assert not others, phrase
    if found["colour"]:
        assert view.colours[noun] == found["colour"]
    return "name"


def answer(grammar: Grammar, view: View, question: str) -> str | None:
    """The answer of a "where", "how many", "yes/no" or background question; None for others."""
    text, n = question.removesuffix("?"), grammar.name
    words = {v: k for k, v in NUMBERS.items() if k not in ("a", "an", "no", "only one")}

    def told(truth: bool) -> str:
        return "yes" if truth else "no"

    if text == "how many objects are there":
        return words[view.total]
    if found := re.match(rf"^how many ({n}) (?:are there|can you see|does the picture show)$", text):
        return words[view.count(grammar.forms[found[1]])]
    if found := re.match(rf"^(?:where is|where in the picture is|in which part is) the ({n})$", text):
        row, column = view.cell(view.only(found[1]))
        both = " ".join(w for w in (("top", "", "bottom")[row], ("left", "", "right")[column]) if w)
        return both or "centre"
    if text == "what colour is the background":
        return view.background
    if found := re.match(rf"^(?:is there|does the picture show|can you see) an? ({n})$", text):
        return told(view.count(found[1]) > 0)
    if found := re.match(rf"^are there two ({n})$", text):
        return told(view.count(grammar.forms[found[1]]) == 2)
    if found := re.match(rf"^is there only one ({n})$", text):
        return told(view.count(found[1]) == 1)
    if found := re.match(rf"^is the ({n}) ({PLACE})$", text):
        return told(view.cell(view.only(found[1])) == place_cell(found[2]))
    if found := re.match(rf"^is the ({n}) ({RELATION}) the ({n})$", text):
        a, b, relation = view.only(found[1]), view.only(found[3]), direction(found[2])
        assert view.clearly(a, relation, b) or view.never(a, relation, b), question
        return told(view.clearly(a, relation, b))
    if found := re.match(rf"^is the ({n}) (small|little|large|big)$", text):
        return told(view.size(view.only(found[1])) == SIZES[found[2]])
    return None


def facts(grammar: Grammar, text: str) -> set[tuple[Any, ...]]:
    """What a sentence says: ("count", name, n), ("size", name, s), ("place", name, cell), ("left", a, b)."""
    text = re.sub(r"^(there is|there are|we see|the picture shows|one of the objects is) ", "", text)
    text = re.sub(r" can be seen(?= |$)", "", text)
    place = "at|in|on|to|left|right|above|below|over|under|higher|lower"
    text = re.sub(rf"^(the .*?) is (?={place})", r"\1 ", text)
    if found := re.match(rf"^the ({grammar.name}) is ({'|'.join(SIZES)})$", text):
        return {("size", found[1], SIZES[found[2]])}
    nouns, statements = parse(grammar, text)
    said = {("count", noun.name, noun.count) for noun in nouns if noun.article != "the"}
    said |= {("size", noun.name, noun.size) for noun in nouns if noun.size is not None}
    said |= {*statements}
    return said | {(OPPOSITE[what], *names[::-1]) for what, *names in statements if what in OPPOSITE}


def follows(grammar: Grammar, premise: str, hypothesis: str) -> bool:
    """Whether the premise says all that the hypothesis says; "a cat" says that there are some."""
    known = facts(grammar, premise)
    opening = "there is|the picture shows|we see|one of the objects is"
    some = re.search(rf"^({opening}) an? | can be seen", hypothesis)
    names = {f[1] for f in known if f[0] == "count"}
    return all(f in known or (some and f[0] == "count" and f[1] in names) for f in facts(grammar, hypothesis))
