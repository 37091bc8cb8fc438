"""English for the world's sentences: articles, plurals, number words, places, sizes, colours."""

import re
from collections.abc import Sequence

from xfm.world.scene import Place, Size

NUMBERS = ("zero", "one", "two", "three", "four", "five")

_INVARIANT = frozenset(
    {"sheep", "deer", "moose", "bison", "fish", "squid", "shrimp", "fleur-de-lis", "falafel"}
)
_IRREGULAR = {
    "mouse": "mice", "goose": "geese", "ox": "oxen", "tooth": "teeth", "die": "dice", "snowman": "snowmen",
    "leaf": "leaves", "loaf": "loaves", "knife": "knives", "scarf": "scarves", "wolf": "wolves",
    "cactus": "cacti", "potato": "potatoes", "tomato": "tomatoes", "mango": "mangoes", "volcano": "volcanoes",
    "buffalo": "buffaloes", "tornado": "tornadoes",
}  # fmt: skip
_VOWEL_SOUND = (*"aeiou", "hour")
_CONSONANT_SOUND = ("uni", "euro", "ufo")


def with_article(phrase: str) -> str:
    """`phrase` with "a" or "an"."""
    vowel = phrase.startswith(_VOWEL_SOUND) and not phrase.startswith(_CONSONANT_SOUND)
    return ("an " if vowel else "a ") + phrase


def definite(text: str) -> str:
    """A text with "the" in place of every "a" and "an"."""
    return re.sub(r"\ban? ", "the ", text)


def plural(name: str) -> str:
    """The plural of a noun phrase: its head before " of ", else its last word."""
    head, of, rest = name.partition(" of ")
    before, space, word = head.rpartition(" ")
    return before + space + _plural_word(word) + of + rest


def _plural_word(word: str) -> str:
    if word in _INVARIANT or word.endswith("fish"):
        return word
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


def counted(count: int, name: str) -> str:
    """ "a cat", "two cats"."""
    return with_article(name) if count == 1 else f"{NUMBERS[count]} {plural(name)}"


def joined(parts: Sequence[str], word: str = "and") -> str:
    """ "a", "a and b", "a, b and c"."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + f" {word} " + parts[-1]


def opened(opener: str, parts: str) -> str:
    """A list of objects after an opener; "there is" agrees with the first of them."""
    if opener == "there is " and not parts.startswith(("a ", "an ")):
        opener = "there are "
    return opener + parts


# Wordings of the nine places; the first of each is the answer to "where".
PLACE_PHRASES: dict[Place, tuple[str, ...]] = {
    Place.TOP_LEFT: ("at the top left", "in the top left corner", "in the upper left"),
    Place.TOP: ("at the top", "at the top centre", "in the top middle"),
    Place.TOP_RIGHT: ("at the top right", "in the top right corner", "in the upper right"),
    Place.LEFT: ("on the left", "at the left", "on the left side"),
    Place.CENTRE: ("in the centre", "in the middle", "at the centre"),
    Place.RIGHT: ("on the right", "at the right", "on the right side"),
    Place.BOTTOM_LEFT: ("at the bottom left", "in the bottom left corner", "in the lower left"),
    Place.BOTTOM: ("at the bottom", "at the bottom centre", "in the bottom middle"),
    Place.BOTTOM_RIGHT: ("at the bottom right", "in the bottom right corner", "in the lower right"),
}

SIZE_WORDS: dict[Size, tuple[str, ...]] = {
    Size.SMALL: ("small", "little", "tiny"),
    Size.MEDIUM: ("medium", "mid-sized"),
    Size.LARGE: ("large", "big", "huge"),
}
