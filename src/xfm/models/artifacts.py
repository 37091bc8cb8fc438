"""Tokenizer, preprocessing, provenance and task of a model, and its model card (Markdown)."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from xfm.config.artifacts import SelfCheck
from xfm.config.encoders import AnyLanguageConfig
from xfm.config.image import CLIP_MEAN, CLIP_STD, Colours, Framing, Interpolation
from xfm.config.labels import MatchCalibration
from xfm.config.model import ModelConfig
from xfm.config.tasks import ZERO_SHOT
from xfm.core.errors import UserError
from xfm.data.tokenizer import Tokenizer
from xfm.data.transforms import View, normalise, show, torchvision_v2
from xfm.models.task_models import TaskModel

CODE_LICENCE = "Apache-2.0"
FRESH = "fresh"
"""In the provenance: beginnings of the names of parameters that were never trained."""
NO_RERANKING = "its fusion encoder is not trained: the order is that of the vectors, without re-ranking"


@dataclass(frozen=True)
class Preprocessing:
    """Image preprocessing: resized to `image_size` (height) x `image_width` (None: square) pixels, scaled
    to [0, 1], normalised by `mean` and `std` per channel; `grey`: all channels show the brightness."""

    image_size: int
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    interpolation: Interpolation = Interpolation.BICUBIC
    image_width: int | None = None
    framing: Framing = Framing.SQUASH
    grey: bool = False

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != 3 or not all(math.isfinite(value) for value in values):
                raise ValueError(f"{name} must be three numbers, one a channel")
        if min(self.std) <= 0:
            raise ValueError("std must be larger than 0")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image_size, self.image_width or self.image_size

    def seen_as(self, framing: Framing | None, colours: Colours) -> "Preprocessing":
        """The same with another framing, and other normalisation where `colours` has its own."""
        mean, std = colours.normalisation or (self.mean, self.std)
        return replace(self, framing=framing or self.framing, mean=mean, std=std)


@dataclass(frozen=True)
class Artifacts:
    """Tokenizer, preprocessing, provenance and task of a model. `calibration` turns matching odds into a
    probability and is valid for these weights alone: whatever trains on must drop it."""

    given_tokenizer: Tokenizer | None
    preprocessing: Preprocessing
    provenance: dict[str, Any]
    task: TaskModel | None = None
    calibration: MatchCalibration | None = None
    check: SelfCheck | None = None

    def is_untrained(self, part: str) -> bool:
        """Whether a part, such as "fusion.", is only as it was initialised, by the provenance."""
        named = (str(one) for key in (FRESH, "initialised") for one in (self.provenance.get(key) or ()))
        return any(f"{one.removesuffix('.')}.".startswith(f"{part.removesuffix('.')}.") for one in named)

    @property
    def reranks(self) -> bool:
        """Whether the fusion encoder and its matching head were trained, so that they may rank again."""
        return not (self.is_untrained("fusion") or self.is_untrained("itm_head"))

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer; a UserError where the model has none."""
        if self.given_tokenizer is None:
            raise UserError(
                "the model has no tokenizer, and texts need one; convert or load it again with --tokenizer "
                "(in Python, tokenizer=), for published weights RoBERTa's"
            )
        return self.given_tokenizer


STRIP = 16
"""Sides of longer strips have this ratio at most when their middle is cut out."""


