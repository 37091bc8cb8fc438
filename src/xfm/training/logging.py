"""Progress bar, JSON lines and experiment trackers of a run."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from xfm.core.files import read_log, write_text
from xfm.data.schema import Batch
from xfm.training import distributed
from xfm.training.callbacks import Callback, StepOutput
from xfm.training.clock import ClockState, open_schedule, schedule_line
from xfm.training.run_folder import LOG_FILE
from xfm.training.trackers import Trackers
from xfm.training.trainer import Trainer

LogLine = Mapping[str, Any]
"""A line of `log.jsonl`."""
HIDDEN = frozenset({"bad_record"})
"""Events that are too many for the terminal."""


@dataclass
class Window:
    """Sums since the last logged line, kept on the device so that no step waits for the host."""

    sums: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    samples: int = 0
    steps: int = 0
    started: float = field(default_factory=time.perf_counter)

    def add(self, values: Mapping[str, Tensor], factor: Tensor | float = 1.0) -> None:
        """Add scalars of one batch, times what the batch counts for: 1 in the mean over all."""
        for name, value in values.items():
            value = value.detach().double().reshape(()) * factor
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.counts[name] = self.counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """The means by name, over all processes."""
        if not self.sums:
            return {}
        sums = distributed.mean(torch.stack(list(self.sums.values()))).tolist()
        return {name: total / self.counts[name] for name, total in zip(self.sums, sums, strict=True)}


class RunLog(Callback):
    """Writes the terminal's lines, `log.jsonl`, `schedule.csv` and to trackers. A line of `log.jsonl`
    has `step`, `share`, means of `loss`, `losses` and `metrics`, `lr`, `grad_norm`, `steps_per_s`,
    `samples_per_s`, `seconds`, and in pre-training `samples` (`SampleCounts`); lines with `event` say what
    else happened."""

    def __init__(self, progress: bool = True) -> None:
        self._progress = progress
        self._trackers: Trackers | None = None
        self._started, self._window, self._lr = time.perf_counter(), Window(), 0.0
        self._file = self._schedule = None
        self._bar = tqdm(disable=True)
        self._bad = list[tuple[int, str, str, str]]()

    def open(
        self, folder: Path | None, steps: int | None, start: int, kept: Sequence[ClockState] = ()
    ) -> None:
        """Begin, or go on after `start` steps and cut what is later; `kept` are the moments so far."""
        self._started = time.perf_counter()
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            drop_lines_after(folder / LOG_FILE, start)
            self._file = (folder / LOG_FILE).open("a", encoding="utf-8")
            self._schedule = open_schedule(folder, kept)
        terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=steps,
            initial=start,
            disable=not self._progress,
            unit="step",
            dynamic_ncols=terminal,
            mininterval=0.5 if terminal else 30.0,
        )
        self._window = Window()

    def on_begin(self, trainer: Trainer[Any]) -> None:
        """Open bar and files, on the first process."""
        first = distributed.rank() == 0
        self._progress = self._progress and first
        folder = trainer.folder if first else None
        self.open(folder and folder.path, trainer.clock.steps, trainer.step, trainer.kept)
        if folder is not None:
            self._trackers = Trackers(trainer.config.report_to, folder.path, folder.settings, trainer.step)
        if (file := self._schedule) is not None:
            trainer.clock.keep = lambda step, moment: print(schedule_line(step, moment), end="", file=file)

    def on_step(self, trainer: Trainer[Any], output: StepOutput) -> None:
        """Log bad records and, every `config.log_every` steps, the means since the last line and the bad
        records of other processes."""
        self._bad += [
            (trainer.step, "bad_record", f"Bad record {one.origin} left out: {one.reason}", str(one.origin))
            for batch in output.batches
            if isinstance(batch, Batch)
            for one in batch.skipped
        ]
        if distributed.rank() == 0:
            self._write_bad()
        self._bar.update()
        if not output.skipped:
            window = self._window
            for result, scale in zip(output.losses, output.scales, strict=True):
                window.add({"loss": result.total}, scale)
                window.add({f"losses/{name}": value for name, value in result.terms.items()}, scale)
                window.add({f"metrics/{name}": value for name, value in result.metrics.items()}, scale)
            window.add({"grad_norm": output.grad_norm})
            window.samples += output.samples
            window.steps += 1
        self._lr = output.lr
        if trainer.step % trainer.config.log_every == 0 or trainer.ended or trainer.stopping:
            self._line(trainer)

    def on_end(self, trainer: Trainer[Any]) -> None:
        """Log what a run has done since the last line that is stopped while it waits for data."""
        if trainer.stopping:
            self._line(trainer)

    def _line(self, trainer: Trainer[Any]) -> None:
        if not self._window.steps:
            return
        window, self._window = self._window, Window()
        window.samples = sum(distributed.collect(window.samples))
        self._bad = [*chain.from_iterable(distributed.collect(self._bad))]
        self._write_bad()
        share, means = trainer.clock.at(trainer.step).share, window.means()
        seconds = max(time.perf_counter() - window.started, 1e-9)
        line: dict[str, Any] = {
            "step": trainer.step,
            "share": share,
            "loss": means.pop("loss", None),
            "losses": {k.removeprefix("losses/"): v for k, v in means.items() if k.startswith("losses/")},
            "metrics": {k.removeprefix("metrics/"): v for k, v in means.items() if k.startswith("metrics/")},
            "lr": self._lr,
            "grad_norm": means.get("grad_norm"),
            "steps_per_s": window.steps / seconds,
            "samples_per_s": window.samples / seconds,
            "seconds": time.perf_counter() - self._started,
        }
        if samples := trainer.samples.totals():
            line["samples"] = samples
        self._write(line)
        shown = {"done": share, "loss": line["loss"], **line["losses"], "lr": self._lr}
        shown["samples/s"] = line["samples_per_s"]
        texts = {name: f"{value:.3g}" for name, value in shown.items() if value is not None}
        self._bar.set_postfix(texts, refresh=False)  # a log file gets a line only when the bar is due
        scalars = {name: line[name] for name in ("loss", "lr", "grad_norm") if line[name] is not None}
        scalars |= {name: value for name, value in means.items() if "/" in name}
        self._draw(trainer.step, scalars | {"speed/samples_per_s": line["samples_per_s"]})
        trainer.last = line

    def _draw(self, step: int, scalars: Mapping[str, float]) -> None:
        if self._trackers is not None:
            self._trackers.each(lambda tracker: tracker.log(scalars, step))

    def on_event(
        self, step: int, event: str, message: str, details: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        """Log it, show it unless it is about one record, and draw the numbers of a validation."""
        self._write({"step": step, "event": event, "message": message, **details})
        if event not in HIDDEN and not self._bar.disable:
            self._bar.write(message, file=sys.stderr)
        for kind, values in details.items() if event == "validation" else ():
            self._draw(step, {f"validation/{kind}/{name}": value for name, value in values.items()})

    def close(self) -> None:
        """Finish the bar and close the files."""
        for part in (self._bar, self._file, self._schedule, self._trackers):
            if part is not None:
                part.close()

    def _write_bad(self) -> None:
        for step, event, message, key in self._bad:
            self.on_event(step, event, message, {"key": key})
        self._bad = []

    def _write(self, line: Mapping[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()


def log_lines(path: Path) -> list[LogLine]:
    """The lines of a run's log; torn and foreign ones are left out, a missing file has none."""
    return [line for line in read_log(path) if isinstance(line.get("step"), int)]


def drop_lines_after(path: Path, step: int) -> None:
    """Cut a log back to a step, so that a continued run logs no step twice; torn and foreign lines go too."""
    if path.exists():
        lines = (json.dumps(line) + "\n" for line in log_lines(path) if line["step"] <= step)
        write_text(path, "".join(lines))
