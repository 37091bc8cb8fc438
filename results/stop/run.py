"""What the stop before language keeps: trains the arms of a file and scores their language encoders.

    python results/stop/run.py ARMS START TEXTS WORLD vaderSentiment-0.5.zip OUT [STEPS]

Each seed begins with START's language encoder and token head in a model that it draws (OUT-starts/SEED).
Scores: the loss of masked words in TEXTS/heldout.jsonl (each line masked once, by a fixed seed, as in
training), linear probes of three questions about real sentences (benchmarks/real_sentences.py), and of WORLD
what matching and masked words with pictures get right. OUT has what `xfm ablate` writes, and start.csv with
the scores of the starts; the same command goes on where it was stopped.
"""

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from benchmarks.crossed import write_cases
from benchmarks.real_sentences import probed, questions, read_texts
from numpy.typing import NDArray

from xfm.config.ablation import load_ablation
from xfm.config.data import TokenMaskConfig
from xfm.config.evaluation import EvaluationConfig, Part
from xfm.config.training import Precision
from xfm.core.files import write_text
from xfm.data.collate import padded_tokens
from xfm.data.masking import mask_tokens, maskable
from xfm.data.schema import Tokens
from xfm.evaluation.ablation import ablate, as_csv
from xfm.evaluation.suite import evaluate
from xfm.models.folder import Pretrained, load_model, save_model
from xfm.models.precision import autocast
from xfm.models.xfm import XFM

MASKED, BATCH = TokenMaskConfig(0.3, 24, 64), 128


@torch.inference_mode()
def heldout_loss(pretrained: Pretrained, texts: list[str]) -> tuple[NDArray[np.float64], float]:
    """[texts] what each adds to the mean cross-entropy of masked tokens in nats, and the share guessed."""
    tokenizer, model, rng = pretrained.tokenizer, pretrained.model, np.random.default_rng(0)
    rows = []
    for ids, words in tokenizer.encode_lists(texts, MASKED.max_tokens):
        spans = maskable(ids, words, MASKED.whole_word, tokenizer)
        rows.append(mask_tokens(rng, ids, spans, MASKED, tokenizer))
    rows.sort(key=lambda row: len(row[0]))
    right, count, losses = 0.0, 0, list[float]()
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        longest = max(len(ids) for ids, _, _ in part)
        ids = torch.tensor([[*row, *[tokenizer.pad] * (longest - len(row))] for row, _, _ in part])
        mask = torch.tensor([[place < len(row) for place in range(longest)] for row, _, _ in part])
        tokens = padded_tokens(Tokens(ids, mask), tokenizer)
        places = torch.tensor([(n, at) for n, (_, chosen, _) in enumerate(part) for at in chosen])
        labels = torch.tensor([label for _, _, own in part for label in own])
        with autocast(Precision.AUTO, "cpu"):
            states = model.encode_text(tokens.ids, tokens.mask)
            logits = model.language_logits(states[places[:, 0], places[:, 1]]).float()
        each = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
        losses += torch.zeros(len(part)).index_add(0, places[:, 0], each).tolist()
        right += float((logits.argmax(1) == labels).sum())
        count += len(labels)
    return np.array(losses) * (len(losses) / count), right / count


def score(texts: Path, world: Path, rated: Path, model: Path, seed: int) -> dict[str, float]:
    """Scores of a model folder; its evaluation and cases.npz are kept beside it."""
    pretrained = load_model(model)
    lines = [json.loads(line)["text"] for line in (texts / "heldout.jsonl").read_text().splitlines()]
    loss, guessed = heldout_loss(pretrained, lines)
    cases = {"language/heldout_loss": loss}
    for name, hits in probed(pretrained, list(questions(read_texts(rated)))).items():
        cases[f"language/{name}"] = hits.astype(np.float64)
    write_cases(model, cases)
    found = {name: float(one.mean()) for name, one in cases.items()} | {"language/heldout_accuracy": guessed}
    parts = [Part.HARD, Part.MATCHING, Part.MASKED_TOKENS]
    config = EvaluationConfig(seed=seed, parts=parts, baselines=False, keep_models=False)
    scores = evaluate(model, world, model.with_name(f"{model.name}-scores"), config, False)
    return found | {key: one.value for key, one in scores.items()}


def begin(start: Path, folder: Path, seed: int) -> None:
    """A model whose language encoder and token head are those of START; the rest is drawn by the seed."""
    if not folder.exists():
        known = load_model(start)
        torch.manual_seed(seed)
        made, kept = XFM(known.model.config), known.model.state_dict()
        kept = {name: one for name, one in kept.items() if name.startswith(("language.", "language_head."))}
        made.load_state_dict(kept, strict=False)
        save_model(folder, made, known.tokenizer, known.preprocessing, known.provenance)


def main(file: str, start: str, texts: str, world: str, rated: str, out: str, steps: str = "") -> None:
    """Train and score; the rows of the arm `start` are those of the models that the seeds begin with."""
    scorer, arms, place = (
        partial(score, Path(texts), Path(world), Path(rated)),
        load_ablation(file),
        Path(out),
    )
    starts = place.with_name(f"{place.name}-starts")
    rows = []
    for seed in range(arms.seeds):
        begin(Path(start), starts / str(seed), seed)
    ablate(arms, place, Path(world), ["--training.steps", steps] if steps else [], scorer)
    for seed in range(arms.seeds):
        found = scorer(starts / str(seed), seed)
        rows.append(
            {"arm": "start", "seed": str(seed), "steps": "0"}
            | {key: f"{one:.5f}" for key, one in found.items()}
        )
    write_text(place / "start.csv", as_csv(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