def framed(picture: Tensor, preprocessing: Preprocessing) -> Tensor:
    """[3, H, W] uint8 image -> [3, S, S] uint8: squashed or centre-cropped, antialiased, grey if the model
    is."""
    if preprocessing.grey:
        picture = torchvision_v2().functional.rgb_to_grayscale(picture, 3)
    shape = (height, width) = preprocessing.shape
    tall, wide = picture.shape[1:]
    how = preprocessing.interpolation
    if (enlarged := preprocessing.framing.enlarged) is None:
        if how.by_pillow:
            return _resized(picture, [height, width], how)
        return show(picture, View(0, 0, wide, tall), shape, how.mode)
    v2, (times, of) = torchvision_v2(), enlarged
    # Of a long strip only the middle is seen; the whole of it in that width would take all memory.
    picture = v2.functional.center_crop(picture, [min(tall, STRIP * wide), min(wide, STRIP * tall)])
    tall, wide = picture.shape[1:]
    if wide * height <= tall * width:  # the width is what is scarce
        across = round(width * times / of)
        size = [across * tall // wide, across]
    else:
        down = round(height * times / of)
        size = [down, down * wide // tall]
    resized = _resized(picture, size, how)
    # transformers rounds half a pixel down, torchvision, and so open_clip, to even.
    if preprocessing.framing is Framing.SHORTEST and not how.by_pillow:
        top, left = (size[0] - height) // 2, (size[1] - width) // 2
        return resized[:, top : top + height, left : left + width]
    return v2.functional.center_crop(resized, [height, width])


def _resized(picture: Tensor, size: list[int], how: Interpolation) -> Tensor:
    v2 = torchvision_v2()
    given = v2.functional.to_pil_image(picture) if how.by_pillow else picture
    found = v2.functional.resize(given, size, v2.InterpolationMode(how.mode), antialias=True)
    return v2.functional.pil_to_tensor(found) if how.by_pillow else found


def model_pixels(pictures: Tensor, preprocessing: Preprocessing) -> Tensor:
    """[N, 3, S, S] uint8 -> float32 pixels as the model takes them."""
    return normalise(pictures, (preprocessing.mean, preprocessing.std))


CARD = "README.md"
NOT_STATED = "not stated"
_TRAINING = ["steps", "weights", "seed", "init", "published", "layout", "composed", "began_with", "fresh"]
"""What of a provenance the card says of the training."""
_LICENCES = """apache-2.0 mit bsd-2-clause bsd-3-clause isc mpl-2.0 gpl-2.0 gpl-3.0 lgpl-2.1 lgpl-3.0 agpl-3.0
    cc0-1.0 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nd-4.0 cc-by-nc-3.0 cc-by-nc-4.0 openrail
    cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nc-nd-4.0 unlicense"""
"""Licences by the hub's names. Of others the hub takes the name only as a `license_name`."""
_HUB_DATA = re.compile(r"(?:hub:|hf://datasets/)([\w-][\w.-]*(?:/[\w.-]+)?)", re.ASCII)


def model_card(config: ModelConfig, artifacts: Artifacts) -> str:
    """Card of a model folder, with the hub's metadata; from the provenance it takes `name`, `licences`,
    `data`, `world`, `base_model`, `scores` (by `task/split/metric`: a number, a text, or a `Score` as plain
    values, with a `name` for people if it has one), `commands` and `limits` where they are given."""
    provenance = json.loads(json.dumps(artifacts.provenance, sort_keys=True, default=str))
    scores = _mapping(provenance.get("scores")).items()
    scores = {key: one if isinstance(one, dict) else {"value": one} for key, one in scores}
    licences = _mapping(provenance.get("licences"))
    data = licences.get("data") or NOT_STATED
    if isinstance(data, Mapping):
        data = "; ".join(f"{name}: {text}" for name, text in data.items())
    (height, width), (rows, columns) = artifacts.preprocessing.shape, config.vision.grid
    task, name = "", provenance.get("name") or provenance.get("recipe", "custom")
    if artifacts.task:
        spec = artifacts.task.task
        outputs = f", {spec.classes} outputs" if spec.classes else ""
        task = f"\n- fine-tuned for {spec.kind}{outputs} (`model.task`)"
        name = provenance.get("name") or spec.kind
    composed = _mapping(provenance.get("composed") or _mapping(provenance.get("began_with")).get("composed"))
    parts = "".join(
        f"\n- weights of the {name} encoder that training began with, {part.get('reference')}: "
        f"{part.get('licence') or NOT_STATED}"
        for name in ("language", "vision")
        if (part := _mapping(composed.get(name)))
    )
    sections = [
        f"---\n{_metadata(artifacts, provenance, str(name), scores)}\n---",
        f"# X-FM model: {name}",
        "One model for language, vision and vision-language ([arXiv 2301.05065]"
        "(https://arxiv.org/abs/2301.05065)), in the format of the package `xfm`.",
        "```python\nimport xfm\n\nmodel = xfm.load(NAME)\n```",
        "With transformers, where `model.safetensors` is: `import xfm.models.interop.transformers`, then "
        "`AutoModel.from_pretrained(NAME)`.",
        "## The model",
        f"- vision: {_part(config.vision)}, pictures of {height} x {width} pixels in {rows} x {columns} "
        f"patches\n- language: {_part(config.language)}, {config.language.vocab_size} tokens\n"
        f"- fusion: {config.fusion.depth} layers{task}",
        "## Licences",
        f"- code: {licences.get('code') or NOT_STATED}\n- weights: {licences.get('weights') or NOT_STATED}\n"
        f"- data: {data}{parts}",
    ]
    for title, keys in (("Training", _TRAINING), ("Data", ["data", "world"])):
        shown = {key: provenance[key] for key in keys if key in provenance}
        dumped = f"```yaml\n{yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)}```"
        sections += [f"## {title}", dumped if shown else "Not stated."]
    if commands := provenance.get("commands"):
        sections += ["## How it was made", f"```bash\n{commands}\n```"]
    if scores:
        table = "\n".join(_score_line(name, score) for name, score in scores.items())
        head = "| what | score | beside it (low, high: 95 % interval; n: rows) |\n|---|---|---|"
        sections += ["## Scores", f"{head}\n{table}"]
    if limits := provenance.get("limits"):
        sections += ["## Limits", str(limits)]
    return "\n\n".join(section for section in sections if section) + "\n"


def _score_line(name: str, score: Mapping[str, Any]) -> str:
    shown = {key: f"{n:.4g}" if isinstance(n, float) else str(n) for key, n in score.items() if n is not None}
    name, value = shown.pop("name", name), shown.pop("value", NOT_STATED)
    return f"| {name} | {value} | {', '.join(f'{key} {number}' for key, number in shown.items())} |"


def _metadata(
    artifacts: Artifacts, provenance: Mapping[str, Any], name: str, scores: Mapping[str, Mapping[str, Any]]
) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    spec = artifacts.task.task.spec if artifacts.task else ZERO_SHOT
    answers = artifacts.task or not any(artifacts.is_untrained(part) for part in spec.uses)
    lineage = [provenance]
    while before := _mapping(lineage[-1].get("began_with")):
        lineage.append(before)
    trained = [{**_mapping(one.get("data")), "test": None} for one in lineage]
    weights = str(_mapping(provenance.get("licences")).get("weights") or "").lower()
    licence = re.sub(r"[^a-z0-9.]+", "-", weights).strip("-")
    listed = licence in _LICENCES.split()
    results = []
    for key, score in scores.items():
        value = score.get("value")
        if not isinstance(value, int | float) or not math.isfinite(value):
            continue  # a text, or nothing, stands in the table alone
        task, split, metric = ["other", None, *key.split("/")][-3:]
        source = _HUB_DATA.search(json.dumps(_mapping(provenance.get("data")).get(split)))
        result = EvalResult(
            task_type=(task == spec.name and spec.pipeline_tag) or task or "other",
            dataset_type=source[1] if source else "unknown",
            dataset_name=source[1] if source else NOT_STATED,
            dataset_split=split,
            metric_type=metric,
            metric_name=str(score.get("name") or key),
            metric_value=value,
        )
        results.append(result)
    return ModelCardData(
        library_name="xfm",
        pipeline_tag=(answers and spec.pipeline_tag) or None,
        license=licence if listed else "other" if licence else None,
        license_name=None if listed else licence or None,
        language="en" if any(one.get("world") for one in lineage) else None,
        base_model=next((one["base_model"] for one in lineage if one.get("base_model")), None),
        datasets=[*dict.fromkeys(_HUB_DATA.findall(json.dumps(trained)))] or None,
        tags=["xfm", "vision-language", *([spec.name] if artifacts.task else [])],
        model_name=name if results else None,
        eval_results=results or None,
    ).to_yaml()


def _part(config: Any) -> str:
    kind = getattr(config, "architecture", type(config).__name__.removesuffix("Config"))
    depth = getattr(config, "depth", None)
    return f"{kind}, width {config.width}" + (f", {depth} layers" if depth else "")


def trained_on(provenance: Mapping[str, Any]) -> str:
    """Training data of a model, in words."""
    counts = _mapping(_mapping(provenance.get("world")).get("counts"))
    kinds = {
        "scenes": (1, "captioned scenes of emoji"),
        "twins": (2, "pairs of scenes that differ in one thing"),
        "pictures": (1, "pictures without text"),
        "text": (1, "lines of text"),
    }
    found = [(counts.get(f"pretrain/{name}"), *kind) for name, kind in kinds.items()]
    if told := [f"{count // of:,} {words}" for count, of, words in found if isinstance(count, int) and count]:
        return f"the embedded world: {', '.join(told)}"
    composed = _mapping(_mapping(provenance.get("composed")).get("vision"))
    if reference := composed.get("reference"):
        return f"whatever {reference} was trained on"
    data = _mapping(provenance.get("data")).items()
    told = [f"{kind}: {', '.join(map(str, one))}" for kind, one in data if one and isinstance(one, list)]
    return "; ".join(told) or NOT_STATED


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def check_vocabulary(tokenizer: Tokenizer | None, config: AnyLanguageConfig, path: Path) -> None:
    """A UserError for a tokenizer with more tokens, or another padding, than the language encoder's."""
    size, pad = config.vocab_size, config.pad
    if tokenizer is not None and (tokenizer.vocab_size > size or tokenizer.pad != pad):
        raise UserError(
            f"{path} has {tokenizer.vocab_size} tokens and pads with {tokenizer.pad}, but the model has "
            f"{size} and pads with {pad}; use the tokenizer that the model was trained with"
        )
