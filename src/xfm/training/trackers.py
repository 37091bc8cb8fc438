"""Experiment trackers: where config, curves, scores and report of a run go besides its own files.

A tracker is a run in a service, and belongs to a folder: training that goes on there goes on in the same run.
Where a service is, and whether it works offline, its own environment says (`WANDB_MODE`,
`MLFLOW_TRACKING_URI`, `TRACKIO_DIR`, ...).
"""

import json
import secrets
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from tqdm import tqdm

from xfm.config.training import ReportTo
from xfm.core.errors import explained, first_line, import_extra
from xfm.core.files import read_json_or_nothing, write_text

PROJECT = "xfm"
FILE = "trackers.json"
"""In the folder of a run: the names of its runs in the services."""


class Tracker(ABC):
    """A run in a service, begun, or with its `key` continued, after `start` steps."""

    def __init__(self, folder: Path, key: str, config: Mapping[str, Any], start: int) -> None:
        self.name, self.start = folder.resolve().name, start
        self.key = key or f"{self.name}-{secrets.token_hex(4)}"
        self.begin(folder, not key, dict(config))

    @abstractmethod
    def begin(self, folder: Path, new: bool, config: dict[str, Any]) -> None:
        """Begin the run, or go on with it; a service that names runs itself sets `key`."""

    @abstractmethod
    def log(self, scalars: Mapping[str, float], step: int) -> None:
        """Add a point to each curve."""

    @abstractmethod
    def attach(self, report: Path) -> None:
        """Keep an HTML page."""

    def finish(self, scores: Mapping[str, float], report: Path) -> None:
        """Keep final scores, the page where there is one, and close."""
        self.log({f"scores/{name}": value for name, value in scores.items()}, self.start)
        if report.exists():
            self.attach(report)
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Send what is left."""


class _TensorBoard(Tracker):
    """Files in `tensorboard/`; of the report the path."""

    def begin(self, folder: Path, new: bool, config: dict[str, Any]) -> None:
        board = import_extra("torch.utils.tensorboard.writer", "--report-to tensorboard", "tensorboard")
        purge = self.start + 1 if self.start else None
        self._writer = board.SummaryWriter(str(folder / "tensorboard"), purge_step=purge)
        if new:
            self._writer.add_text("config", f"```\n{json.dumps(config, indent=1)}\n```")

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)

    def attach(self, report: Path) -> None:
        self._writer.add_text("report", str(report))

    def close(self) -> None:
        self._writer.close()


class _Wandb(Tracker):
    module: ClassVar[str] = "wandb"

    def begin(self, folder: Path, new: bool, config: dict[str, Any]) -> None:
        self._service = import_extra(self.module, f"--report-to {self.module}")
        self._run = self._service.init(project=PROJECT, config=config, resume="allow", **self.place(folder))

    def place(self, folder: Path) -> dict[str, Any]:
        return {"dir": str(folder), "id": self.key, "name": self.name}

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        self._run.log(dict(scalars), step=step)

    def attach(self, report: Path) -> None:
        self._run.log({"report": self._service.Html(str(report))}, step=self.start)

    def close(self) -> None:
        self._run.finish()


class _Trackio(_Wandb):
    """Trackio, whose interface is that of Weights & Biases."""

    module = "trackio"

    def place(self, folder: Path) -> dict[str, Any]:
        return {"name": self.key, "embed": False}


class _Mlflow(Tracker):
    def begin(self, folder: Path, new: bool, config: dict[str, Any]) -> None:
        self._client = import_extra("mlflow", "--report-to mlflow").MlflowClient()
        if new:
            found = self._client.get_experiment_by_name(PROJECT)
            experiment = found.experiment_id if found else self._client.create_experiment(PROJECT)
            self.key = self._client.create_run(experiment, run_name=self.name).info.run_id
            self._client.log_dict(self.key, config, "config.json")

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        for name, value in scalars.items():
            self._client.log_metric(self.key, name, value, step=step)

    def attach(self, report: Path) -> None:
        self._client.log_artifact(self.key, str(report))

    def close(self) -> None:
        self._client.set_terminated(self.key)


TRACKERS: Mapping[ReportTo, type[Tracker]] = MappingProxyType(
    {
        ReportTo.TENSORBOARD: _TensorBoard,
        ReportTo.WANDB: _Wandb,
        ReportTo.MLFLOW: _Mlflow,
        ReportTo.TRACKIO: _Trackio,
    }
)


class Trackers:
    """The runs of a folder in the chosen services, begun, or after `start` steps continued. UserError: a
    package is missing, or a service begins no run. One that fails later is left, which is said, and the
    training goes on."""

    def __init__(
        self, chosen: Sequence[ReportTo], folder: Path, config: Mapping[str, Any], start: int = 0
    ) -> None:
        held = read_json_or_nothing(folder / FILE) if start else {}
        self._open = dict[ReportTo, Tracker]()
        for name in chosen:
            remedy = "see that the service answers, or leave it out"
            with explained(f"--report-to {name} begins no run", remedy):
                self._open[name] = TRACKERS[name](folder, held.get(name.value, ""), config, start)
        if chosen:
            keys = {name.value: tracker.key for name, tracker in self._open.items()}
            write_text(folder / FILE, json.dumps(held | keys, indent=1) + "\n")

    def close(self) -> None:
        """Send what is left."""
        self.each(lambda tracker: tracker.close())

    def each(self, act: Callable[[Tracker], None]) -> None:
        """Do something with each run."""
        for name, tracker in [*self._open.items()]:
            try:
                act(tracker)
            except Exception as error:
                del self._open[name]
                tqdm.write(f"--report-to {name} gets no more of this run: {first_line(error)}", sys.stderr)
