"""The matching head: phrases and captions that are absent, and the calibration of its probability."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from xfm.config.labels import MatchCalibration, PresenceFit
from xfm.evaluation.context import Context, EncodedCaptions
from xfm.metrics import calibration
from xfm.metrics.classification import area_under_roc
from xfm.metrics.intervals import Floats, bootstrap, row_groups
from xfm.metrics.recalls import Rule
from xfm.models.features import encode_texts
from xfm.reports.scores import PartResult
from xfm.tasks.ranking import CONTRAST, MATCHING_WEIGHT, cosines, match, match_odds, rerank_scores
from xfm.tasks.rows import PhrasePresence, read_presence
from xfm.tasks.sampling import components


def search_galleries(
    context: Context, encoded: EncodedCaptions, sizes: Sequence[int], count: int = 0
) -> calibration.GallerySearches:
    """Each of `count` captions (0: all) searches galleries of every size, with its picture and without. The
    pipeline's shortlist is matched. The seed draws captions and galleries; larger galleries of a caption hold
    its smaller ones."""
    images, texts, owner = encoded.images, encoded.texts, encoded.owner
    depth, temperature = context.config.retrieval.shortlist, context.pretrained.model.temperature.item()
    fits = encoded.fits().toarray().T  # [R, I]
    rng = np.random.default_rng(context.config.seed)
    queries = rng.permutation(len(texts))[: count or None]
    contrast = cosines(texts.vectors[queries], images.vectors).double().numpy()  # [Q, I]
    searched: list[NDArray[np.int64]] = []
    pictures: list[int] = []
    for place, row in enumerate(queries.tolist()):
        others = rng.permutation(np.flatnonzero(~fits[row]))
        for size in sizes:
            for gallery in (np.append(others[: size - 1], owner[row]), others[:size]):
                best = gallery[np.argsort(-contrast[place, gallery], kind="stable")[:depth]]
                searched.append(np.resize(best, depth))  # a short list again from its beginning
                pictures.append(len(gallery))
    shown, asked = np.stack(searched), np.repeat(np.arange(len(queries)), 2 * len(sizes))
    pairs, found = np.unique(shown * len(texts) + queries[asked][:, None], return_inverse=True)
    logits = match(context.encoder, images.states.read, texts.states.read, *np.divmod(pairs, len(texts)))
    return calibration.GallerySearches(
        contrast[asked[:, None], shown] / temperature,
        match_odds(logits)[found.reshape(shown.shape)],
        np.arange(len(shown)) % 2 == 0,
        np.array(pictures),
        owner[queries][asked],
    )


def run_absence(context: Context) -> PartResult:
    """Areas under the ROC curve of absence, by the matching head and, with `_rerank`, by a search's sum.
    Chance is a half; the baseline is the contrastive score alone."""
    result, rows = PartResult(), context.config.retrieval.absence_rows
    (split,) = context.splits(("test",))
    _phrases(context, result, split, context.rows(read_presence, "absence", split, rows))
    (searched,) = context.splits(("seen",))
    _galleries(context, result, split, context.captions(searched))
    return result


def _phrases(context: Context, result: PartResult, split: str, rows: Sequence[PhrasePresence]) -> None:
    images, index = context.encode([row.image for row in rows])
    texts = encode_texts(context.encoder, [row.phrase for row in rows])
    contrast = (images.vectors[index] * texts.vectors).sum(-1).double().numpy()
    places = np.arange(len(rows))
    logits = match(context.encoder, images.states.read, texts.states.read, index.numpy(), places)
    temperature = context.pretrained.model.temperature.item()
    rules = {
        Rule.CONTRAST: contrast,
        Rule.MATCHING: match_odds(logits),
        Rule.RERANK: rerank_scores(contrast, logits.astype(np.float64), temperature),
    }
    absent = np.array([not row.present for row in rows])
    # Two pictures that share phrases belong to one design.
    design = components([("picture", row.image), ("phrase", row.phrase)] for row in rows)
    groups = np.array([design["picture", row.image] for row in rows])
    kinds = np.array([row.kind for row in rows])
    of_kind = {f"_{kind}": kinds == kind for kind in dict.fromkeys(filter(None, kinds.tolist()))}
    for suffix, own in {"": np.full(len(rows), True), **of_kind}.items():
        key, shared = f"absence/{split}/phrase_auroc{suffix}", row_groups(groups[own].tolist())
        _add(context, result, key, {rule: scores[own] for rule, scores in rules.items()}, absent[own], shared)


def _galleries(context: Context, result: PartResult, split: str, encoded: EncodedCaptions) -> None:
    """AUROC of "nothing in this gallery fits", by the best match of the shortlist."""
    config = context.config.retrieval
    found = search_galleries(context, encoded, [config.absence_gallery], config.absence_queries)
    best = {
        Rule.CONTRAST: found.contrast.max(1),
        Rule.MATCHING: found.odds.max(1),
        Rule.RERANK: found.heights(1.0, MATCHING_WEIGHT),
    }
    _add(context, result, f"absence/{split}/gallery_auroc", best, ~found.there, found.groups)


def _add(
    context: Context,
    result: PartResult,
    key: str,
    rules: dict[Rule, Floats],
    absent: NDArray[np.bool_],
    groups: NDArray[np.int64],
) -> None:
    """Areas under the curve of [N] cases; a lower score means absent."""
    seed, floors = context.config.seed, {CONTRAST: area_under_roc(-rules[Rule.CONTRAST], absent)}
    for rule, suffix in ((Rule.MATCHING, ""), (Rule.RERANK, Rule.RERANK)):
        scores = rules[rule]
        found = bootstrap(lambda at, scores=scores: area_under_roc(-scores[at], absent[at]), groups, seed)
        result.add(f"{key}{suffix}", found, 0.5, len(absent), seed, floors)


GALLERIES = (30, 100, 300, 1000, 3000)
"""Pictures in the galleries on which "nothing found" is fitted, as far as the split has so many."""


def run_matching(context: Context) -> PartResult:
    """Expected calibration error of a match on test pairs, before and after the fit to validation pairs."""
    result, seed = PartResult(), context.config.seed
    known, _, fits, _ = _pairs(context, "validation")
    odds, contrast, true, groups = _pairs(context, "seen")
    slope, bias = calibration.platt(known, fits)
    data = f"retrieval/validation of {context.world}"
    fitted = MatchCalibration(slope, bias, len(known), data, gallery_fit(context, data))
    result.calibration = asdict(fitted)
    for suffix, scaling in (("", (slope, bias)), ("_before", ())):
        sure = calibration.sure_and_right(odds, true, *scaling)
        found = calibration.error_interval(*sure, groups, seed)
        result.add(f"matching/test/{calibration.CALIBRATION}{suffix}", found, 0.0, len(odds), seed)
    floors = {CONTRAST: area_under_roc(contrast, true)}
    found = bootstrap(lambda places: area_under_roc(odds[places], true[places]), groups, seed)
    result.add("matching/test/auroc", found, 0.5, len(odds), seed, floors)
    return result


def gallery_fit(context: Context, data: str) -> PresenceFit:
    """Calibration of "nothing found", fitted on galleries of the validation split."""
    encoded = context.captions("validation")
    sizes = [size for size in GALLERIES if size < len(encoded.images)] or [len(encoded.images) - 1]
    queries = context.config.retrieval.absence_queries
    return calibration.fit_presence(search_galleries(context, encoded, sizes, queries), data)


def _pairs(context: Context, split: str) -> tuple[Floats, Floats, NDArray[np.bool_], NDArray[np.int64]]:
    """Every picture with its own caption and with a false one: [N] log-odds, cosines, whether the caption is
    its own, and the picture. For every second picture the false caption is drawn from retrieval's shortlist,
    for the others from all. Equal numbers, so that a probability of a half means no evidence."""
    config, encoded = context.config, context.captions(split)
    images, texts, owner = encoded.images, encoded.texts, encoded.owner
    contrast = cosines(images.vectors, texts.vectors).double().numpy()  # [I, R]
    fits = encoded.fits().toarray()  # [I, R]
    rng, false = np.random.default_rng(config.seed), np.zeros(len(texts), dtype=np.int64)
    for row, picture in enumerate(owner.tolist()):
        others = np.flatnonzero(~fits[picture])
        if row % 2:
            others = others[np.argsort(-contrast[picture, others])[: config.retrieval.shortlist]]
        false[row] = rng.choice(others)
    pictures, said = np.repeat(owner, 2), np.stack([np.arange(len(texts)), false], axis=1).ravel()
    odds = match_odds(match(context.encoder, images.states.read, texts.states.read, pictures, said))
    true = np.arange(len(said)) % 2 == 0
    return odds, contrast[pictures, said], true, pictures
