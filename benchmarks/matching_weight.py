"""How much the matching log-odds should count in re-ranking, on validation scenes of the embedded world.

    python benchmarks/matching_weight.py MODEL --world worlds/emoji [--weights 0 0.2 0.4 0.6 1]

For each weight: the mean log-likelihood (nats) of the true candidates, with the softmax of the combined
scores over the shortlist as their probability, and the gain in R@1 over contrast alone, both directions
pooled. Queries whose shortlist lacks every true candidate have no likelihood.
`xfm.evaluation.retrieval.MATCHING_WEIGHT` was chosen by the likelihood.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp

from xfm.config.evaluation import EvaluationConfig
from xfm.evaluation.context import Context
from xfm.evaluation.features import encode_texts, tokenize_captions
from xfm.evaluation.metrics import ranks_of_best_positive
from xfm.evaluation.recalls import with_equal_captions
from xfm.evaluation.retrieval import cosines, matching_logits, merge_ranking, rerank_scores, shortlisted
from xfm.modeling.folder import load_model
from xfm.tasks.pictures import Pictures
from xfm.tasks.rows import read_captioned
from xfm.training.memory import prepare_process

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Direction:
    """Scores of Q queries with C candidates.

    Attributes:
        contrast: [Q, C] float64 cosines.
        logits: [Q, C, 2] float64 matching logits, NaN where a pair is on neither shortlist.
        shortlist: [Q, C] bool.
        positives: [Q, C] bool.
        temperature: of the contrast.
    """

    contrast: NDArray[np.float64]
    logits: NDArray[np.float64]
    shortlist: NDArray[np.bool_]
    positives: NDArray[np.bool_]
    temperature: float

    def combined(self, weight: float) -> NDArray[np.float64]:
        """[Q, C] scores by the rule `rerank`."""
        return rerank_scores(self.contrast, self.logits, self.temperature, weight)

    def log_likelihoods(self, weight: float) -> NDArray[np.float64]:
        """Of the true candidates, for each query that has one on its shortlist."""
        shown = np.where(self.shortlist, self.combined(weight), -np.inf)
        true = np.where(self.positives, shown, -np.inf)
        asked = (self.shortlist & self.positives).any(axis=1)
        return (logsumexp(true[asked], axis=1) - logsumexp(shown[asked], axis=1)).astype(np.float64)

    def gains(self, weight: float) -> NDArray[np.float64]:
        """[Q] 1, 0 or -1: what re-ranking changes at the first place."""
        scores = merge_ranking(self.contrast, self.combined(weight), self.shortlist)
        first = ranks_of_best_positive(scores, self.positives) == 0
        before = ranks_of_best_positive(self.contrast, self.positives) == 0
        return first.astype(float) - before


def both_directions(context: Context) -> tuple[Direction, Direction]:
    """Pictures asking for captions, and captions for pictures."""
    rows = context.rows(read_captioned, "retrieval", "validation", 0)
    images, index = context.encode([row.image for row in rows])
    captions = [row.caption for row in rows]
    texts = encode_texts(context.encoder, tokenize_captions(context.pretrained.tokenizer, captions))
    positives = with_equal_captions(index.numpy(), captions, len(images.vectors)).toarray()
    contrast, k = cosines(images.vectors, texts.vectors), context.config.retrieval.shortlist
    for_image, for_text = shortlisted(contrast, k), shortlisted(contrast.T, k)
    pairs = np.argwhere(for_image | for_text.T)
    logits = np.full((*contrast.shape, 2), np.nan)
    logits[pairs[:, 0], pairs[:, 1]] = matching_logits(context.encoder, images, texts, pairs)
    temperature = context.pretrained.model.temperature.item()
    return (
        Direction(contrast, logits, for_image, positives, temperature),
        Direction(contrast.T, logits.transpose(1, 0, 2), for_text, positives.T, temperature),
    )


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
    directions = both_directions(context)
    queries = sum(len(one.contrast) for one in directions)
    table = []
    print(f"{queries} queries, shortlist {config.retrieval.shortlist}\nweight  log-likelihood  gain in R@1")
    for weight in options.weights:
        likelihood = float(np.concatenate([one.log_likelihoods(weight) for one in directions]).mean())
        gain = float(np.concatenate([one.gains(weight) for one in directions]).mean())
        table.append({"weight": weight, "log_likelihood": likelihood, "gain": gain})
        print(f"{weight:6.2f}  {likelihood:14.4f}  {100 * gain:+10.2f} points")
    numbers = {"model": str(options.model), "queries": queries, "weights": table}
    print(json.dumps(numbers))
    if options.json:
        options.json.write_text(json.dumps(numbers, indent=2) + "\n")


if __name__ == "__main__":
    main()
