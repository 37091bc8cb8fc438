"""What a fine-tuning cost of what the model could before: retrieval by contrast, and the names of objects.

The rows are scenes of the embedded world that no training has seen, the same for every model; of tasks of
pictures with captions their own validation rows, too.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfm.config.world import WorldConfig
from xfm.core.errors import UserError
from xfm.metrics.numbers import percent, points
from xfm.metrics.recalls import ranks_of_best_positive
from xfm.models.artifacts import framed, model_pixels
from xfm.models.features import CAPTION_TOKENS, Encoder, encode_texts, image_features
from xfm.models.folder import Pretrained
from xfm.reports.scores import PartResult, Score
from xfm.tasks.base import AnyTask
from xfm.tasks.captioning import DescribedTask
from xfm.tasks.ranking import cosines
from xfm.tasks.retrieval import right_pairs
from xfm.world.captions import caption
from xfm.world.grammar import with_article
from xfm.world.rng import Rng
from xfm.world.scene import Scene, Split
from xfm.world.units import OBJECTS, WorkerState

PAIRS, SINGLES, FEWEST, BATCH = 256, 128, 20, 64
"""Pictures of the embedded world with a caption, and of one object; own pairs at least (at most as many as of
the world); and pictures of a pass."""
MEANINGS = {
    "retrieval_r1": "image-text retrieval in the embedded world, R@1 by contrast",
    "names_accuracy": "zero-shot names of its single objects",
    "own_retrieval_r1": "image-text retrieval among the validation rows, R@1 by contrast",
}
"""What is measured, by the names of the metrics."""
UNCHANGED = "nothing: the encoders of pictures and texts, and their projections, are as they were"
_SIDES = ("vision.", "vision_proj."), ("language.", "text_proj.")


class RetentionTest:
    """A model beside itself as a fine-tuning leaves it; `valid` are the task's validation rows. Nothing is
    drawn or encoded before something has changed, and what has not is encoded once."""

    def __init__(self, pretrained: Pretrained, task: AnyTask, valid: Sequence[Any]) -> None:
        self.before = pretrained.model.state_dict()
        self._pretrained, self._task, self._valid = pretrained, task, valid
        self._known: tuple[Tensor, Tensor] | None = None  # vectors, before

    def measure(self, state: Mapping[str, Tensor]) -> tuple[str, dict[str, Score]]:
        """What `state`, tensors by their names in `Backbone`, cost, in words; and for every metric its scores
        `METRIC` (after), `METRIC_before` and, paired, `METRIC_change`; none where nothing is measured."""
        changed = [name for name, own in state.items() if not torch.equal(own.cpu(), self.before[name])]
        seen, read = (any(name.startswith(side) for name in changed) for side in _SIDES)
        if self._known is None and not (seen or read):
            return UNCHANGED, {}
        try:
            self._known = self._known or self._prepare()
        except UserError as error:
            return f"not measured: {error}", {}
        self._encoder.model.load_state_dict(state, strict=False)
        before, after = self._right(self._known), self._right(self._encode(self._known, seen, read))
        found, said = PartResult(), list[str]()
        for name, (_, _, right) in self._parts.items():
            old, new, chance = before[name], after[name], float(right.mean())
            columns = {"": (new, chance), "_before": (old, chance), "_change": (new - old, 0.0)}
            for end, (values, floor) in columns.items():
                found.add_rows(name + end, values, np.arange(len(right)), floor, self._task.settings.seed)
            now, was, change = (found.scores[name + end] for end in columns)
            ends = f"95 % {points(change.low or 0.0)} to {points(change.high or 0.0)}"
            told = f"{percent(was.value)} before, {percent(now.value)} after: {points(change.value)} points"
            said.append(f"{MEANINGS[name]} {told} ({ends}; n = {now.n}, chance {percent(chance)})")
        return "; ".join(said), found.scores

    def _prepare(self) -> tuple[Tensor, Tensor]:
        pretrained, settings = self._pretrained, self._task.settings
        if any(map(pretrained.is_untrained, ("vision_proj", "text_proj"))):
            raise UserError("the model was never trained to bring pictures and texts together")
        tokenizer, (pictures, captions, singles, kinds) = pretrained.tokenizer, world_rows()
        named = np.array([[name == kind for kind in kinds] for name in singles])
        parts = [(0, 0, np.eye(PAIRS, dtype=bool)), (PAIRS, PAIRS, named)]
        seen = [framed(picture, pretrained.preprocessing) for picture in pictures]
        said = [*captions, *map(with_article, kinds)]
        valid = self._valid[:PAIRS] if isinstance(self._task, DescribedTask) else ()
        own = [replace(row, captions=row.captions[:1]) for row in valid]
        if len(own) >= FEWEST:
            parts.append((len(seen), len(said), right_pairs(own).toarray()))
            seen += [self._task.pictures.uint8(row.image) for row in own]
            said += [row.captions[0] for row in own]
        self._parts = dict(zip(MEANINGS, parts, strict=False))
        self._seen, self._said, device = torch.stack(seen), said, torch.device(settings.device)
        model = copy.deepcopy(pretrained.model).to(device).eval()
        self._encoder = Encoder(model, tokenizer, settings.precision, device, BATCH)
        return self._encode((torch.empty(0), torch.empty(0)), True, True)

    @torch.inference_mode()
    def _encode(self, known: tuple[Tensor, Tensor], seen: bool, read: bool) -> tuple[Tensor, Tensor]:
        """Unit vectors of pictures [N, E], anew if `seen`, and of texts [R, E], anew if `read`."""
        encoder, (images, texts) = self._encoder, known
        model, shown = encoder.model, self._pretrained.preprocessing
        if seen:
            batches = (model_pixels(part, shown) for part in self._seen.split(BATCH))
            features = torch.from_numpy(image_features(encoder, batches, len(self._seen)))
            images = model.project_image(features.to(encoder.device)).cpu()
        if read:
            limit = min(CAPTION_TOKENS, model.config.language.longest)
            texts = encode_texts(encoder, self._said, limit).vectors
        return images, texts

    def _right(self, vectors: tuple[Tensor, Tensor]) -> dict[str, NDArray[np.float64]]:
        """[I] whether a picture's nearest text is right, by metric; of as many texts as pictures the mean of
        that and of whether a text's nearest picture is."""
        found, (images, texts) = dict[str, NDArray[np.float64]](), vectors
        for name, (picture, text, right) in self._parts.items():
            count, candidates = right.shape
            pair = images[picture : picture + count], texts[text : text + candidates]
            scores = cosines(*pair).nan_to_num(-1.0).numpy()  # a tie, which counts as wrong
            ranks = [ranks_of_best_positive(scores, right)]
            if count == candidates:
                ranks.append(ranks_of_best_positive(scores.T, right.T))
            found[name] = np.mean([own == 0 for own in ranks], axis=0)
        return found


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
