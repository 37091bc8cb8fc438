"""A model fine-tuned on easy-VQA's official split, beside the same fine-tuning without pictures.

    pip install easy-vqa
    python benchmarks/easy_vqa.py --model runs/quickstart/model --out runs/easy-vqa

Writes metrics.json (accuracy over all 9,673 test questions and for each kind, beside chance and the
question-only baseline) and prints a table. Chance is the most frequent training answer of the question's
kind; the baseline is the best of the fine-tuning that sees one grey picture and of the most frequent training
answer to the very question.
"""

import argparse
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xfm.config.evaluation import FineTuneConfig
from xfm.data.tokenizer import normalise_caption
from xfm.evaluation.parts.vqa import most_frequent_answers
from xfm.evaluation.scores import Score, write_scores
from xfm.modeling.folder import Pretrained, load_model, save_model
from xfm.tasks.base import Blanked, TaskSettings
from xfm.tasks.fine_tune import fine_tune
from xfm.tasks.official.easy_vqa import read_easy_vqa
from xfm.tasks.pictures import Pictures
from xfm.tasks.rows import Question
from xfm.tasks.vqa import VqaTask, is_right, kind_key
from xfm.training.memory import prepare_process


@dataclass(frozen=True)
class Run:
    """A fine-tuning and what it scored on the test questions."""

    task: VqaTask
    metrics: dict[str, float]
    seconds: float


def run(
    pretrained: Pretrained,
    pictures: Pictures,
    train: Sequence[Question],
    test: Sequence[Question],
    config: FineTuneConfig,
    blanked: Blanked,
) -> Run:
    began = time.perf_counter()
    settings = TaskSettings(
        blanked=blanked, batch_size=config.batch_size, rows_per_picture=4, max_tokens=24, seed=0
    )
    task = VqaTask(pretrained, pictures, train, settings)
    fine_tune(task, config, progress=True)
    metrics = task.metrics(test, task.predict(test))
    return Run(task, metrics, time.perf_counter() - began)


def usual_answers(train: Sequence[Question], test: Sequence[Question]) -> dict[str, float]:
    """Accuracies of the most frequent training answer to the same question."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in train:
        counts[normalise_caption(row.question)][row.answer] += 1
    right: dict[str, list[bool]] = defaultdict(list)
    for row in test:
        found = counts[normalise_caption(row.question)].most_common(1)
        for kind in ("accuracy", f"accuracy_{kind_key(row.kind)}"):
            right[kind].append(bool(found) and is_right(row, found[0][0]))
    return {kind: float(np.mean(values)) for kind, values in right.items()}


def scores(
    test: Sequence[Question],
    train: Sequence[Question],
    found: Mapping[str, float],
    baselines: Sequence[Mapping[str, float]],
) -> dict[str, Score]:
    usual = most_frequent_answers(train)
    result = {}
    for name, value in found.items():
        asked = [row for row in test if name in ("accuracy", f"accuracy_{kind_key(row.kind)}")]
        chance = float(np.mean([is_right(row, usual[row.kind]) for row in asked]))
        best = max(baseline[name] for baseline in baselines)
        result[f"easy-vqa/test/{name}"] = Score(value, chance, best, len(asked), 0)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="model folder, such as the quickstart's")
    parser.add_argument("--data", type=Path, help="folder of easy-VQA's files, if not the installed package")
    parser.add_argument("--out", type=Path, default=Path("runs/easy-vqa"), help="folder for the results")
    parser.add_argument("--steps", type=int, default=4000, help="optimiser steps")
    parser.add_argument("--baseline-steps", type=int, default=500, help="of the fine-tuning without pictures")
    parser.add_argument("--batch-size", type=int, default=64, help="questions a step")
    parser.add_argument("--lr", type=float, default=3e-4, help="peak learning rate")
    parser.add_argument("--muon-lr", type=float, default=0.0, help="peak rate of Muon; 0 is AdamW alone")
    parser.add_argument("--new-lr-multiplier", type=float, default=3.0, help="for the decoder")
    parser.add_argument("--test-rows", type=int, default=0, help="first test questions only; 0 takes all")
    options = parser.parse_args()
    began = time.perf_counter()
    prepare_process()
    pretrained = load_model(options.model)
    splits = read_easy_vqa(options.data)
    train, test = splits["train"], splits["test"][: options.test_rows or None]
    pictures = Pictures(pretrained.preprocessing)
    config = FineTuneConfig(
        steps=options.steps,
        batch_size=options.batch_size,
        lr=options.lr,
        muon_lr=options.muon_lr,
        new_lr_multiplier=options.new_lr_multiplier,
        warmup=0.05,
    )
    tuned = run(pretrained, pictures, train, test, config, Blanked.NOTHING)
    print(f"fine-tuned and tested in {tuned.seconds:.0f} s: {tuned.metrics['accuracy']:.2%}", flush=True)
    floors = [usual_answers(train, test)]
    if options.baseline_steps:
        short = FineTuneConfig(**{**vars(config), "steps": options.baseline_steps})
        blank = run(pretrained, pictures, train, test, short, Blanked.PICTURE)
        print(f"without pictures in {blank.seconds:.0f} s: {blank.metrics['accuracy']:.2%}", flush=True)
        floors.append(blank.metrics)
    table = scores(test, train, tuned.metrics, floors)
    write_scores(options.out / "metrics.json", table)
    provenance = {**pretrained.provenance, "fine-tuned": "easy-VQA"}
    save_model(
        options.out / "model",
        pretrained.model,
        pretrained.tokenizer,
        pretrained.preprocessing,
        provenance,
        tuned.task.module,
    )
    print(f"{'':<34}{'accuracy':>9}{'question only':>15}{'chance':>8}{'n':>7}")
    for key, score in table.items():
        print(f"{key:<34}{score.value:>9.2%}{score.baseline:>15.2%}{score.chance:>8.2%}{score.n:>7}")
    print(f"{time.perf_counter() - began:.0f} s in all; results in {options.out}")


if __name__ == "__main__":
    main()
