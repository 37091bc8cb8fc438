from hypothesis import given
from hypothesis import strategies as st

from xfm.config.data import Augmentation, CorpusConfig, StreamConfig
from xfm.config.plain import first_difference, to_plain

plain = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=5,
)


def test_dataclasses_enums_and_tuples_become_plain():
    stream = StreamConfig(3, [CorpusConfig("a", 0.5)], Augmentation.MILD)
    corpus = {"path": "a", "weight": 0.5, "group": 1, "order": "random", "run": 1000, "window": 16}
    assert to_plain({"s": stream, "t": (1, 2)}) == {
        "s": {"batch_size": 3, "corpora": [corpus], "augmentation": "mild", "tokens": 0},
        "t": [1, 2],
    }


@given(plain, plain)
def test_a_difference_is_one(a, b):
    assert to_plain(a) == a
    assert first_difference(a, a) is None
    if (found := first_difference(a, b)) is not None:
        name, old, new = found
        assert old != new
        for part in name.split(".") if name else []:
            a, b = a.get(part), b.get(part)
        assert (a, b) == (old, new)


def test_difference_names_the_field():
    old = {"training": {"steps": 1, "optim": {"lr": 0.1}}, "name": "a", "only": 1}
    new = {"training": {"steps": 1, "optim": {"lr": 0.2}}, "name": "b", "only": 1}
    assert first_difference(old, new) == ("training.optim.lr", 0.1, 0.2)
    assert first_difference(old, new, frozenset({"training.optim"})) == ("name", "a", "b")
    assert first_difference(old, new, frozenset({"training", "name"})) is None
    assert first_difference({"a": 1}, {"a": 1, "b": 2}) == ("b", None, 2)
    assert first_difference({"a": 1}, {"a": 1, "b": None}) is None  # a field added later, and not used
