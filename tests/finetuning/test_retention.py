"""What a fine-tuning cost, and weights between before and after: on validation rows no worse than either."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import xfm
from tests.alike import some
from tests.evaluation.tiny import tiny_pretrained, tiny_task
from tests.finetuning.conftest import FILES, SAMPLES, SHORT, TEXTS, on_sample
from tests.refusals import expect_refusal
from tests.reports.written import details_of, page_of
from xfm.config.finetune import FinetuneConfig, Preset, TuningConfig, TuningMode
from xfm.finetuning.finetune import finetune_rows
from xfm.finetuning.retention import PAIRS, SINGLES, UNCHANGED, cost_of, world_rows
from xfm.models.folder import load_model
from xfm.reports.scores import read_scores
from xfm.tasks.rows import LabelledText, SplitRows
from xfm.tasks.text_classification import TextClassificationTask
from xfm.world.grammar import with_article

LORA = TuningConfig(language=TuningMode.LORA, vision=TuningMode.LORA, rank=2)
SHARES = [0.5, 0.25]
BETWEEN = replace(SHORT, steps=20, evaluate_every=5, lr=1e-2, patience=0, baseline=False)


@pytest.mark.parametrize(
    ("kind", "changes"),
    some([(TEXTS, {"average": 0.9}), ("image-text-classification", {"tune": LORA}), ("retrieval", {})], 3),
)
def test_the_chosen_weights_are_no_worse_than_those_before_and_after(kind, changes, model, tmp_path):
    """They lie on the line between; the head is that of the fine-tuning."""
    rows, config = SAMPLES / FILES[kind][0], replace(BETWEEN, **changes)
    plain = on_sample(kind, model, tmp_path / "plain", config, valid=rows, test=rows)
    out = tmp_path / "out"
    done = on_sample(kind, model, out, replace(config, interpolate=SHARES), valid=rows, test=rows)
    run, metric = done.tuned, done.task.primary
    found = run.curve
    assert [*found] == [0, *sorted(SHARES), 1]
    assert run.share == min(share for share, value in found.items() if value == max(found.values()))
    assert found[1] == pytest.approx(max(look[metric] for look in plain.tuned.looks.values()))
    scores = read_scores(out / "metrics.json")
    assert scores[f"{kind}/test/{metric}"].value == pytest.approx(found[run.share])  # of the same rows
    if not run.share:
        assert (run.cost, run.kept) == (UNCHANGED, {})
    else:
        ends = ("", "_before", "_change")
        now, was, change = (scores[f"{kind}/kept/retrieval_r1{end}"].value for end in ends)
        assert change == pytest.approx(now - was)
    before, after, chosen = (load_model(one).model.state_dict() for one in (model, plain.model, done.model))
    for name, tensor in chosen.items():
        torch.testing.assert_close(tensor, torch.lerp(before[name], after[name], run.share), msg=name)
    head, fine_tuned = done.task.module.added_state(), plain.task.module.added_state()
    assert all(torch.equal(head[name], tensor) for name, tensor in fine_tuned.items())
    assert details_of(out)["provenance"]["interpolated"] == run.share
    assert run.weights in page_of(out)


def test_what_is_kept_is_what_the_vectors_of_both_folders_say(tmp_path: Path) -> None:
    """Of a real model whose texts alone are fine-tuned."""
    config = replace(BETWEEN, steps=4, lr=1e-3, max_tokens=40)  # the folder reads no longer ones
    done = on_sample(TEXTS, "small", tmp_path / "out", config)
    pictures, captions, single, kinds = world_rows()
    truth = torch.tensor([kinds.index(name) for name in single])
    assert (len(captions), len({*single})) == (PAIRS, SINGLES)
    for end, folder in (("_before", "small"), ("", done.model)):
        texts, names, seen = (
            xfm.load(folder).encode(inputs, tensors=True, device="cpu", precision="fp32").double()
            for inputs in (captions, [*map(with_article, kinds)], pictures)
        )
        cosines, own = seen[:PAIRS] @ texts.T, torch.arange(PAIRS)
        found = sum((cosines.argmax(side) == own).double().mean().item() for side in (0, 1)) / 2
        assert found > 0.05
        assert done.tuned.kept[f"retrieval_r1{end}"].value == pytest.approx(found, abs=2 / PAIRS)
        right = ((seen[PAIRS:] @ names.T).argmax(1) == truth).double().mean().item()
        assert done.tuned.kept[f"names_accuracy{end}"].value == pytest.approx(right, abs=2 / SINGLES)
    assert done.tuned.cost == details_of(tmp_path / "out")["cost"]


def test_nothing_is_measured_where_nothing_changed_or_nothing_was_learned() -> None:
    task = tiny_task(TextClassificationTask, [LabelledText("red", "a")], ("a", "b"))
    before = tiny_pretrained()
    assert cost_of(before, task) == (UNCHANGED, {})
    torch.nn.init.ones_(task.module.language.embeddings.words.weight)
    said, scores = cost_of(replace(before, provenance={"fresh": ["vision_proj."]}), task)
    assert said.startswith("not measured: the model was never trained to bring pictures and texts together")
    assert scores == {}
    said, scores = cost_of(before, task)
    assert {"names_accuracy_before", "retrieval_r1_change"} < scores.keys()
    assert f"n = {PAIRS}" in said


def test_weights_between_that_cannot_be_are_refused(model: Path, tmp_path: Path) -> None:
    config, alone = replace(BETWEEN, interpolate=SHARES), replace(LORA, vision=None, save_adapter_only=True)
    cases: dict[str, list[dict[str, Any]]] = {
        "no encoder learns": [{"preset": Preset.FAST}, {"tune": TuningConfig(language=TuningMode.FREEZE)}],
        "tune.save_adapter_only": [{"tune": alone}],
    }
    for words, changes in ((words, own) for words, several in cases.items() for own in several):
        with expect_refusal("interpolate: ", words):
            on_sample(TEXTS, model, tmp_path / "none", replace(config, **changes))
    assert not [*tmp_path.glob("none/**/split.json")]  # before the rows are read
    rows = [LabelledText(f"text {n}", "ab"[n % 2]) for n in range(8)]
    with expect_refusal("interpolate: ", "--validation"):
        data = SplitRows(rows, test=rows, labels=("a", "b"))
        finetune_rows(TEXTS, model, data, config, tmp_path, progress=False)
    with expect_refusal("interpolate is 1.5", "from 0 to 1", kind=ValueError):
        FinetuneConfig(interpolate=[1.5])
