"""The whole evaluation of a pre-trained model: part by part, each cached when it is finished."""

import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from xfm.config.evaluation import EvaluationConfig, Part
from xfm.config.labels import MatchCalibration
from xfm.config.plain import to_plain
from xfm.config.typed import from_plain
from xfm.core.errors import UserError
from xfm.core.files import file_digest
from xfm.core.locks import holds
from xfm.core.paths import home_path
from xfm.core.results_folder import ResultOrigin, model_digest, require_free, sign, world_mark
from xfm.data.skipped import SkippedRecords
from xfm.evaluation.context import Context, TimeBudget
from xfm.evaluation.parts import PARTS, TASKS_FOLDER, saved_models
from xfm.evaluation.parts.tuned import TUNED
from xfm.evaluation.report import flags_of, write_report
from xfm.executors.executor import LocalPool
from xfm.models.adapters import require_whole
from xfm.models.folder import load_model
from xfm.models.model_files import write_calibration
from xfm.models.precision import resolve
from xfm.models.resolve import model_folder as folder_of
from xfm.models.resolve import stand_in
from xfm.reports.scores import (
    DETAILS,
    MAY_CHANGE,
    METRICS,
    PARTS_FOLDER,
    PartResult,
    Score,
    parts_to_keep,
    read_part,
    write_json,
    write_scores,
)
from xfm.tasks.images import TaskImages
from xfm.training.cpu_runtime import prepare_process
from xfm.training.distributed import pick_device
from xfm.training.failures import Interrupted
from xfm.training.flags import Flag

CACHE_FORMAT = 9  # raise it when a part starts to compute something else
_TASKS = {
    Part.HARD: ("retrieval",),
    Part.MASKED_TOKENS: ("masked_token",),
    Part.MATCHING: ("retrieval",),
    Part.ABSENCE: ("absence", "retrieval"),
}
"""Folders of task files, of parts for which it is not one of the part's name."""


@holds("out")
def evaluate(
    model_folder: Path,
    world: Path,
    out: Path,
    config: EvaluationConfig,
    progress: bool = True,
    flags: Sequence[Flag] = (),
) -> dict[str, Score]:
    """Evaluate a model folder on a world, and write `metrics.json` and `report.html`.

    Every finished part is kept in `out/parts` under a fingerprint of model, world and settings, so that an
    interrupted evaluation continues, and one of some parts joins the others. Fine-tuned models are kept in
    `out/tasks/PART/model`, the calibration of the matching head in the model's folder.

    Args:
        model_folder: a folder written by `save_model`, or the name of a model of the package.
        world: a folder with `tasks/` as the embedded world has it.
        config: what to run; its `scale` is worked in here.
        progress: show bars and a line for each part.
        flags: further flags of the run, for `evaluation.json`.

    Returns:
        Scores by key `task/split/metric`.

    Raises:
        UserError: model or world cannot be read, results not be written, a package is missing, or `out` holds
            other results, or an evaluation of other settings.
        Interrupted: SIGINT or SIGTERM came; finished parts are kept.
    """
    model_folder, world, out = folder_of(model_folder), home_path(world), home_path(out)
    needed = {"sklearn": "scikit-learn", "jinja2": "jinja2", "matplotlib": "matplotlib"}
    if missing := [name for module, name in needed.items() if find_spec(module) is None]:
        raise UserError(f"the evaluation needs {', '.join(missing)}: pip install 'xfm[report]'")
    prepare_process()
    resolved = config.resolved()
    times = TimeBudget(resolved.minutes, resolved.parts, resolved.baselines)
    if not any((world / name).exists() for name in ("world.json", "tasks")):
        raise UserError(f"{world} is no world (no world.json): give the folder that `xfm prepare` wrote")
    weights = weights_digest(model_folder)
    subject = {"model": weights, "data": world_mark(world)}
    maker = ResultOrigin("evaluate", subject, f"{model_folder} on {world}")
    require_free(out, maker, model=model_folder)
    finished = parts_to_keep(out, config)
    device = pick_device(config.device)
    if config.processes > 1 and device.type != "cpu":
        raise UserError(
            f"processes is {config.processes}: parts run side by side on a CPU alone; give 1 on {device}"
        )
    bars = progress and sys.stderr.isatty()  # a log file gets one line for each part instead
    files = {
        part: (out / PARTS_FOLDER / f"{part.value}-{key[:12]}.json", key)
        for part in Part
        for key in [part_fingerprint(part, weights, world, resolved)]
    }
    run = EvaluationRun(model_folder, world, out, resolved, files, progress)
    context, signature = run.context(times, bars), sign(out, maker)
    known = {part: found for part in files if (found := read_part(*files[part])) is not None}
    # Those that left out pictures are done again: these may have been repaired since.
    whole = {
        part: known[part] for part in resolved.parts if part in known and not known[part].left_out.get("rows")
    }
    for part, found in whole.items():
        times.was_done(part, found.seconds / config.processes)
    missing = [part for part in resolved.parts if part not in whole]
    made = whole | (_side_by_side(run, missing, times) if config.processes > 1 and missing else {})
    results = {
        part: known[part]
        for part in finished
        if part in known and (part not in resolved.parts or part in whole)
    }
    left_out = _left_out(results, config)
    with tqdm(resolved.parts, unit="part", disable=not bars) as bar:
        for part in bar:
            bar.set_description(part.value)
            results[part] = made.get(part) or run.do(context, part)
            results = {part: results[part] for part in Part if part in results}  # in one order
            left_out = _left_out(results, config)
            write_scores(out / METRICS, _scores(results))
    details = _described(context, model_folder, weights, config, results)
    details["left_out"] = left_out.kept_in(out)
    saved = saved_models(out, world, config.validation)
    models = {part.value: command for part, (_, command) in saved.items()}
    names = {part.value: files[part][0].name for part in results}
    details |= {"files": names, "models": models, "made_by": signature}
    scores = _scores(results)
    flagged = to_plain(flags_of(model_folder, details, scores, flags))
    write_json(out / DETAILS, {**details, "flags": flagged})
    write_report(out)
    return scores


