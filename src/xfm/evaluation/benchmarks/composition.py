"""Benchmarks of composition: pictures and captions that differ in little, told apart without training."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfm.core.errors import UserError
from xfm.evaluation.benchmarks.evaluations import SUFFIXES, JobResult, JobSetting, zero_shot_encoder
from xfm.evaluation.benchmarks.read.readers import Corpus
from xfm.evaluation.benchmarks.registry import Benchmark
from xfm.finetuning.start import readable
from xfm.metrics.composition import CHANCES, composition_right, mean_over_kinds
from xfm.metrics.intervals import bootstrap, row_groups
from xfm.metrics.recalls import Rule
from xfm.models.artifacts import framed, model_pixels
from xfm.models.features import Encoder, encode_images, encode_texts
from xfm.reports.scores import PartResult
from xfm.tasks.images import TaskImages
from xfm.tasks.ranking import pair_scores
from xfm.tasks.retrieval import RetrievalTask
from xfm.tasks.rows import CaptionPuzzle

ShownImage = tuple[Path, tuple[int, int, int, int] | None]
"""A picture and the box of it that is shown, as in `CaptionPuzzle`."""


def evaluate_composition(
    benchmark: Benchmark, corpus: Corpus[CaptionPuzzle], setting: JobSetting
) -> JobResult:
    """Metrics of `composition_right` by matching, `_contrast` and `_rerank`, with chance and interval, of
    each split; `mean_per_class` is the mean over the kinds of cases that have one."""
    encoder, pictures = zero_shot_encoder(setting)
    setting.folder.mkdir(parents=True, exist_ok=True)
    found, seed = PartResult(), setting.recipe.settings.seed
    every = dict.fromkeys(row for rows in corpus.scored.values() for row in rows)  # splits may share cases
    cases = readable(RetrievalTask, [*every], "test", pictures, setting.left_out)
    places = {row: place for place, row in enumerate(cases)}
    scores = _scores(encoder, pictures, cases, setting)
    for split, given in corpus.scored.items():
        if not (rows := [row for row in given if row in places]):
            raise UserError(f"{split}: none of its pictures can be read; check the data folder")
        own, groups = np.array([places[row] for row in rows]), row_groups([row.key for row in rows])
        kinds = np.unique([row.kind for row in rows], return_inverse=True)[1]
        named = np.flatnonzero([bool(row.kind) for row in rows])
        for rule, by_case in scores.items():
            for metric, right in composition_right(by_case[own]).items():
                end, chance = SUFFIXES[rule], CHANCES[metric]
                near = bootstrap(right.astype(float), groups, seed)
                found.add(f"{split}/{metric}{end}", near, chance, len(rows), seed)
                if len(named):
                    mean = partial(mean_over_kinds, right[named], kinds[named])
                    near = bootstrap(mean, np.unique(groups[named], return_inverse=True)[1], seed)
                    found.add(f"{split}/mean_per_class{end}", near, chance, len(named), seed)
    return JobResult(found.scores)


def _scores(
    encoder: Encoder, pictures: TaskImages, rows: Sequence[CaptionPuzzle], setting: JobSetting
) -> dict[Rule, NDArray[np.float64]]:
    """[N, I, T] by rule. What is the same to the model is scored once: else the last digits would decide."""
    shown, said = dict[ShownImage, int](), dict[str, int]()
    pairs = [
        (shown.setdefault((path, row.box), len(shown)), said.setdefault(read, len(said)))
        for row in rows
        for path in row.images
        for read in map(encoder.tokenizer.as_caption, row.captions)
    ]
    distinct, places = np.unique(pairs, axis=0, return_inverse=True)
    pixels = _pixels(pictures, [*shown], encoder.batch_size)
    images = encode_images(encoder, pixels, len(shown), setting.folder)
    longest = setting.recipe.settings.max_tokens or encoder.model.config.language.longest
    texts = encode_texts(encoder, [*said], longest, setting.folder)
    shape = len(rows), -1, len(rows[0].captions)
    scores = pair_scores(encoder, images, texts, *distinct.T)
    return {rule: own[places.ravel()].reshape(shape) for rule, own in scores.items()}


def _pixels(pictures: TaskImages, shown: Sequence[ShownImage], size: int) -> Iterator[Tensor]:
    """Batches [B, 3, S, S] of pictures, or of what is in their boxes."""
    for start in range(0, len(shown), size):
        batch = list[Tensor]()
        for path, box in shown[start : start + size]:
            left, top, right, bottom = box or (0, 0, None, None)
            part = pictures.uint8(path, whole=True)[:, top:bottom, left:right]
            if not part.numel():
                raise UserError(f"{path}: its box {box} is empty; download the official files again")
            batch.append(framed(part, pictures.preprocessing))
        yield model_pixels(torch.stack(batch), pictures.preprocessing)
