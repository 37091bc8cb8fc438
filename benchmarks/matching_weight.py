"""How much the matching log-odds should count in re-ranking, on validation scenes of the embedded world.

    python benchmarks/matching_weight.py MODEL --world worlds/emoji [--weights 0 0.2 0.4 0.6 1]

For each weight: the mean log-likelihood (nats) of the true candidates, with the softmax of the combined
scores over the shortlist as their probability, and the gain in R@1 over contrast alone, both directions
pooled. Queries whose shortlist lacks every true candidate have no likelihood.
`xfm.tasks.ranking.MATCHING_WEIGHT` was chosen by the likelihood.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp

from xfm.config.evaluation import EvaluationConfig
from xfm.evaluation.context import Context
from xfm.metrics.recalls import with_equal_captions
from xfm.models.features import encode_texts
from xfm.models.folder import load_model
from xfm.tasks.images import TaskImages
from xfm.tasks.ranking import MatchedSearch, match_both
from xfm.tasks.rows import read_captioned
from xfm.training.cpu_runtime import prepare_process

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)


def log_likelihoods(matched: MatchedSearch, weight: float) -> NDArray[np.float64]:
    """Of the true candidates, for each query that has one on its shortlist."""
    shown, positive = matched.scores(weight), matched.positive
    asked = positive.any(axis=1)
    true = np.where(positive, shown, -np.inf)
    return logsumexp(true[asked], axis=1) - logsumexp(shown[asked], axis=1)


def match_validation(context: Context) -> tuple[MatchedSearch, MatchedSearch]:
    """Texts for the pictures of the validation scenes, and pictures for their texts."""
    rows = context.rows(read_captioned, "retrieval", "validation", 0)
    images, index = context.encode([row.image for row in rows])
    captions = [row.caption for row in rows]
    texts = encode_texts(context.encoder, captions)
    positives = with_equal_captions(index.numpy(), captions, len(images))
    return match_both(context.encoder, images, texts, positives, context.config.retrieval.shortlist)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="model folder")
    parser.add_argument("--world", type=Path, default=Path("worlds/emoji"))
    parser.add_argument("--weights", type=float, nargs="+", default=WEIGHTS)
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    options = parser.parse_args()
    prepare_process()
    pretrained = load_model(options.model)
    device, config = torch.device("cpu"), EvaluationConfig()
    context = Context(pretrained, options.world, config, device, TaskImages(pretrained.preprocessing))
    both = match_validation(context)
    before = np.concatenate([one.contrast_ranks for one in both]) == 0
    queries, table = len(before), []
    print(f"{queries} queries, shortlist {config.retrieval.shortlist}\nweight  log-likelihood  gain in R@1")
    for weight in options.weights:
        likelihood = float(np.concatenate([log_likelihoods(one, weight) for one in both]).mean())
        after = np.concatenate([one.ranks(one.scores(weight)) for one in both]) == 0
        gain = float(after.mean() - before.mean())
        table.append({"weight": weight, "log_likelihood": likelihood, "gain": gain})
        print(f"{weight:6.2f}  {likelihood:14.4f}  {100 * gain:+10.2f} points")
    numbers = {"model": str(options.model), "queries": queries, "weights": table}
    print(json.dumps(numbers))
    if options.json:
        options.json.write_text(json.dumps(numbers, indent=2) + "\n")


if __name__ == "__main__":
    main()
