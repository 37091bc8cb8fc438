"""What several processes fine-tune together; test_distributed.py starts it and compares with one process.

Usage: distributed_worker.py FOLDER, which holds model/, spread/ and the tables of TABLES
"""

import io
import json
import os
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tests.alike import chosen
from tests.evaluation.tiny import tiny_pretrained
from tests.finetuning.conftest import FILES, SAMPLES, SHORT, TEXTS, on_sample, on_table
from xfm.cli import main as cli
from xfm.config.finetune import TuningConfig, TuningMode
from xfm.config.image import ImageTrainingConfig
from xfm.core.errors import UserError
from xfm.finetuning.finished import FinetuneResult
from xfm.metrics.classification import ClassPrediction
from xfm.metrics.labels import LabelSet
from xfm.models.folder import save_model
from xfm.objectives.losses import Losses
from xfm.tasks.sentence_similarity import Nearest
from xfm.tasks.text_classification import TextClassificationTask
from xfm.training import distributed
from xfm.training.failures import Interrupted
from xfm.training.logging import log_lines
from xfm.training.run_folder import LOG_FILE

VALUES, SEVERAL, WEIGHTED = "regression", "several labels", "class weights"
KINDS = (*FILES, VALUES, SEVERAL, WEIGHTED)
EVERY = 20
"""Of so many kinds `make test` tries one."""
TABLES = {VALUES: "values.csv", SEVERAL: "several.csv", WEIGHTED: "weighted.csv"}
"""Of those that have no sample: texts, in the folder."""
LONG = {"steps": 6, "evaluate_every": 1, "patience": 2}
"""A run that stops when its looks get no better."""
CONFIG = replace(SHORT, steps=3, batch_size=7, lr=5e-3, evaluate_every=2, baseline=False)
"""Seven rows: one process takes three of them, the other four."""
CONFIGS = {
    "grounding": replace(CONFIG, image=ImageTrainingConfig(flip=0.5)),
    "image-classification": replace(
        CONFIG, image=ImageTrainingConfig(crop=0.3, aspect=1.3, flip=0.5, rand_augment=2, erasing=0.5)
    ),
    "reasoning": replace(CONFIG, average=0.5),
    "image-text-classification": replace(CONFIG, tune=TuningConfig(vision=TuningMode.FREEZE)),
    VALUES: replace(CONFIG, regression=True),
    SEVERAL: replace(CONFIG, multi_label=True, class_weights="balanced"),
    WEIGHTED: replace(CONFIG, class_weights={"few": 7.0, "many": 0.5}),
}
"""Of those that do not have `CONFIG`."""
MODELS = {"sentence-similarity": "spread"}
"""Of those that do not begin with `model`: its vectors of texts are so alike that last digits decide."""


@torch.no_grad()
def save_spread_model(folder: Path) -> None:
    """A tiny model whose texts are told apart: cosines of about 0.8 in place of 0.99999."""
    found, generator = tiny_pretrained(), torch.Generator().manual_seed(0)
    for matrix in (parameter for parameter in found.model.language.parameters() if parameter.ndim == 2):
        matrix.add_(0.2 * torch.randn(matrix.shape, generator=generator))
    save_model(folder, found.model, found.tokenizer, found.preprocessing, found.provenance)


def fine_tune(kind: str, folder: Path, out: Path, resume: bool = False, **changes: Any) -> FinetuneResult:
    """A few steps on the ten rows of a task's sample, which are validation and test, too."""
    config, model = replace(CONFIGS.get(kind, CONFIG), **changes), folder / MODELS.get(kind, "model")
    if kind in TABLES:
        table = folder / TABLES[kind]
        return on_table(model, table, out, config, valid=table, test=table, resume=resume)
    table = SAMPLES / FILES[kind][0]
    return on_sample(kind, model, out, config, valid=table, test=table, resume=resume)


def losses(out: Path) -> dict[str, list[float]]:
    """Everything that a run computed in its steps, by name."""
    lines = [line for line in log_lines(out / LOG_FILE) if "event" not in line]
    parts = {name: [line["losses"][name] for line in lines] for name in lines[0]["losses"]}
    return {"loss": [line["loss"] for line in lines], "norm": [line["grad_norm"] for line in lines], **parts}


def plain(prediction: Any) -> Any:
    """A prediction as JSON holds it: numbers where there are some, classes as their probabilities."""
    if isinstance(prediction, ClassPrediction | LabelSet):
        return list(prediction.probabilities)
    if isinstance(prediction, Nearest):
        return [prediction.rank, prediction.score]
    return list(prediction) if isinstance(prediction, tuple) else getattr(prediction, "real", str(prediction))


def interrupted(folder: Path, rank: int) -> str:
    """What a run says in which one process alone gets a signal, in its second step of six."""
    loss, calls = TextClassificationTask.loss, []

    def stopping(task: Any, batch: Any, generator: torch.Generator) -> Losses:
        calls.append(0)
        if len(calls) == 2 and rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss(task, batch, generator)

    TextClassificationTask.loss = stopping
    try:
        fine_tune(TEXTS, folder, folder / "two" / "interrupted", **LONG)
    except Interrupted as interrupt:
        return f"{interrupt} {type(interrupt.__cause__).__name__}"
    finally:
        TextClassificationTask.loss = loss
    return ""


def refused(folder: Path) -> list[str]:
    """The error of a batch of which one process would get nothing, and of a folder that has results."""
    found = []
    for out, changes in (("few", {"batch_size": 1}), (f"two/{TEXTS}", {})):
        try:
            fine_tune(TEXTS, folder, folder / out, **changes)
        except UserError as error:
            found.append(f"{type(error).__name__}: {error}")
    return found


def commanded(folder: Path) -> dict[str, Any]:
    """What the command says on the claims of the tutorial, with a worker of its own in each process."""
    table, out, err = str(SAMPLES / "claims.csv"), io.StringIO(), io.StringIO()
    words = ["finetune", "image-text-classification", "--model", str(folder / "model"), "--train", table]
    words += ["--validation", table, "--test", table, "--out", str(folder / "command"), "--device", "cpu"]
    words += ["--steps", "3", "--evaluate-every", "3", "--batch-size", "6"]
    words += ["--workers", "1", "--patience", "0"]
    with redirect_stdout(out), redirect_stderr(err):
        status = cli.main(words)
    return {"status": status, "out": out.getvalue(), "err": err.getvalue()}


def main() -> None:
    folder = Path(sys.argv[1])
    with distributed.processes("cpu") as process:
        for kind in chosen(KINDS, EVERY):
            out = folder / "two" / kind
            done = fine_tune(kind, folder, out)
            found = {
                "losses": losses(out) if process.is_first else {},
                "looks": list(done.tuned.looks.values()),
                "predictions": [plain(one) for one in done.predictions["test"]],
                "scores": len(done.scores),
            }
            (folder / f"{kind}-{process.rank}.json").write_text(json.dumps(found))
        said: dict[str, Any] = {"interrupted": interrupted(folder, process.rank), "refused": refused(folder)}
        said["command"] = commanded(folder)
        (folder / f"said-{process.rank}.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main()
