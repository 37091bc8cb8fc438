"""How much the matching log-odds should count in re-ranking, on validation scenes of the embedded world.

    python benchmarks/matching_weight.py MODEL --world worlds/emoji [--weights 0 0.2 0.4 0.6 1]

For each weight: the mean log-likelihood (nats) of the true candidates, with the softmax of the combined
scores over the shortlist as their probability, and the gain in R@1 over contrast alone, both directions
pooled. Queries whose shortlist lacks every true candidate have no likelihood.
`xfm.retrieval.in_memory.MATCHING_WEIGHT` was chosen by the likelihood.
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
from xfm.metrics.ranking import ranks_of_best_positive
from xfm.metrics.recalls import with_equal_captions
from xfm.modeling.features import encode_texts, tokenize_captions
from xfm.modeling.folder import load_model
from xfm.retrieval.in_memory import Matched, Reranked, match_all
from xfm.tasks.pictures import Pictures
from xfm.tasks.rows import read_captioned
from xfm.training.memory import prepare_process

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)


def log_likelihoods(
    scores: NDArray[np.float64], shortlist: NDArray[np.bool_], positives: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Of the true candidates, for each query (row) that has one on its shortlist."""
    shown = np.where(shortlist, scores, -np.inf)
    true = np.where(positives, shown, -np.inf)
    asked = (shortlist & positives).any(axis=1)
    return logsumexp(true[asked], axis=1) - logsumexp(shown[asked], axis=1)


def first_places(ranking: Reranked, positives: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which queries of either direction have a true candidate first."""
    text = ranks_of_best_positive(ranking.text, positives)
    return np.concatenate([text, ranks_of_best_positive(ranking.image.T, positives.T)]) == 0


def match_validation(context: Context) -> tuple[Matched, NDArray[np.bool_]]:
    """Scores of the validation scenes, and which caption belongs to which picture."""
    rows = context.rows(read_captioned, "retrieval", "validation", 0)
    images, index = context.encode([row.image for row in rows])
    captions = [row.caption for row in rows]
    texts = encode_texts(context.encoder, tokenize_captions(context.pretrained.tokenizer, captions))
    positives = with_equal_captions(index.numpy(), captions, len(images.vectors)).toarray()
    return match_all(context.encoder, images, texts, context.config.retrieval.shortlist), positives


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
    context = Context(pretrained, options.world, config, device, Pictures(pretrained.preprocessing))
    found, positives = match_validation(context)
    before = first_places(Reranked(found.itc, found.itc), positives)
    queries, table = len(before), []
    print(f"{queries} queries, shortlist {config.retrieval.shortlist}\nweight  log-likelihood  gain in R@1")
    for weight in options.weights:
        scores = found.combined(weight)
        by_image = log_likelihoods(scores, found.for_image, positives)
        by_text = log_likelihoods(scores.T, found.for_text.T, positives.T)
        likelihood = float(np.concatenate([by_image, by_text]).mean())
        gain = float(first_places(found.merged(scores), positives).mean() - before.mean())
        table.append({"weight": weight, "log_likelihood": likelihood, "gain": gain})
        print(f"{weight:6.2f}  {likelihood:14.4f}  {100 * gain:+10.2f} points")
    numbers = {"model": str(options.model), "queries": queries, "weights": table}
    print(json.dumps(numbers))
    if options.json:
        options.json.write_text(json.dumps(numbers, indent=2) + "\n")


if __name__ == "__main__":
    main()
