"""Benchmarks of composition: pictures and captions that differ in little, told apart without training."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfm.core.errors import UserError, amount
from xfm.evaluation.benchmarks.evaluations import SUFFIXES, JobResult, JobSetting, zero_shot_encoder
from xfm.evaluation.benchmarks.read.readers import Corpus
from xfm.evaluation.benchmarks.registry import Benchmark
from xfm.finetuning.start import readable
from xfm.metrics.composition import CHANCES, composition_right, mean_over_kinds
from xfm.metrics.intervals import bootstrap, row_groups
from xfm.metrics.recalls import Rule
from xfm.models.artifacts import framed, model_pixels
from xfm.models.features import Encoder, encode_images, encode_texts
from xfm.reports.scores import Score
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
    each split and of the groups in it; `mean_per_class` is the mean over the kinds of cases that have one."""
    encoder, pictures = zero_shot_encoder(setting)
    setting.folder.mkdir(parents=True, exist_ok=True)
    found, seed = JobResult(), setting.recipe.settings.seed
    for split, given in corpus.scored.items():
        rows = readable(RetrievalTask, given, split, pictures, setting.left_out)
        scores, alike = _scores(encoder, pictures, rows, setting)
        if alike:
            found.details[f"{split}_read_alike"] = alike
            said = f"{amount(alike, 'case')} of {split} whose captions have the same tokens to the model"
            print(f"{benchmark.name}: {said} cannot be right by any score", flush=True)
        groups = {split: np.arange(len(rows))}
        for name in dict.fromkeys(name for row in rows for name in row.groups):
            groups[name] = np.array([place for place, row in enumerate(rows) if name in row.groups])
        names, kinds = np.unique([row.kind for row in rows], return_inverse=True)
        named = np.flatnonzero(names[kinds] != "")
        for rule, by_case in scores.items():
            for metric, right in composition_right(by_case).items():
                values = {f"{name}/{metric}": (own, right[own].astype(float)) for name, own in groups.items()}
                mean = partial(mean_over_kinds, right[named], kinds[named])
                means = {f"{split}/mean_per_class": (named, mean)} if len(named) else {}
                for key, (cases, value) in {**values, **means}.items():
                    near = bootstrap(value, row_groups([rows[one].key for one in cases]), seed)
                    found.scores[f"{key}{SUFFIXES[rule]}"] = Score(
                        near.value, CHANCES[metric], None, len(cases), seed, near.low, near.high
                    )
    return found


def _scores(
    encoder: Encoder, pictures: TaskImages, rows: Sequence[CaptionPuzzle], setting: JobSetting
) -> tuple[dict[Rule, NDArray[np.float64]], int]:
    """[N, I, T] by rule, NaN of cases in which two captions have the same tokens, and the number of these."""
    shown, said = dict[ShownImage, int](), dict[str, int]()
    pairs = [
        (shown.setdefault((path, row.box), len(shown)), said.setdefault(caption, len(said)))
        for row in rows
        for path in row.images
        for caption in row.captions
    ]
    longest = setting.recipe.settings.max_tokens or encoder.model.config.language.longest
    read = encoder.tokenizer.encode_lists([encoder.tokenizer.as_caption(one) for one in said], longest)
    distinct = [len({tuple(read[said[one]][0]) for one in row.captions}) for row in rows]
    pixels = _pixels(pictures, [*shown], encoder.batch_size)
    images = encode_images(encoder, pixels, len(shown), setting.folder)
    texts = encode_texts(encoder, [*said], longest, setting.folder)
    alike = np.array(distinct) < (each := len(rows[0].captions))
    scores = pair_scores(encoder, images, texts, *np.array(pairs).T).items()
    unsaid = np.where(alike, np.nan, 0.0)[:, None, None]  # else the last digits of a tie would decide
    return {rule: own.reshape(len(rows), -1, each) + unsaid for rule, own in scores}, int(alike.sum())


def _pixels(pictures: TaskImages, shown: Sequence[ShownImage], size: int) -> Iterator[Tensor]:
    """Batches [B, 3, S, S] of pictures, or of what is in their boxes."""
    for start in range(0, len(shown), size):
        batch = list[Tensor]()
        for path, box in shown[start : start + size]:
            if box is None:
                batch.append(pictures.uint8(path))
                continue
            whole = pictures.uint8(path, whole=True)
            ends = 2 * (whole.shape[2], whole.shape[1])
            left, top, right, bottom = (min(max(0, side), end) for side, end in zip(box, ends, strict=True))
            if left >= right or top >= bottom:
                raise UserError(f"{path}: its box {box} is empty; download the official files again")
            batch.append(framed(whole[:, top:bottom, left:right], pictures.preprocessing))
        yield model_pixels(torch.stack(batch), pictures.preprocessing)
