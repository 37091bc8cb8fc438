"""Trackers for real, offline: what their own readers find of a fine-tuning and of a training that went on."""

import json
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from tests.finetuning.conftest import SHORT, TEXTS, on_sample
from tests.training.support import config, run_line
from xfm.config.training import ReportTo
from xfm.training.trackers import FILE

Found = tuple[dict[str, list[int]], str, str]
"""Steps of each curve, the configuration and the report as texts."""
os.environ["TRACKIO_DIR"] = mkdtemp()  # read when it is imported
ACCURACY = "scores/text-classification/test/accuracy"


def tensorboard(out: Path, key: str) -> Found:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    curves = {name: [e.step for e in events.Scalars(name)] for name in events.Tags()["scalars"]}
    told = {
        tag: events.Tensors(f"{tag}/text_summary")[0].tensor_proto.string_val[0].decode()
        for tag in ("config", "report")
        if f"{tag}/text_summary" in events.Tags()["tensors"]
    }
    page = Path(told["report"]).read_text() if "report" in told else ""
    return curves, told["config"], page


def wandb_records(file: Path) -> Iterator[bytes]:
    """Of LevelDB's log: blocks of 32 KiB; parts of records: checksum, length, kind (whole, first, ...)."""
    data, place, whole = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if (left := -place % 32768) and left < 7:
            place += left
            continue
        size, kind = struct.unpack_from("<HB", data, place + 4)
        whole += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):
            yield whole
            whole = b""


def wandb(out: Path, key: str) -> Found:
    from wandb import teardown
    from wandb.proto.wandb_internal_pb2 import Record

    teardown()  # its service writes files after finish() has returned
    curves, settings = dict[str, list[int]](), ""
    for file in sorted(out.glob(f"wandb/offline-run-*-{key}/*.wandb")):
        for data in wandb_records(file):
            (record := Record()).ParseFromString(data)
            settings += str(record.run.config) if record.HasField("run") else ""
            for item in record.history.item if record.HasField("history") else ():
                name = item.key or "/".join(item.nested_key)
                curves.setdefault(name, []).append(record.history.step.num)
    pages = [*out.glob("wandb/*/files/media/html/*.html")]
    return curves, settings, pages[0].read_text() if pages else ""


def mlflow(out: Path, key: str) -> Found:
    from mlflow import MlflowClient

    client = MlflowClient()
    names = client.get_run(key).data.metrics
    curves = {name: [point.step for point in client.get_metric_history(key, name)] for name in names}
    kept = {one.path: Path(client.download_artifacts(key, one.path)) for one in client.list_artifacts(key)}
    page = kept["report.html"].read_text() if "report.html" in kept else ""
    return curves, kept["config.json"].read_text(), page


def trackio(out: Path, key: str) -> Found:
    from trackio.sqlite_storage import SQLiteStorage
    from trackio.utils import TRACKIO_DIR

    curves = dict[str, list[int]]()
    for line in SQLiteStorage.get_logs("xfm", key):
        for name in line:
            curves.setdefault(name, []).append(line["step"])
    pages = [*TRACKIO_DIR.glob(f"media/xfm/{key}/**/*.html")]
    settings = json.dumps(SQLiteStorage.get_run_config("xfm", key))
    return curves, settings, pages[0].read_text() if pages else ""


READERS = dict(zip(ReportTo, (tensorboard, wandb, mlflow, trackio), strict=True))


@pytest.fixture(params=ReportTo, ids=str)
def tracker(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReportTo:
    pytest.importorskip(request.param.value)
    if request.param is ReportTo.MLFLOW:
        pytest.importorskip("sqlalchemy")
    monkeypatch.chdir(tmp_path)  # MLflow puts artifacts there
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return request.param


def found(tracker: ReportTo, out: Path) -> Found:
    return READERS[tracker](out, json.loads((out / FILE).read_text())[tracker.value])


def test_a_fine_tuning_appears(tracker: ReportTo, model: Path, tmp_path: Path) -> None:
    on_sample(TEXTS, model, out := tmp_path / "run", replace(SHORT, report_to=[tracker]))
    curves, settings, report = found(tracker, out)
    assert curves["loss"] == curves["lr"] == [1, 2, 3, 4, 5, 6]
    assert curves[ACCURACY] == [6]
    assert "evaluate_every" in settings
    assert report.rstrip().endswith("</html>")


def test_a_training_goes_on_in_its_run(tracker: ReportTo, tmp_path: Path) -> None:
    training = config(4, report_to=[tracker], save_every=1)
    run_line(tmp_path / "run", training, finished=lambda step: step >= 2)
    time.sleep(1.1)  # W&B's folders are named by the second
    run_line(tmp_path / "run", training, resume=True)
    curves, settings, _ = found(tracker, tmp_path / "run")
    assert curves["loss"] == [1, 2, 3, 4]
    assert "warmup" in settings
