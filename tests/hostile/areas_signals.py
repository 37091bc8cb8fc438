"""Signals at various moments, killed workers, and two commands in one folder."""

import signal
import subprocess
import time
from collections.abc import Callable

from tests.hostile.running import Watched, interrupt
from tests.hostile.situation import Situation

TUNE = "finetune text-classification --model {model} --train {rows} --steps 4000 --out out"
EXPORT = "export {apart}/model out --format merged"
PRETRAIN = "pretrain --recipe {recipe} --out out --training.steps 4000 --training.save_every 4000"
PREPARE = "prepare --out out --scale 0.1 --workers 2"
MANY = {"in.jsonl": '{"text": "a red circle"}\n' * 60_000}
PREDICT = "predict text-classification --model {tuned}/model --input in.jsonl --out out.jsonl"
# A signal that ends a command without its doing is shown by the shell as 128 + its number.
ENDED = (0, 2, 130, -signal.SIGTERM)


def after(seconds: float, number: int, group: bool = True) -> Callable[[Watched], None]:
    def act(running: Watched) -> None:
        running.wait_until(lambda: False, seconds)
        running.signal(number, group)

    return act


def when(name: str, number: int, group: bool = True, wait: float = 0.5) -> Callable[[Watched], None]:
    def act(running: Watched) -> None:
        running.wait_until(running.has(name), 90)
        running.wait_until(lambda: False, wait)
        running.signal(number, group)

    return act


def kill_worker(running: Watched) -> None:
    running.wait_until(lambda: running.has("out/log.jsonl")() and len(running.family()) > 1, 90)
    running.wait_until(lambda: False, 1.0)
    for one in running.family()[1:]:
        if "resource_tracker" not in " ".join(one.cmdline()):
            one.kill()
            return


def second(*words: str) -> Callable[[Watched], None]:
    """The same folder for a second command, once the first has begun; then the first is ended."""

    def act(running: Watched) -> None:
        running.wait_until(lambda: running.has("out/log.jsonl")() or running.has("out.jsonl")(), 90)
        one = subprocess.run(
            [*running.command, *words], cwd=running.cwd, env=running.environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=100,
        )  # fmt: skip
        if running.process.poll() is not None and one.returncode == 0:
            return  # on a busy machine, the first has ended before the second began
        running.signal(signal.SIGINT, group=True)
        assert one.returncode == 2, f"the second command ended with {one.returncode}: {one.stdout[-2000:]}"
        assert "Traceback" not in one.stdout

    return act


def twice(running: Watched) -> None:
    running.wait_until(running.has("out/log.jsonl"), 90)
    time.sleep(0.5)
    running.signal(signal.SIGINT, group=True)
    time.sleep(0.2)
    running.signal(signal.SIGINT, group=True)


LATE = {"seconds": 200.0, "changes": ("out",)}
SITUATIONS = [
    # Once the program imports its own: before that, Python itself shows where it is.
    Situation("finetune-interrupted-at-once", f"{TUNE} --quiet", during=interrupt("xfm.cli"), status=(130,),
        env={"PYTHONPROFILEIMPORTTIME": "1"}),
    Situation("finetune-interrupted-loading", TUNE, during=after(1.5, signal.SIGINT), status=(0, 130), **LATE),
    Situation("finetune-interrupted", TUNE, during=when("out/log.jsonl", signal.SIGINT), status=(0, 130), **LATE),
    Situation("finetune-interrupted-twice", TUNE, during=twice, status=(0, 130), **LATE),
    Situation("finetune-terminated", TUNE, during=when("out/log.jsonl", signal.SIGTERM, False), status=ENDED, **LATE),
    Situation("finetune-killed", TUNE, during=when("out/log.jsonl", signal.SIGKILL, False), status=(-9,), **LATE),
    Situation("finetune-workers-interrupted", f"{TUNE} --workers 2", during=when("out/log.jsonl", signal.SIGINT),
        status=(0, 130), **LATE),
    Situation("finetune-workers-killed", f"{TUNE} --workers 2",
        during=when("out/log.jsonl", signal.SIGKILL, False, 2.0), status=(-9,), **LATE),
    Situation("finetune-a-worker-killed", f"{TUNE} --workers 2", says=("worker",), during=kill_worker, **LATE),
    Situation("export-interrupted", EXPORT, during=after(3.0, signal.SIGINT), status=(0, 130)),
    Situation("pretrain-interrupted-loading", PRETRAIN, during=after(2.0, signal.SIGINT), status=(0, 130), **LATE),
    Situation("pretrain-interrupted", PRETRAIN, during=when("out/log.jsonl", signal.SIGINT), status=(0, 130), **LATE),
    Situation("pretrain-workers-interrupted", f"{PRETRAIN} --data.workers 2",
        during=when("out/log.jsonl", signal.SIGINT), status=(0, 130), **LATE),
    Situation("pretrain-workers-killed", f"{PRETRAIN} --data.workers 2",
        during=when("out/log.jsonl", signal.SIGKILL, False, 2.0), status=(-9,), **LATE),
    Situation("pretrain-a-worker-killed", f"{PRETRAIN} --data.workers 2", says=("worker",), during=kill_worker,
        **LATE),
    Situation("pretrain-stopped-and-continued", f"{PRETRAIN} --data.workers 1", status=(0, 130), **LATE,
        during=lambda running: (when("out/log.jsonl", signal.SIGSTOP)(running), time.sleep(2),
            running.signal(signal.SIGCONT, group=True), running.wait_until(lambda: False, 1),
            running.signal(signal.SIGINT, group=True))),
    Situation("prepare-interrupted", PREPARE, during=after(2.0, signal.SIGINT), status=(0, 130)),
    Situation("prepare-killed", PREPARE, during=after(2.0, signal.SIGKILL, False), status=(0, -9)),
    Situation("predict-interrupted", PREDICT, MANY, during=when("out.jsonl", signal.SIGINT), status=(130,), **LATE),
    Situation("predict-terminated", PREDICT, MANY, during=when("out.jsonl", signal.SIGTERM, False), status=ENDED, **LATE),
    Situation("predict-killed", PREDICT, MANY, during=when("out.jsonl", signal.SIGKILL, False), status=(-9,), **LATE),
    Situation("evaluate-interrupted", "evaluate {model} --world {world} --out out", during=after(3.0, signal.SIGINT),
        status=(0, 130), **LATE),
    Situation("quickstart-interrupted", "quickstart --smoke --out out", during=after(4.0, signal.SIGINT),
        status=(0, 130), **LATE),
    Situation("quickstart-killed", "quickstart --smoke --out out", during=after(4.0, signal.SIGKILL, False),
        status=(-9,), **LATE),
    Situation("two-finetunings-in-a-folder", TUNE, during=second(), status=(0, 130), **LATE),
    Situation("two-pretrainings-in-a-folder", PRETRAIN, during=second(), status=(0, 130), **LATE),
    Situation("resume-beside-a-live-run", PRETRAIN, during=second("--resume"), status=(0, 130), **LATE),
    Situation("resume-beside-a-live-finetuning", TUNE, during=second("--resume"), status=(0, 130), **LATE),
    Situation("two-predictions-into-a-file", PREDICT, MANY, during=second(), status=(0, 130), **LATE),
    Situation("prepare-says-nothing-after-help", "prepare --help", during=interrupt("usage"), status=(0, 130, -2)),
]  # fmt: skip
