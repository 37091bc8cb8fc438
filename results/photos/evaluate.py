"""Scores of a model on the held-out pictures of variants.py and scenes.py, as lines of CSV.

    PYTHONPATH=. python results/photos/evaluate.py MODEL START PAIRS SCENES vaderSentiment-0.5.zip

Captions find pictures and pictures captions, without fine-tuning, by contrast and re-ranked; `start` is the
same of START, the pair as `xfm init` made it. Captions of scenes stand against three that differ in one
thing. Kinds of pictures are told by a linear probe of ten examples each, of the model's features and of those
that EfficientNet-lite0 came with, mean of five draws. Three questions about real sentences go to probes of
the language encoder, and of MiniLM as it came (`benchmarks/real_sentences.py` has the source of the archive).
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from benchmarks.real_sentences import floors, probed, questions, read_texts

from xfm.config.evaluation import EvaluationConfig
from xfm.config.probing import RegressionConfig
from xfm.evaluation.context import Context
from xfm.evaluation.parts.zero_shot import run_hard
from xfm.evaluation.probing.linear_probe import fit_probe
from xfm.finetuning.frozen_features import LabelledFeatures
from xfm.metrics.intervals import Interval, bootstrap
from xfm.metrics.recalls import chance_recalls, hits
from xfm.models.folder import Pretrained, load_model
from xfm.models.interop.packages import MINILM, read_packaged_language, read_packaged_vision
from xfm.reports.scores import PartResult
from xfm.tasks.images import TaskImages
from xfm.tasks.ranking import rank
from xfm.tasks.rows import read_categories

SPLITS = "validation", "test-title", "test-artist", "test-emoji"
EXAMPLES, DRAWS = 10, 5
PENALTIES = RegressionConfig(lowest=-4, highest=2, max_iterations=300)


@torch.inference_mode()
def kinds(context: Context, file: Path) -> Iterator[tuple[str, Interval, float, int]]:
    """Accuracies of linear probes on the rest of the pictures."""
    rows = read_categories(file)
    labels, rng = np.array([row.label for row in rows]), np.random.default_rng(0)
    paths, classes = [row.image for row in rows], np.unique(labels)
    known = read_packaged_vision("efficientnet-lite0").encoder
    found: list[list[np.ndarray]] = [[], []]
    for pixels in context.pictures.batches(paths, 64):
        found[0].append(context.pretrained.model.encode_image(pixels)[:, 0].numpy())
        found[1].append(known(pixels)[:, 0, :1280].numpy())
    features = [np.concatenate(parts) for parts in found]
    draws, tested = np.zeros((2, DRAWS)), len(rows) - EXAMPLES * len(classes)
    for draw in range(DRAWS):
        shown = np.concatenate(
            [rng.choice(np.flatnonzero(labels == one), EXAMPLES, replace=False) for one in classes]
        )
        rest = np.setdiff1d(np.arange(len(rows)), shown)
        for place, own in enumerate(features):
            probe = fit_probe(LabelledFeatures(own[shown], labels[shown]), None, PENALTIES)
            draws[place, draw] = (probe.predict(own[rest]) == labels[rest]).mean()
    for name, own in zip(("photos", "EfficientNet-lite0"), draws, strict=True):
        yield f"kinds/{file.stem}/{name}", bootstrap(own, np.arange(DRAWS)), 1 / len(classes), tested


def language(found: Pretrained, archive: Path) -> Iterator[list[str]]:
    """Lines of the probes of language, after the training and before."""
    asked, before = list(questions(read_texts(archive))), read_packaged_language(MINILM).encoder
    usual, words = floors(asked)
    for name, encoder in (("photos", found.model.language), ("MiniLM", before)):
        found.model.language = encoder.eval()
        cells = probed(found, asked)
        for one in asked:
            right = cells[one.name].astype(np.float64)
            told = bootstrap(right, np.arange(len(right)), 0)
            shown = [f"{cell:.4f}" for cell in (told.value, told.low, told.high, usual[one.name])]
            yield [f"language/{one.name}/{name}", *shown, "", str(len(right))]
    for one in asked:
        yield [
            f"language/{one.name}/TF-IDF",
            f"{words[one.name]:.4f}",
            "",
            "",
            f"{usual[one.name]:.4f}",
            "",
            str(one.tested.sum()),
        ]


def retrieval(found: Pretrained, pairs: Path) -> PartResult:
    """Recalls of the held-out splits, and what re-ranking gains of them."""
    result, config = PartResult(), EvaluationConfig()
    context = Context(found, pairs, config, torch.device("cpu"), TaskImages(found.preprocessing))
    for split in SPLITS:
        encoded = context.captions(split)
        positives = encoded.fits()
        depth = config.retrieval.shortlist if found.artifacts.reranks else 1
        text, image = rank(context.encoder, encoded.images, encoded.texts, positives, depth)
        chances = chance_recalls(positives)
        groups = {"text": np.arange(len(encoded.images)), "image": encoded.owner}
        scored = hits(text.ranks, image.ranks)
        for name, own in scored.items():
            direction, cutoff, *rule = name.split("_")
            if cutoff not in ("r1", "r10") or rule == ["matching"] or (rule and not found.artifacts.reranks):
                continue
            chance = chances[f"{direction}_{cutoff}"]
            result.add_rows(f"{split}/{name}", own, groups[direction], chance, 0)
            if rule and cutoff == "r1":
                gain = own - scored[f"{direction}_r1"]
                result.add_rows(f"{split}/{direction}_r1_gain", gain, groups[direction], 0.0, 0)
    return result


def main(model: str, start: str, pairs: Path, scenes: Path, archive: Path) -> None:
    """Print the lines."""
    found = load_model(model)
    result, before = retrieval(found, pairs), retrieval(load_model(start), pairs).scores
    config, pictures = EvaluationConfig(), TaskImages(found.preprocessing)
    for file in sorted((pairs / "tasks/kinds").iterdir()):
        context = Context(found, pairs, config, torch.device("cpu"), pictures)
        for name, mean, chance, rows in kinds(context, file):
            result.add(name, mean, chance, rows, 0)
    hard = run_hard(Context(found, scenes, config, torch.device("cpu"), pictures)).scores
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["score", "value", "low", "high", "chance", "start", "rows"])
    for name, one in (result.scores | hard).items():
        shown = [f"{part:.4f}" for part in (one.value, one.low, one.high, one.chance)]
        out.writerow([name, *shown, f"{before[name].value:.4f}" if name in before else "", one.n])
    out.writerows(language(found, archive))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *(Path(one) for one in sys.argv[3:6]))
