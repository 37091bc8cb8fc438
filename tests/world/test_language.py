import re
from collections import Counter
from itertools import permutations

import pytest

from tests.world.conftest import draw
from tests.world.oracle import Grammar, View, answer, check_caption, check_reference, facts, follows
from xfm.world.captions import EDITS, captions, hard_caption
from xfm.world.grammar import plural
from xfm.world.phrases import regions
from xfm.world.questions import QuestionKind, ask, how_many
from xfm.world.rng import Rng
from xfm.world.scene import Split
from xfm.world.twins import Edit, draw_twins
from xfm.world.units import MAKERS, Part, Unit, WorkerState, text_pairs


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_every_caption_is_true_and_complete(studio: WorkerState, grammar: Grammar, count: int) -> None:
    different = 0
    for seed in range(100):
        view = View(scene := draw(studio, 1000 * count + seed, count))
        texts = captions(Rng("caption", seed), scene, 4)
        different += len(set(texts))
        for text in texts:
            assert len(text.split()) <= 30
            check_caption(grammar, view, text)
    assert different > 100 * 3


@pytest.mark.parametrize("count", [1, 3, 5])
def test_region_phrases_mean_one_object(studio: WorkerState, grammar: Grammar, count: int) -> None:
    ways = Counter[str]()
    for seed in range(100):
        view = View(scene := draw(studio, 2000 * count + seed, count))
        for phrase, item in regions(Rng("regions", seed), scene):
            box = next(one for one in view.boxes[item.name] if one == item.box)
            ways[check_reference(grammar, view, phrase, box)] += 1
            assert len(phrase.split()) <= 14
    assert ways.total() > 0.9 * 100 * count
    assert ways["name"] > ways.total() * 0.25


def test_answers_agree_with_the_oracle(studio: WorkerState, grammar: Grammar) -> None:
    checked = Counter[str]()
    for seed in range(300):
        scene = draw(studio, seed, 1 + seed % 5, repeat=40)
        view, rng = View(scene), Rng("ask", seed)
        asked = ask(rng, scene, studio.catalog, 3)
        asked += [how_many(rng, scene, rng.pick(scene.objects).kind), how_many(rng, scene, None)]
        for question in asked:
            truth = answer(grammar, view, question.question)
            if truth is None:
                assert question.kind in (QuestionKind.WHAT, QuestionKind.COLOUR), question
                _check_unnamed(grammar, view, question.question, question.answer, question.kind)
            else:
                assert truth == question.answer, question
            checked[question.kind] += 1
    assert set(checked) == set(QuestionKind)
    assert min(checked.values()) > 30


def _check_unnamed(grammar: Grammar, view: View, text: str, answer: str, kind: QuestionKind) -> None:
    """The phrase of a question about an unnamed object means an object of that name or colour."""
    phrase = text.removesuffix("?").removeprefix("what is ").removeprefix("what colour is ")
    if not phrase.startswith("the "):
        phrase = f"the object {phrase}"
    for name, box in view.all():
        if (name if kind is QuestionKind.WHAT else view.colours[name]) == answer:
            try:
                check_reference(grammar, view, phrase, box)
            except AssertionError:
                continue
            return
    raise AssertionError((text, answer))


def test_entailment_labels_agree_with_the_oracle(studio: WorkerState, grammar: Grammar) -> None:
    for seed in range(250):
        scene = draw(studio, seed, 1 + seed % 4)
        pairs = text_pairs(Rng("entail", seed), scene, studio.catalog, entailment=True)
        assert [pair["label"] for pair in pairs].count(True) == 2
        for pair in pairs:
            assert follows(grammar, pair["text_a"], pair["text_b"]) == pair["label"], pair


def test_paraphrase_labels_agree_with_the_oracle(studio: WorkerState, grammar: Grammar) -> None:
    for seed in range(250):
        scene = draw(studio, seed, 1 + seed % 4)
        for pair in text_pairs(Rng("paraphrase", seed), scene, studio.catalog, entailment=False):
            first, second = pair["text_a"], pair["text_b"]
            assert (facts(grammar, first) == facts(grammar, second)) == pair["label"], pair
            assert first != second


def test_hard_captions_are_true_and_distractors_false(studio: WorkerState, grammar: Grammar) -> None:
    made = Counter[Edit]()
    for seed in range(400):
        edit = EDITS[seed % len(EDITS)]
        scene = draw(studio, seed, 2 + seed % 3, repeat=100 if edit is Edit.COUNT else 0)
        hard = hard_caption(Rng("hard", seed), scene, edit)
        if hard is None:
            continue
        made[edit] += 1
        view, (true, distractors) = View(scene), hard
        check_caption(grammar, view, true, complete=False)
        assert len(set(distractors)) == 3
        for text in distractors:
            if edit is not Edit.COUNT:  # plurals
                assert {n for n in view.boxes if n in text} == {n for n in view.boxes if n in true}
            with pytest.raises(AssertionError):
                check_caption(grammar, view, text, complete=False)
    assert min(made[edit] for edit in EDITS) > 10, made


def test_twins_differ_in_one_thing_and_each_is_told_apart(studio: WorkerState, grammar: Grammar) -> None:
    sampler, made = studio.sampler(), Counter[Edit]()
    moved = Counter[int]()
    for seed in range(150):
        edit, twins, told = draw_twins(sampler, Rng("twins", seed), 25)
        made[edit] += 1
        changed = [len(set(own.objects) - set(other.objects)) for own, other in permutations(twins)]
        if edit is Edit.RELATION:
            moved[max(changed)] += 1
        else:
            assert max(changed) == (edit is not Edit.BACKGROUND)
        views = [View(scene) for scene in twins]
        assert not any(studio.catalog.reserved(list(scene.groups)) for scene in twins)
        for (own, other), texts in zip(permutations(views), told, strict=True):
            for text in texts:
                check_caption(grammar, own, text, complete=False)
                with pytest.raises(AssertionError):
                    check_caption(grammar, other, text, complete=False)
    assert set(made) == set(Edit)
    assert made[Edit.RELATION] > 30
    assert min(moved[1], moved[2]) > 5, moved  # one stands elsewhere, or both traded places
    assert set(moved) == {1, 2}


@pytest.mark.parametrize("split", [Split.HARD, Split.HARD_VALIDATION])
def test_hard_scenes_show_what_no_twins_show(studio: WorkerState, split: Split) -> None:
    made = MAKERS[Part.RETRIEVAL](studio, Unit(Part.RETRIEVAL, split, 0, 25))
    assert Counter(row["edit"] for row in made.rows) == dict.fromkeys(EDITS, 5)
    for text in (row["caption"] for row in made.rows if row["edit"] != Edit.PLACE):  # which may name a part
        shown = [o for o in studio.catalog.seen if re.search(rf"\b({o.name}|{plural(o.name)})\b", text)]
        kinds = [o for o in shown if not any(o.words < other.words for other in shown)]
        assert studio.catalog.reserved(kinds), text
