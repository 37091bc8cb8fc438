"""Zero-shot retrieval over unseen scenes, and against hard distractors."""

from typing import Any

import numpy as np
import torch

from xfm.evaluation.context import Context, EncodedCaptions, pick_examples
from xfm.metrics.classification import Array
from xfm.metrics.intervals import row_groups
from xfm.metrics.recalls import Rule, hits, preference_chance, prefers_first, summarise
from xfm.models.features import encode_texts
from xfm.reports.scores import SPLITS_RETRIEVAL, PartResult
from xfm.tasks.ranking import Ranking, match, rank, rerank_scores
from xfm.tasks.world_files import read_captioned

SHOWN = 6  # examples of each direction
SHOWN_CANDIDATES = 5
HARD, HARD_VALIDATION = "hard", "hard_validation"


def run_retrieval(context: Context) -> PartResult:
    """R@1/5/10 of both directions on each split, by contrastive score and re-ranked, without training."""
    result = PartResult()
    for split in context.splits(SPLITS_RETRIEVAL):
        _retrieve(context, result, split, context.captions(split))
    return result


def _retrieve(context: Context, result: PartResult, split: str, encoded: EncodedCaptions) -> None:
    seed, images, rows = context.config.seed, encoded.images, encoded.rows
    positives = encoded.fits()
    text, image = rank(context.encoder, images, encoded.texts, positives, context.config.retrieval.shortlist)
    found = summarise(text.ranks, image.ranks, positives, seed)
    groups = {"text": np.arange(len(images)), "image": encoded.owner}  # queries of one picture are one
    for name, own in hits(text.ranks, image.ranks).items():
        result.add_rows(
            f"retrieval/{split}/{name}", own, groups[name.split("_")[0]], found.chance(name), seed
        )
    result.add(f"retrieval/{split}/rerank_gain", found.gain, 0.0, len(images) + len(rows), seed)
    paths = list(dict.fromkeys(context.relative(row.image) for row in rows))
    captions, right = encoded.captions, positives.toarray()
    result.examples[f"{split}/image"] = _examples(image, right.T, captions, paths, seed)
    result.examples[f"{split}/text"] = _examples(text, right, paths, captions, seed)


def _examples(
    ranked: Ranking, positives: Array, queries: list[str], candidates: list[str], seed: int
) -> list[dict[str, Any]]:
    examples: list[dict[str, Any]] = []
    ranks = ranked.ranks[Rule.RERANK]
    for query in pick_examples((ranks == 0).tolist(), SHOWN, seed):
        best = ranked.order[query, :SHOWN_CANDIDATES].tolist()
        shown = [_candidate(candidates[place], positives[query, place]) for place in best]
        examples.append({"query": queries[query], "candidates": shown, "rank": int(ranks[query]) + 1})
    return examples


def _candidate(content: str, right: bool) -> dict[str, Any]:
    return {"content": content, "right": bool(right)}


def run_hard(context: Context) -> PartResult:
    """Share of pictures that prefer their caption to captions with one edit, in all and by kind of edit.

    By contrastive score, re-ranked and by matching. Chance: mean of 1 / (1 + number of distractors).
    """
    result, encoder, seed = PartResult(), context.encoder, context.config.seed
    split = HARD_VALIDATION if context.config.validation else HARD
    rows = context.rows(read_captioned, "retrieval", split, context.config.retrieval.hard_rows)
    images, index = context.encode([row.image for row in rows])
    sizes = [1 + len(row.distractors) for row in rows]
    captions = [text for row in rows for text in (row.caption, *row.distractors)]
    texts = encode_texts(encoder, captions)
    picture = np.repeat(index.numpy(), sizes)  # [R]
    itc = (images.vectors[torch.from_numpy(picture)] * texts.vectors).sum(-1).double().numpy()
    logits = match(encoder, images.states, texts.states, picture, np.arange(len(captions)))
    logits = logits.astype(np.float64)
    rules = {
        "text_r1": itc,
        "text_r1_rerank": rerank_scores(itc, logits, encoder.model.temperature.item()),
        "text_r1_matching": logits[:, 1],
    }
    ends = np.cumsum(sizes)[:-1]
    by_rule = {name: np.split(scores, ends) for name, scores in rules.items()}
    wrong = np.array([len(row.distractors) for row in rows])
    edits = np.array([row.edit for row in rows])
    of_edit = {f"_{edit}": edits == edit for edit in dict.fromkeys(filter(None, edits.tolist()))}
    for name, scores in by_rule.items():
        right = prefers_first(scores).astype(np.float64)
        for suffix, own in {"": np.full(len(rows), True), **of_edit}.items():
            groups, chance = row_groups(index[own].tolist()), preference_chance(wrong[own].tolist())
            result.add_rows(f"retrieval/{split}/{name}{suffix}", right[own], groups, chance, seed)
    reranked = by_rule["text_r1_rerank"]
    for place in pick_examples(prefers_first(reranked).tolist(), SHOWN, seed):
        scores = reranked[place]
        row, order = rows[place], np.argsort(-scores)
        options = (row.caption, *row.distractors)
        shown = [_candidate(options[option], option == 0) for option in order[:SHOWN_CANDIDATES]]
        rank = int((scores[1:] >= scores[0]).sum()) + 1
        example = {"query": context.relative(row.image), "candidates": shown, "rank": rank}
        result.examples.setdefault(HARD, []).append(example)
    return result