def _described(
    context: Context,
    model_folder: Path,
    weights: str,
    config: EvaluationConfig,
    results: Mapping[Part, PartResult],
) -> dict[str, Any]:
    pretrained, found = context.pretrained, results.values()
    fitted = results[Part.MATCHING].calibration if Part.MATCHING in results else {}
    if fitted and stand_in(model_folder) is None:  # models of the package or the hub keep their own
        try:
            write_calibration(model_folder, from_plain(MatchCalibration, dict(fitted), model_folder))
        except OSError as error:
            why = f"does not keep the calibration of matching: {error.strerror or error}"
            tqdm.write(f"Note: {model_folder} {why}", sys.stderr)
    return {
        "model": str(model_folder),
        "world": str(context.world),
        "weights_sha256": weights,
        "provenance": pretrained.provenance,
        "model_config": asdict(pretrained.model.config),
        "parameters": sum(p.numel() for p in pretrained.model.parameters()),
        "config": asdict(replace(config, parts=list(results))),
        "device": str(context.device),
        "precision": resolve(config.precision, context.device).value,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        # Of a part from the cache, when it was run.
        "seconds": {part.value: round(one.seconds, 2) for part, one in results.items()},
        "tunings": {name: one for result in found for name, one in result.tunings.items()},
        "probes": {name: one for result in found for name, one in result.probes.items()},
        "calibration": fitted,
    }


def _scores(results: Mapping[Part, PartResult]) -> dict[str, Score]:
    return {key: score for found in results.values() for key, score in found.scores.items()}


def _left_out(results: Mapping[Part, PartResult], config: EvaluationConfig) -> SkippedRecords:
    found = SkippedRecords(config.max_bad)
    for result in results.values():
        if result.left_out:
            found.merge(result.left_out)
    found.check()
    return found


