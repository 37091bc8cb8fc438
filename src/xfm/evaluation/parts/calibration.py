"""Is a match as probable as the matching head says? Its calibration, fitted on the validation split."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from xfm.config.labels import MatchCalibration, PresenceFit
from xfm.evaluation.context import Context
from xfm.evaluation.parts.absence import search_galleries
from xfm.metrics.calibration import CALIBRATION, error_interval, platt, sure_and_right
from xfm.metrics.classification import area_under_roc
from xfm.metrics.intervals import Floats, bootstrap
from xfm.metrics.presence import fit_presence
from xfm.reports.scores import PartResult
from xfm.tasks.ranking import CONTRAST, cosines, match, match_odds

GALLERIES = (30, 100, 300, 1000, 3000)
"""Pictures in the galleries on which "nothing found" is fitted, as far as the split has so many."""


@dataclass(frozen=True)
class Pairs:
    """[N] log-odds, cosines, whether the text is the picture's, and groups (pictures) of image-text pairs."""

    odds: Floats
    contrast: Floats
    true: NDArray[np.bool_]
    groups: NDArray[np.int64]


def run_matching(context: Context) -> PartResult:
    """Expected calibration error of a match on test pairs, before and after the fit to validation pairs."""
    result, seed = PartResult(), context.config.seed
    known, tested = _pairs(context, "validation"), _pairs(context, "seen")
    slope, bias = platt(known.odds, known.true)
    data = f"retrieval/validation of {context.world}"
    fitted = MatchCalibration(slope, bias, len(known.odds), data, gallery_fit(context, data))
    result.calibration = asdict(fitted)
    for suffix, scaling in (("", (slope, bias)), ("_before", ())):
        sure = sure_and_right(tested.odds, tested.true, *scaling)
        found = error_interval(*sure, tested.groups, seed)
        result.add(f"matching/test/{CALIBRATION}{suffix}", found, 0.0, len(tested.odds), seed)

    def area(places: NDArray[np.int64]) -> float:
        return area_under_roc(tested.odds[places], tested.true[places])

    floors = {CONTRAST: area_under_roc(tested.contrast, tested.true)}
    found = bootstrap(area, tested.groups, seed)
    result.add("matching/test/auroc", found, 0.5, len(tested.odds), seed, floors)
    return result


def gallery_fit(context: Context, data: str) -> PresenceFit:
    """Calibration of "nothing found", fitted on galleries of the validation split."""
    encoded = context.captions("validation")
    sizes = [size for size in GALLERIES if size < len(encoded.images)] or [len(encoded.images) - 1]
    return fit_presence(search_galleries(context, encoded, sizes, context.config.absence.queries), data)


def _pairs(context: Context, split: str) -> Pairs:
    """Every picture with its own caption and with a false one.

    For every second picture the false caption is drawn from retrieval's shortlist, for the others from all.
    Equal numbers, so that a probability of a half means no evidence.
    """
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
    odds = match_odds(match(context.encoder, images.states, texts.states, pictures, said))
    true = np.arange(len(said)) % 2 == 0
    return Pairs(odds, contrast[pictures, said], true, pictures)
