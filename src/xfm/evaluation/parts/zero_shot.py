"""Parts without training: retrieval, also against hard distractors, and masked words. Masked words: all
pieces of some content words are replaced by the mask token, the same for every condition. With a picture the
fusion encoder predicts them (IMLM), with none the language encoder (MLM)."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from xfm.data.masking import IGNORED
from xfm.data.schema import Tokens
from xfm.data.tokenizer import Tokenizer
from xfm.evaluation.context import Context
from xfm.metrics.classification import Array, chance_of_classes, majority_accuracy
from xfm.metrics.intervals import row_groups
from xfm.metrics.recalls import Rule, chance_recalls, hits, prefers_first, rerank_gain, with_equal_captions
from xfm.models.features import EncodedItems, Encoder, encode_images, encode_texts
from xfm.models.precision import autocast
from xfm.reports.labels import NOUNS
from xfm.reports.scores import SPLITS_RETRIEVAL, PartResult, read_object
from xfm.tasks.ranking import Ranking, pair_scores, rank
from xfm.tasks.rows import read_captioned, read_masked
from xfm.world.grammar import plural
from xfm.world.storage import NAME

SHOWN = 6  # examples of each direction
SHOWN_CANDIDATES = 5


def run_retrieval(context: Context) -> PartResult:
    """R@1/5/10 of both directions on each split, by contrastive score and re-ranked, without training.
    Baseline: `noun_recalls`."""
    result, seed, kinds = PartResult(), context.config.seed, kinds_of(context.world)
    for split in context.splits(SPLITS_RETRIEVAL):
        encoded = context.captions(split)
        images, rows, positives = encoded.images, encoded.rows, encoded.fits()
        text, image = rank(
            context.encoder, images, encoded.texts, positives, context.config.retrieval.shortlist
        )
        chances = chance_recalls(positives)
        nouns = noun_recalls(positives, encoded.owner, kinds_named(encoded.captions, kinds)) if kinds else {}
        groups = {"text": np.arange(len(images)), "image": encoded.owner}  # queries of one picture are one
        for name, own in hits(text.ranks, image.ranks).items():
            direction, cutoff = name.split("_")[:2]
            chance = chances[f"{direction}_{cutoff}"]
            floors = {NOUNS: nouns[f"{direction}_{cutoff}"]} if nouns else None
            result.add_rows(f"retrieval/{split}/{name}", own, groups[direction], chance, seed, floors)
        gain = rerank_gain(text.ranks, image.ranks, positives, seed)
        result.add(f"retrieval/{split}/rerank_gain", gain, 0.0, len(images) + len(rows), seed)
        paths = list(dict.fromkeys(context.relative(row.image) for row in rows))
        captions, right = encoded.captions, positives.toarray()
        result.examples[f"{split}/image"] = _examples(image, right.T, captions, paths, seed)
        result.examples[f"{split}/text"] = _examples(text, right, paths, captions, seed)
    return result


def kinds_of(world: Path) -> list[str]:
    """Names of all kinds of objects of a world, from its manifest; none where that does not say."""
    objects = read_object(world / NAME).get("objects") or {}
    return [kind["name"] for kinds in objects.values() for kind in kinds]


def kinds_named(captions: Sequence[str], kinds: Sequence[str]) -> list[str]:
    """The set of the kinds that each caption names, as a text; the longest name is read first."""
    forms = {plural(name): name for name in kinds} | {name: name for name in kinds}
    names = "|".join(map(re.escape, sorted(forms, key=len, reverse=True)))
    pattern = re.compile(rf"(?<!\w)(?:{names})(?!\w)")
    return [", ".join(sorted({forms[one] for one in pattern.findall(caption)})) for caption in captions]


def noun_recalls(positives: csr_array, owner: NDArray[np.int64], named: Sequence[str]) -> dict[str, float]:
    """Expected recalls, by the keys of `chance_recalls`, of an oracle that knows nothing but sets of kinds:
    candidates with the query's set come first, in random order. `named` [R] has the sets of the captions; a
    picture has that of its own, as captions of the world name every object."""
    return chance_recalls(positives, with_equal_captions(owner, named, int(owner.max()) + 1))


def _examples(
    ranked: Ranking, positives: Array, queries: list[str], candidates: list[str], seed: int
) -> list[dict[str, Any]]:
    examples: list[dict[str, Any]] = []
    ranks = ranked.ranks[Rule.RERANK]
    for query in np.random.default_rng(seed).permutation(len(ranks))[:SHOWN].tolist():
        best = ranked.order[query, :SHOWN_CANDIDATES].tolist()
        shown = [{"content": candidates[place], "right": bool(positives[query, place])} for place in best]
        examples.append({"query": queries[query], "candidates": shown, "rank": int(ranks[query]) + 1})
    return examples


def run_hard(context: Context) -> PartResult:
    """Share of pictures that prefer their caption to captions with one edit, in all and by kind of edit. By
    contrastive score, re-ranked and by matching. Chance: mean of 1 / (1 + number of distractors)."""
    result, encoder, seed = PartResult(), context.encoder, context.config.seed
    split = "hard_validation" if context.config.validation else "hard"
    rows = context.rows(read_captioned, "retrieval", split, context.config.retrieval.hard_rows)
    images, index = context.encode([row.image for row in rows])
    sizes = [1 + len(row.distractors) for row in rows]
    captions = [text for row in rows for text in (row.caption, *row.distractors)]
    texts = encode_texts(encoder, captions)
    picture = np.repeat(index.numpy(), sizes)  # [R]
    rules = pair_scores(encoder, images, texts, picture, np.arange(len(captions)))
    ends = np.cumsum(sizes)[:-1]
    wrong = np.array([len(row.distractors) for row in rows])
    edits = np.array([row.edit for row in rows])
    of_edit = {f"_{edit}": edits == edit for edit in dict.fromkeys(filter(None, edits.tolist()))}
    for rule, scores in rules.items():
        right = prefers_first(np.split(scores, ends)).astype(np.float64)
        for suffix, own in {"": np.full(len(rows), True), **of_edit}.items():
            groups, chance = row_groups(index[own].tolist()), float((1 / (1 + wrong[own])).mean())
            result.add_rows(f"retrieval/{split}/text_r1{rule}{suffix}", right[own], groups, chance, seed)
    return result


_FUNCTION_WORDS = """
a an and are as at be by can for from has have in is it its just of on onto or s see sits so some that the
their them there these they this to up we which while with you
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Words that are never masked: they can be guessed from grammar alone."""


def mask_captions(
    tokenizer: Tokenizer, captions: Sequence[str], share: float, seed: int, max_tokens: int = 40
) -> tuple[Tokens, Tensor]:
    """Mask whole content words of R captions, one at least; row r depends on seed, r and caption. Masked
    tokens [R, T], and labels [R, T] int64: true ids where masked, else -100."""
    texts = [tokenizer.as_caption(caption) for caption in captions]
    encoded = tokenizer.encode_batch(texts, max_tokens)
    chosen = torch.zeros_like(encoded.mask)
    for row, (ids, words) in enumerate(tokenizer.encode_lists(texts, max_tokens)):
        pieces = {word: [i for i, own in zip(ids, words, strict=True) if own == word] for word in words}
        said = {word: tokenizer.decode(own).strip() for word, own in pieces.items() if word is not None}
        content = [word for word, text in said.items() if text and text not in FUNCTION_WORDS]
        if content:
            count = max(1, round(share * len(content)))
            picked = {*np.random.default_rng((seed, row)).choice(content, count, replace=False).tolist()}
            chosen[row, : len(words)] = torch.tensor([word in picked for word in words])
    labels = torch.where(chosen, encoded.ids, IGNORED)
    return Tokens(torch.where(chosen, tokenizer.mask, encoded.ids), encoded.mask), labels


@torch.inference_mode()
def predict_masked(
    encoder: Encoder, tokens: Tokens, labels: Tensor, pictures: Sequence[tuple[EncodedItems, Tensor] | None]
) -> list[NDArray[np.int64]]:
    """Predicted ids [M] int64 of all masked positions for each condition, row by row. A condition has encoded
    pictures and [R] int64 the picture of each caption; None is the language encoder alone."""
    model, device = encoder.model, encoder.device
    found: list[list[Tensor]] = [[] for _ in pictures]
    with autocast(encoder.precision, device):
        for part in encoder.chunks(len(labels), encoder.batch_size, "masked tokens"):
            mask, places = tokens.mask[part].to(device), labels[part].to(device) != IGNORED
            text = model.encode_text(tokens.ids[part].to(device), mask)
            for predicted, shown in zip(found, pictures, strict=True):
                states, head = text, model.language_logits
                if shown is not None:
                    images, index = shown
                    picture, place = index[part].unique(return_inverse=True)
                    image, _ = images.states.read(picture.numpy())
                    states, head = model.fuse(text, mask, image, place.to(device)), model.fusion_logits
                with encoder.heads():
                    logits = head(states[places].float())
                predicted.append(logits.argmax(-1).cpu())
    return [torch.cat(predicted).numpy() for predicted in found]


def run_masked_tokens(context: Context) -> PartResult:
    """Accuracy over masked tokens of content words; the masks are the same for all conditions. Chance is one
    token of the vocabulary. Baselines: the most frequent masked token, and for the right picture the other
    conditions."""
    config, result = context.config, PartResult()
    (split,) = context.splits(("test",))
    rows = context.rows(read_masked, "masked_token", split, config.masked_rows)
    tokenizer = context.pretrained.tokenizer
    captions = [row.caption for row in rows]
    tokens, labels = mask_captions(tokenizer, captions, config.masked_share, config.seed)
    hidden = labels != IGNORED
    targets = labels[hidden].numpy()
    images, index = context.encode([row.image for row in rows] + [row.wrong_image for row in rows])
    blank, blank_index = context.pictures.blank(len(rows))
    shown = {
        "right_image": (images, index[: len(rows)]),
        "wrong_image": (images, index[len(rows) :]),
        "blank_image": (encode_images(context.encoder, [blank], 1), blank_index),
        "no_image": None,
    }
    predicted = zip(shown, predict_masked(context.encoder, tokens, labels, list(shown.values())), strict=True)
    right = {name: (found == targets).astype(np.float64) for name, found in predicted}
    others = {name.replace("_image", " picture"): float(own.mean()) for name, own in right.items()}
    del others["right picture"]
    groups = row_groups(hidden.nonzero()[:, 0].tolist())  # words of one caption are not independent
    chance = chance_of_classes(tokenizer.vocab_size)["accuracy"]
    usual = {"most frequent token": majority_accuracy(targets)}
    for name, own in right.items():
        floors = usual | (others if name == "right_image" else {})
        result.add_rows(f"masked_token/{split}/accuracy_{name}", own, groups, chance, config.seed, floors)
    return result
