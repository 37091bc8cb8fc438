"""What the stop before language keeps: trains the arms of a file and scores their language encoders.

    python results/stop/run.py ARMS START TEXTS WORLD vaderSentiment-0.5.zip OUT [STEPS]

Scores of a model, and of START as the arm `start`: the loss of masked words in TEXTS/heldout.jsonl (each line
masked once, by a fixed seed, as in training), linear probes of three questions about real sentences
(benchmarks/language_kept.py), and what a matching of WORLD's hard captions gets right. OUT has what
`xfm ablate` writes; the same command goes on where it was stopped.
"""

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from benchmarks.language_kept import probed, questions, read_texts

from xfm.config.ablation import load_ablation
from xfm.config.data import TokenMaskConfig
from xfm.config.evaluation import EvaluationConfig, Part
from xfm.config.training import Precision
from xfm.core.files import write_text
from xfm.data.collate import padded_tokens
from xfm.data.masking import mask_tokens, maskable
from xfm.data.schema import Tokens
from xfm.evaluation.ablation import ablate
from xfm.evaluation.suite import evaluate
from xfm.models.folder import Pretrained, load_model
from xfm.models.precision import autocast

MASKED, BATCH = TokenMaskConfig(0.3, 24, 64), 128


@torch.inference_mode()
def heldout_loss(pretrained: Pretrained, texts: list[str]) -> tuple[float, float]:
    """Cross-entropy of masked tokens in nats, and the share that is guessed."""
    tokenizer, model, rng = pretrained.tokenizer, pretrained.model, np.random.default_rng(0)
    rows = []
    for ids, words in tokenizer.encode_lists(texts, MASKED.max_tokens):
        spans = maskable(ids, words, MASKED.whole_word, tokenizer)
        rows.append(mask_tokens(rng, ids, spans, MASKED, tokenizer))
    rows.sort(key=lambda row: len(row[0]))
    loss = right = count = 0.0
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
        loss += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
        right += float((logits.argmax(1) == labels).sum())
        count += len(labels)
    return loss / count, right / count


def score(texts: Path, world: Path, rated: Path, model: Path, seed: int) -> dict[str, float]:
    """Scores of a model folder; its evaluation is kept beside it."""
    pretrained = load_model(model)
    lines = [json.loads(line)["text"] for line in (texts / "heldout.jsonl").read_text().splitlines()]
    loss, right = heldout_loss(pretrained, lines)
    asked = list(questions(read_texts(rated)))
    cells = probed(pretrained, asked)
    found = {"language/heldout_loss": loss, "language/heldout_accuracy": right}
    found |= {f"language/{one.name}": float(cells[one.name]) for one in asked}
    parts = EvaluationConfig(seed=seed, parts=[Part.HARD], scratch=False, keep_models=False)
    scores = evaluate(model, world, model.parent, parts, False)
    return found | {key: one.value for key, one in scores.items()}


def main(file: str, start: str, texts: str, world: str, rated: str, out: str, steps: str = "") -> None:
    """Train and score; `start` is scored once."""
    scorer = partial(score, Path(texts), Path(world), Path(rated))
    more = ["--training.steps", steps] if steps else []
    ablate(load_ablation(file), Path(out), Path(world), more, scorer)
    if not (kept := Path(out) / "start.json").exists():
        write_text(kept, json.dumps(scorer(Path(start), 0), indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
