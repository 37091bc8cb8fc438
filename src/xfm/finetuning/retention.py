"""What a fine-tuning cost of what the model could before: retrieval by contrast, and the names of objects.

The rows are scenes of the embedded world that no training has seen, the same for every model.
"""

import copy
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfm.config.world import WorldConfig
from xfm.core.errors import UserError
from xfm.metrics.numbers import percent, points
from xfm.metrics.recalls import ranks_of_best_positive
from xfm.models.artifacts import framed, model_pixels
from xfm.models.features import CAPTION_TOKENS, Encoder, encode_images, encode_texts
from xfm.models.folder import Pretrained
from xfm.reports.scores import PartResult, Score
from xfm.tasks.base import AnyTask
from xfm.tasks.ranking import cosines
from xfm.world.captions import caption
from xfm.world.grammar import with_article
from xfm.world.rng import Rng
from xfm.world.scene import Scene, Split
from xfm.world.units import OBJECTS, WorkerState

PAIRS, SINGLES, BATCH = 256, 128, 64
"""Pictures of the embedded world with a caption, of one object, and of a pass."""
MEANINGS = {
    "retrieval_r1": "image-text retrieval in the embedded world, R@1 by contrast",
    "names_accuracy": "zero-shot names of its single objects",
}
"""What is measured, by the names of the metrics."""
UNCHANGED = "nothing: the encoders of pictures and texts, and their projections, are as they were"
SIDES = ("vision.", "vision_proj.", "language.", "text_proj.")


def cost_of(pretrained: Pretrained, task: AnyTask) -> tuple[str, dict[str, Score]]:
    """What a fine-tuned task cost of the model that it began with, in words; and for every metric its scores
    `METRIC` (after), `METRIC_before` and, paired, `METRIC_change`; none where nothing is measured."""
    before, after = pretrained.model.state_dict(), task.module.shared_state()
    if all(torch.equal(own.cpu(), before[name]) for name, own in after.items() if name.startswith(SIDES)):
        return UNCHANGED, {}
    if any(map(pretrained.is_untrained, ("vision_proj", "text_proj"))):
        return "not measured: the model was never trained to bring pictures and texts together", {}
    settings, shown = task.settings, pretrained.preprocessing
    device = torch.device(settings.device)
    model = copy.deepcopy(pretrained.model).to(device).eval()
    try:
        encoder = Encoder(model, pretrained.tokenizer, settings.precision, device, BATCH)
        pictures, captions, singles, kinds = world_rows()
    except UserError as error:
        return f"not measured: {error}", {}
    pixels = torch.stack([framed(picture, shown) for picture in pictures]).split(BATCH)
    texts, limit = [*captions, *map(with_article, kinds)], min(CAPTION_TOKENS, model.config.language.longest)
    named = np.array([[name == kind for kind in kinds] for name in singles])

    def right() -> list[NDArray[np.float64]]:
        images = encode_images(encoder, (model_pixels(part, shown) for part in pixels), len(pictures)).vectors
        said = encode_texts(encoder, texts, limit).vectors
        pairs, own = cosines(images[:PAIRS], said[:PAIRS]), np.eye(PAIRS, dtype=bool)
        names = cosines(images[PAIRS:], said[PAIRS:])
        return [(_first(pairs, own) + _first(pairs.T, own)) / 2, _first(names, named)]

    old = right()
    model.load_state_dict(after, strict=False)
    found, sentences = PartResult(), list[str]()
    for name, was, now, chance in zip(MEANINGS, old, right(), (1 / PAIRS, 1 / len(kinds)), strict=True):
        columns = {"": (now, chance), "_before": (was, chance), "_change": (now - was, 0.0)}
        for end, (rows, floor) in columns.items():
            found.add_rows(name + end, rows, np.arange(len(rows)), floor, settings.seed)
        one, other, change = (found.scores[name + end] for end in columns)
        told = f"{percent(other.value)} before, {percent(one.value)} after: {points(change.value)} points"
        ends = f"95 % {points(change.low or 0.0)} to {points(change.high or 0.0)}"
        sentences.append(f"{MEANINGS[name]} {told} ({ends}; n = {one.n}, chance {percent(chance)})")
    return "; ".join(sentences), found.scores


def _first(scores: Tensor, right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[Q] 1 where a right candidate is the nearest; NaN is a tie, which counts as wrong."""
    return (ranks_of_best_positive(scores.nan_to_num(-1.0).numpy(), right) == 0).astype(np.float64)


@cache
def world_rows() -> tuple[list[Tensor], list[str], list[str], list[str]]:
    """Pictures [3, 96, 96] uint8 of `PAIRS` scenes and of `SINGLES` objects, captions of the former, names of
    the latter, and the names of all kinds; always the same. UserError without the packages of the world."""
    studio, rng = WorkerState(WorldConfig(), Path()), Rng("retention")
    sampler, kinds, scenes = studio.sampler(Split.VALIDATION), studio.catalog.seen, dict[str, Scene]()
    while len(scenes) < PAIRS:
        scene = sampler.place(rng, sampler.choose(rng, rng.weighted(OBJECTS)))
        scenes.setdefault(caption(rng, scene), scene)
    single = rng.sample(kinds, SINGLES)
    shown = (*scenes.values(), *(sampler.place(rng, [kind]) for kind in single))
    pictures = [torch.from_numpy(studio.renderer.render(scene)).permute(2, 0, 1) for scene in shown]
    return pictures, [*scenes], [kind.name for kind in single], [kind.name for kind in kinds]