@dataclass(frozen=True)
class EvaluationRun:
    """An evaluation whose parts any process can do: each leaves its result in a file, under a fingerprint.

    `config` is a resolved one; `told` says whether a line says when a part is done.
    """

    model: Path
    world: Path
    out: Path
    config: EvaluationConfig
    files: Mapping[Part, tuple[Path, str]]
    told: bool

    def context(self, times: TimeBudget, bars: bool) -> Context:
        """The model, loaded, with what its parts need."""
        config, pretrained = self.config, load_model(self.model)
        device = pick_device(config.device)
        pretrained.model.to(device).eval()
        kept = self.out / TASKS_FOLDER if config.keep_models else None
        pictures = TaskImages(pretrained.preprocessing)
        more: dict[str, Any] = {"kept": kept, "time_budget": times, "origin": str(self.model)}
        return Context(pretrained, self.world, config, device, pictures, bars, **more)

    def do(self, context: Context, part: Part) -> PartResult:
        """Do a part and write its file; Interrupted: a signal came."""
        path, key = self.files[part]
        began = time.perf_counter()
        context = replace(context, left_out=SkippedRecords(context.config.max_bad))
        context.pictures.lost = context.left_out
        with _stoppable(part.value, path.parent), context.time_budget.part(part):
            result = PARTS[part](context)
        result.seconds = time.perf_counter() - began
        result.left_out = context.left_out.plain()
        write_json(path, {"fingerprint": key, **asdict(result)})
        if self.told:
            tqdm.write(f"evaluated {part.value} in {result.seconds:.1f} s", file=sys.stderr)
        return result

    def __call__(self, share: "_Share") -> dict[Part, PartResult]:
        """Do one process's share of the parts."""
        prepare_process()
        torch.set_num_threads(share.threads)
        minutes = max(0.01, (share.ends - time.time()) / 60) if share.ends else 0.0
        context = self.context(TimeBudget(minutes, share.parts, self.config.baselines), False)
        return {part: self.do(context, part) for part in share.parts}


@dataclass(frozen=True)
class _Share:
    """Parts, threads of a process, and the `time.time()` by which it ends (0: when its steps are done)."""

    parts: list[Part]
    threads: int
    ends: float


def _side_by_side(run: EvaluationRun, parts: Sequence[Part], times: TimeBudget) -> dict[Part, PartResult]:
    shares = run.config.shares(parts)
    threads = max(1, torch.get_num_threads() // len(shares))
    ends = time.time() + times.left if run.config.minutes else 0.0
    results: dict[Part, PartResult] = {}
    with _stoppable(", ".join(parts), run.out / PARTS_FOLDER):
        LocalPool(len(shares)).run(
            run, [_Share(own, threads, ends) for own in shares], lambda share, made: results.update(made)
        )
    return results


@contextmanager
def _stoppable(what: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as interrupt:
        done = any(folder.glob("*.json"))
        found = f"what was finished is in {folder}" if done else "no part was finished before"
        raise Interrupted(
            f"Stopped while evaluating {what}; {found}: run the same command again to continue."
        ) from interrupt


def part_fingerprint(part: Part, weights: str, world: Path, config: EvaluationConfig) -> str:
    """Digest of everything that a part's result depends on: weights, world, task files, settings."""
    first = TUNED[part].after if part in TUNED else None
    own = {part} | ({first} if first else set())
    tasks = [world / "tasks" / name for name in _TASKS.get(part, sorted(one.value for one in own))]
    files = [path for folder in tasks for path in sorted(folder.glob("*.jsonl")) if path.is_file()]
    settings = asdict(config)
    for name in (*MAY_CHANGE, *(other.value for other in set(TUNED) - own)):
        settings.pop(name)
    if part not in TUNED:
        settings.pop("baselines")
    content = {
        "format": CACHE_FORMAT,
        "part": part.value,
        "weights": weights,
        "world": world_mark(world),
        "tasks": {f"{path.parent.name}/{path.name}": file_digest(path) for path in files},
        "settings": settings,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def weights_digest(folder: Path) -> str:
    """SHA-256 of a model folder's weights, configuration, tokenizer and preprocessing."""
    require_whole(folder)
    names = ("model.safetensors", "config.json", "tokenizer.json", "preprocessor_config.json")
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        raise UserError(
            f"{folder} is not a model folder: {missing[0]} is missing; give one that pre-training wrote"
        )
    return hashlib.sha256("".join(model_digest(folder / name) for name in names).encode()).hexdigest()
