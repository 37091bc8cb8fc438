"""What says that a gallery has nothing that fits."""

import numpy as np
import pytest

from xfm.metrics.calibration import GallerySearches, fit_presence, told_apart


def searches(seed: int, sizes: tuple[int, ...], count: int = 1500, depth: int = 8) -> GallerySearches:
    """What fits stands out in both scores; of what does not, the best of more is higher."""
    rng = np.random.default_rng(seed)
    pictures = np.tile(np.repeat(sizes, 2), count)
    there = np.arange(len(pictures)) % 2 == 0
    contrast = np.empty((len(pictures), depth))
    for size in sizes:
        own = np.flatnonzero(pictures == size)
        drawn = rng.standard_normal((len(own), size))
        contrast[own] = -np.sort(-drawn, axis=1)[:, :depth]
    odds = rng.standard_normal(contrast.shape) - 2
    contrast[there, 0], odds[there, 0] = (rng.normal(mean, 1, there.sum()) for mean in (3.5, 1.0))
    return GallerySearches(contrast, odds, there, pictures, np.arange(len(pictures)))


def test_as_many_are_answered_as_was_asked_whatever_the_gallery() -> None:
    fitted = fit_presence(searches(0, (10, 40, 160)), "drawn")
    tested = searches(1, (10, 40, 160, 640))
    answered, _ = told_apart(tested, fitted)
    for size in (10, 40, 160):
        own = (tested.pictures == size) & tested.there
        assert own.sum() == 1500
        assert answered[own].mean() == pytest.approx(0.95, abs=0.02)
    absent = {size: (tested.pictures == size) & ~tested.there for size in (10, 640)}
    assert (~answered)[absent[10]].mean() > (~answered)[absent[640]].mean()


def test_the_probability_is_one() -> None:
    fitted, tested = fit_presence(searches(0, (10, 160)), "drawn"), searches(1, (10, 160))
    heights = tested.heights(fitted.contrast, fitted.matching)
    sure = np.array(
        [fitted.probability(*pair) for pair in zip(heights, tested.pictures.tolist(), strict=True)]
    )
    for low in (0.0, 0.25, 0.5, 0.75):
        own = (sure >= low) & (sure < low + 0.25)
        assert tested.there[own].mean() == pytest.approx(sure[own].mean(), abs=0.06)
    answered, _ = told_apart(tested, fitted)
    least = np.array([fitted.least(count) for count in tested.pictures.tolist()])
    assert ((sure >= least) == answered).all()
    assert fitted.least(2) == fitted.least(10)


def test_scores_that_say_nothing_get_no_weight() -> None:
    drawn = searches(0, (10,))
    rng = np.random.default_rng(1)
    random = GallerySearches(
        drawn.contrast,
        rng.standard_normal(drawn.odds.shape) * 1e-9,
        drawn.there,
        drawn.pictures,
        drawn.groups,
    )
    fitted = fit_presence(random, "drawn")
    assert fitted.contrast > 0.5
    _, heights = told_apart(random, fitted)
    assert np.isfinite(heights).all()
    with pytest.raises(ValueError, match="what is not"):
        fit_presence(
            GallerySearches(
                drawn.contrast, drawn.odds, np.ones(len(drawn), bool), drawn.pictures, drawn.groups
            ),
            "x",
        )
