"""The whole evaluation of a pre-trained model: part by part, each cached when it is finished."""

import hashlib
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
from tqdm import tqdm

from xfm.config.evaluation import EvaluationConfig, Part
from xfm.errors import UserError
from xfm.evaluation.context import Context, PartResult
from xfm.evaluation.parts import PARTS
from xfm.evaluation.report import write_report
from xfm.evaluation.scores import Score, write_json, write_scores
from xfm.evaluation.stored import DETAILS, METRICS, PARTS_FOLDER, read_part
from xfm.modeling.folder import load_model
from xfm.tasks.pictures import Pictures
from xfm.training.distributed import pick_device

CACHE_FORMAT = 1  # raise it when a part starts to compute something else


def evaluate(
    model_folder: Path, world: Path, out: Path, config: EvaluationConfig, progress: bool = True
) -> dict[str, Score]:
    """Evaluate a model folder on a world, and write `metrics.json` and `report.html`.

    Every finished part is kept in `out/parts`, under a fingerprint of model, world and configuration, so that
    an evaluation that was interrupted goes on where it stopped. `metrics.json` is written anew after each
    part and `evaluation.json` says what was run and how long each part took.

    Args:
        model_folder: a folder written by `save_model`.
        world: a folder with `tasks/` as the embedded world has it.
        out: folder for the results.
        config: what to run; its `scale` is worked in here.
        progress: show bars and a line for each part.

    Returns:
        Scores by key `task/split/metric`.

    Raises:
        UserError: the model or the world cannot be read, or the results cannot be written.
    """
    resolved = config.resolved()
    pretrained = load_model(model_folder)
    device = pick_device(config.device)
    pretrained.model.to(device).eval()
    bars = progress and sys.stderr.isatty()  # a log file gets one line for each part instead
    context = Context(pretrained, world, resolved, device, Pictures(pretrained.preprocessing), bars)
    weights = weights_digest(model_folder)
    scores: dict[str, Score] = {}
    seconds: dict[str, float] = {}
    with tqdm(resolved.parts, unit="part", disable=not bars) as bar:
        for part in bar:
            bar.set_description(part.value)
            result = run_part(context, part, out, fingerprint(part, weights, world, resolved))
            scores |= result.scores
            seconds[part.value] = round(result.seconds, 2)
            if progress:
                bar.write(f"evaluated {part.value} in {result.seconds:.1f} s", file=sys.stderr)
            write_scores(out / METRICS, scores)
    details = {
        "model": str(model_folder),
        "world": str(world),
        "weights_sha256": weights,
        "provenance": pretrained.provenance,
        "model_config": asdict(pretrained.model.config),
        "parameters": sum(p.numel() for p in pretrained.model.parameters()),
        "config": asdict(config),
        "device": str(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "seconds": seconds,
    }
    write_json(out / DETAILS, details)
    write_report(out)
    return scores


def run_part(context: Context, part: Part, out: Path, key: str) -> PartResult:
    """One part, from its cache if it was run with the same fingerprint before."""
    path = out / PARTS_FOLDER / f"{part.value}.json"
    cached = read_part(path, key)
    if cached is not None:
        return cached
    began = time.perf_counter()
    result = PARTS[part](context)
    result.seconds = time.perf_counter() - began
    write_json(path, {"fingerprint": key, **asdict(result)})
    return result


def fingerprint(part: Part, weights: str, world: Path, config: EvaluationConfig) -> str:
    """Digest of all that a part's result depends on: weights, world, and the settings that the part reads."""
    manifest = world / "world.json"
    settings = asdict(config)
    fine_tunings = {name for name in settings if name in {p.value for p in Part}} - {"retrieval"}
    for name in ("parts", "batch_size", "device", *(fine_tunings - {part.value})):
        settings.pop(name)
    content = {
        "format": CACHE_FORMAT,
        "part": part.value,
        "weights": weights,
        "world": _digest(manifest) if manifest.exists() else str(world.resolve()),
        "settings": settings,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def weights_digest(folder: Path) -> str:
    """Sha256 of a model folder's weights, configuration, tokenizer and preprocessing."""
    names = ("model.safetensors", "config.json", "tokenizer.json", "preprocessing.json")
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        raise UserError(
            f"{folder} is not a model folder: {missing[0]} is missing; give one that pre-training wrote"
        )
    return hashlib.sha256("".join(_digest(folder / name) for name in names).encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
