"""Pre-training batches through torch's DataLoader: in order, restartable anywhere, whatever the workers."""

import contextlib
import logging
import math
from collections.abc import Generator, Sequence
from dataclasses import replace

import torch

from xfm.config.data import DataConfig, Order, StreamConfig
from xfm.config.typed import MAX_BATCH
from xfm.core.errors import UserError
from xfm.data.builder import BatchBuilder
from xfm.data.image_cache import ImageCache
from xfm.data.mixture import Mixture, RunOrder
from xfm.data.records import SampleKind
from xfm.data.rng import mix
from xfm.data.schema import BadRecord, Batch
from xfm.data.sources import open_source
from xfm.data.sources.plain_files import FolderSource
from xfm.data.streams import CorpusStream, RecordTally
from xfm.data.tokenizer import Tokenizer
from xfm.data.transforms import CLIP, Normalisation, normalise
from xfm.data.workers import load_steps

_log = logging.getLogger(__name__)


class PretrainingData:
    """The pre-training batches of one process: its share of the global batch. The batch of a step is a pure
    function of (config, seed, step): positions step * batch_size + i of each stream; ranks take neighbouring
    shares. So a run may resume at any step, with any ranks and workers, and sees the samples that were still
    to come. Raises UserError when a corpus or the tokenizer is broken, or a setting cannot be met."""

    def __init__(
        self,
        config: DataConfig,
        image_size: int,
        patch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        normalisation: Normalisation = CLIP,
        cache: ImageCache | None = None,
        written: bool = False,
    ) -> None:
        self.config = config
        self._normalisation = normalisation
        self.tokenizer = Tokenizer.load(config.tokenizer, written)
        self._streams = streams = [
            replace(_open_stream(SampleKind(name), setting, seed, config), cache=cache)
            for name, setting in config.streams.items()
            if setting.batch_size
        ]
        if not streams:
            raise UserError("Every batch size of the data is 0: set data.text.batch_size or another one.")
        _check_sizes(config, streams, world, image_size // patch_size)
        self.sizes = {s.kind.value: sum(s.mixture.sizes) for s in streams}
        """Records of each stream."""
        self.bad: dict[str, BadRecord] = {}
        """Bad records met so far, by origin."""
        sources = [source for stream in streams for source in stream.sources]
        self.reports = [s.report for s in sources if isinstance(s, FolderSource) and s.report]
        """What folders of pictures hold besides them."""
        self._builder = BatchBuilder(config, streams, self.tokenizer, image_size, patch_size, rank, world)

    def batches(
        self, start: int, stop: int, device: torch.device | str | None = None
    ) -> Generator[Batch, None, None]:
        """The batches of steps start..stop-1 in order, on `device`: pixels travel as bytes and are normalised
        there. Raises UserError when too many records are bad, or a loader process dies or hangs."""
        pin = device is not None and torch.device(device).type == "cuda"
        loaded = load_steps(self._builder, range(start, stop), self.config.workers, self.config.timeout, pin)
        with contextlib.closing(loaded):
            for found in loaded:
                self._note(found.skipped)
                if isinstance(found, RecordTally):
                    raise _unusable(found)
                batch = found if device is None else found.to(device)
                shown = {"image": batch.image, "pair": batch.pair, "region": batch.region}
                parts = {
                    name: replace(part, pixels=normalise(part.pixels, self._normalisation))
                    for name, part in shown.items()
                    if part is not None
                }
                yield replace(batch, **parts)

    def _note(self, skipped: Sequence[BadRecord]) -> None:
        for bad in skipped:
            if str(bad.origin) in self.bad:
                continue
            self.bad[str(bad.origin)] = bad
            _log.warning("skipped %s: %s", bad.origin, bad.reason)
            if len(self.bad) > self.config.max_bad:
                told = f"{bad.origin} ({bad.reason}): mend or remove them, or raise data.max_bad"
                many = f"{len(self.bad)} bad records, more than data.max_bad={self.config.max_bad} allows"
                raise UserError(f"{many}; the last is {told}.")


def _unusable(met: RecordTally) -> UserError:
    if met.regionless:
        count = met.regionless + len(met.skipped)
        why = f'the field "regions" of {met.regionless} is empty or absent, and data.caption_rows is false'
        told = "check the field names, name corpora with regions, or set it to true"
        return UserError(f"None of {count} records of data.region can be used: {why}; {told}.")
    last = met.skipped[-1]
    told = f"{len(met.skipped)} records in a row are bad; the last is {last.origin} ({last.reason})"
    return UserError(f"All of {told}: mend or remove them, or check the field names.")


def _open_stream(kind: SampleKind, setting: StreamConfig, seed: int, config: DataConfig) -> CorpusStream:
    name = f"data.{kind}"
    if not 0 <= setting.batch_size <= MAX_BATCH:
        raise UserError(f"{name}.batch_size is {setting.batch_size}: give 0 (leave it out) to {MAX_BATCH}.")
    if not setting.corpora:
        raise UserError(f"{name}.batch_size is {setting.batch_size} but {name}.corpora is empty: name one.")
    for corpus in setting.corpora:
        if not 0 < corpus.weight < math.inf:
            raise UserError(f"{name}.corpora: {corpus.path} has weight {corpus.weight}: give one above 0.")
    sources = [open_source(corpus.path, kind, remote=config.remote) for corpus in setting.corpora]
    for corpus, source in zip(setting.corpora, sources, strict=True):
        if len(source) % corpus.group:
            told = f"{len(source)} records, which is no multiple of its group {corpus.group}"
            raise UserError(f"{name}.corpora: {corpus.path} has {told}: give 1 where none belong together.")
    if setting.batch_size % setting.group:
        told = f"{setting.group} records of its corpora belong together: give a multiple"
        raise UserError(f"{name}.batch_size is {setting.batch_size}, but {told}.")
    weights, key = [corpus.weight for corpus in setting.corpora], mix(seed, kind.number)
    runs = [RunOrder(c.run, c.window) if c.order is Order.RUNS else None for c in setting.corpora]
    groups = [corpus.group for corpus in setting.corpora]
    mixture = Mixture([len(source) for source in sources], weights, key, groups, runs)
    needs_regions = kind is SampleKind.REGION and not config.caption_rows
    rules = setting.augmentation, seed, config.max_bad + 1, needs_regions
    return CorpusStream(kind, setting.batch_size, sources, mixture, *rules)


def _check_sizes(config: DataConfig, streams: Sequence[CorpusStream], world: int, grid: int) -> None:
    """Refuse batches of which a process would get nothing, and wait for ever, and more masks than patches."""
    for stream in streams:
        if stream.batch_size >= world * stream.mixture.group:
            continue
        groups = "" if stream.mixture.group == 1 else f" in groups of {stream.mixture.group}"
        raise UserError(
            f"data.{stream.kind}.batch_size is {stream.batch_size}{groups}, which {world} processes "
            f"cannot share (it counts the samples of all of them): give at least "
            f"{world * stream.mixture.group}, in the phases of the curriculum too, or start fewer."
        )
    masked = {SampleKind.IMAGE, *([SampleKind.PAIR] if config.patch_mask.on_pairs else [])}
    if config.patch_mask.patches > grid * grid and any(s.kind in masked for s in streams):
        count = config.patch_mask.patches
        raise UserError(f"data.patch_mask.patches is {count}, but a picture has {grid * grid} at most.")
