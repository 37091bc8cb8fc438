"""Progress bar, JSON lines and TensorBoard of a run."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from xfm.data.schema import Batch, TensorFields
from xfm.files import read_log, write_text
from xfm.training import distributed
from xfm.training.progress import Moment
from xfm.training.schedule import ScheduleFile

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

LOG_FILE = "log.jsonl"
LogLine = Mapping[str, Any]
"""A line of `log.jsonl`."""


@dataclass
class Window:
    """Means since the last logged step, kept on the device so that no step waits for the host.

    Attributes:
        sums: running sums by name, scalars.
        counts: how many values went into each.
        samples: samples seen.
        started: clock of the window's begin, in seconds.
    """

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

    def rates(self) -> tuple[float, float]:
        """Steps a second and samples a second."""
        seconds = max(time.perf_counter() - self.started, 1e-9)
        return self.steps / seconds, self.samples / seconds


class RunLog:
    """Writes what happens to the terminal, `log.jsonl`, `schedule.csv` and TensorBoard.

    A line of `log.jsonl` is one object: `step` (steps done), `share` (of the run that is done), `loss`,
    `losses` and `metrics` by name (means since the line before), `lr`, `grad_norm`, `steps_per_s`,
    `samples_per_s`, `seconds` since the run or its continuation began; of a pre-training also `samples`, what
    became of all that was read so far, by stream (see `SampleCounts`). Lines with `event` say what else
    happened: `skipped_step`, `bad_record`, `partial_picture`, `resumed`, and `validation`, whose `losses` are
    those of `data.validation`, and `average` those with the average of the weights.
    """

    def __init__(
        self,
        folder: Path | None,
        steps: int | None,
        start: int,
        kept: Sequence[Moment] = (),
        *,
        progress: bool = True,
        tensorboard: bool = True,
    ) -> None:
        self._started = time.perf_counter()
        self._file = self._schedule = None
        self._board: SummaryWriter | None = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            drop_lines_after(folder / LOG_FILE, start)
            self._file = (folder / LOG_FILE).open("a", encoding="utf-8")
            self._schedule = ScheduleFile(folder, kept)
            self._board = _open_board(folder / "tensorboard", start) if tensorboard else None
        terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=steps,
            initial=start,
            disable=not progress,
            unit="step",
            dynamic_ncols=terminal,
            mininterval=0.5 if terminal else 30.0,
        )

    def step(
        self,
        step: int,
        window: Window,
        lr: float,
        share: float,
        samples: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
    ) -> dict[str, Any]:
        """Log the means of a window that ends with `step` steps done, and return the line."""
        means = window.means()
        steps_per_s, samples_per_s = window.rates()
        line: dict[str, Any] = {
            "step": step,
            "share": share,
            "loss": means.pop("loss", None),
            "losses": {k.removeprefix("losses/"): v for k, v in means.items() if k.startswith("losses/")},
            "metrics": {k.removeprefix("metrics/"): v for k, v in means.items() if k.startswith("metrics/")},
            "lr": lr,
            "grad_norm": means.get("grad_norm"),
            "steps_per_s": steps_per_s,
            "samples_per_s": samples_per_s,
            "seconds": time.perf_counter() - self._started,
        }
        if samples:
            line["samples"] = samples
        self._write(line)
        self._show(line)
        return line

    def event(self, step: int, event: str, message: str, *, show: bool = True, **details: Any) -> None:
        """Log something out of the ordinary, if wanted on the terminal too."""
        self._write({"step": step, "event": event, "message": message, **details})
        if show and not self._bar.disable:
            self._bar.write(message, file=sys.stderr)

    def validation(
        self, step: int, losses: Mapping[str, float], average: Mapping[str, float] | None = None
    ) -> None:
        """Log the losses of what is not trained on.

        Args:
            step: steps done.
            losses: by name, `loss` among them.
            average: likewise with the average of the weights.
        """
        kinds: dict[str, Any] = {"losses": losses} | ({} if average is None else {"average": average})
        also = "" if average is None else f", of the average of the weights {average['loss']:.4g}"
        message = f"Validation after step {step}: loss {losses['loss']:.4g}{also}"
        self.event(step, "validation", message, **kinds)
        if self._board is None:
            return
        for kind, values in kinds.items():
            for name, value in values.items():
                self._board.add_scalar(f"validation/{kind}/{name}", value, step)

    def records(self, step: int, batches: Sequence[TensorFields]) -> None:
        """Log which records of a step's batches were left out, or used in part.

        Args:
            step: steps done with these, as lines have it: a run that goes on after them logs nothing twice.
            batches: of any kind; those of pre-training know.
        """
        for batch in batches:
            for record in batch.skipped if isinstance(batch, Batch) else ():
                message = f"Bad record {record.origin} left out: {record.reason}"
                self.event(step, "bad_record", message, show=False, key=str(record.origin))
            for record in batch.partial if isinstance(batch, Batch) else ():
                message = f"Record {record.origin} used in part: {record.reason}"
                self.event(step, "partial_picture", message, show=False, key=str(record.origin))

    def decided(self, step: int, moment: Moment) -> None:
        """Keep how far the run is before a step."""
        if self._schedule is not None:
            self._schedule.write(step, moment)

    def advance(self) -> None:
        """Move the bar by one step."""
        self._bar.update()

    def close(self) -> None:
        """Finish the bar and close the files."""
        self._bar.close()
        if self._file is not None:
            self._file.close()
        if self._schedule is not None:
            self._schedule.close()
        if self._board is not None:
            self._board.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()

    def _show(self, line: Mapping[str, Any]) -> None:
        shown = {"done": line["share"], "loss": line["loss"], **line["losses"]}
        shown |= {"lr": line["lr"], "samples/s": line["samples_per_s"]}
        texts = {name: f"{value:.3g}" for name, value in shown.items() if value is not None}
        self._bar.set_postfix(texts, refresh=False)  # a log file gets a line only when the bar is due
        if self._board is None:
            return
        scalars = {"loss": line["loss"], "lr": line["lr"], "grad_norm": line["grad_norm"]}
        scalars |= {f"losses/{name}": value for name, value in line["losses"].items()}
        scalars |= {f"metrics/{name}": value for name, value in line["metrics"].items()}
        scalars["speed/samples_per_s"] = line["samples_per_s"]
        for name, value in scalars.items():
            if value is not None:
                self._board.add_scalar(name, value, line["step"])


def log_lines(path: Path) -> list[LogLine]:
    """The lines of a run's log; torn and foreign ones are left out, a missing file has none."""
    return [line for line in read_log(path) if isinstance(line.get("step"), int)]


def drop_lines_after(path: Path, step: int) -> None:
    """Cut a log back to a step, so that a continued run logs no step twice; torn and foreign lines go too."""
    if path.exists():
        lines = (json.dumps(line) + "\n" for line in log_lines(path) if line["step"] <= step)
        write_text(path, "".join(lines))


def _open_board(folder: Path, start: int) -> "SummaryWriter | None":
    """TensorBoard's writer; importing it takes over a second, and a run does not need it."""
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=start + 1 if start else None)
