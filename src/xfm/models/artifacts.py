"""Tokenizer, preprocessing, provenance and task of a model, and its model card (Markdown)."""

import math
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


def model_card(config: ModelConfig, artifacts: Artifacts) -> str:
    """Card of a model folder; from the provenance it takes `name`, `licences`, `data`, `world`, `scores`,
    `commands` and `limits` where they are given."""
    provenance = artifacts.provenance
    licences = _mapping(provenance.get("licences"))
    data = licences.get("data") or NOT_STATED
    if isinstance(data, Mapping):
        data = "; ".join(f"{name}: {text}" for name, text in data.items())
    header: dict[str, Any] = {"library_name": "xfm", "tags": ["xfm", "vision-language"]}
    if isinstance(weights := licences.get("weights"), str):
        header["license"] = weights.lower()
    (height, width), (rows, columns) = artifacts.preprocessing.shape, config.vision.grid
    task = ""
    if artifacts.task:
        spec = artifacts.task.task
        outputs = f", {spec.classes} outputs" if spec.classes else ""
        task = f"\n- fine-tuned for {spec.kind}{outputs} (`model.artifacts.task`)"
    composed = _mapping(provenance.get("composed") or _mapping(provenance.get("began_with")).get("composed"))
    parts = "".join(
        f"\n- weights of the {name} encoder that training began with, {part.get('reference')}: "
        f"{part.get('licence') or NOT_STATED}"
        for name in ("language", "vision")
        if (part := _mapping(composed.get(name)))
    )
    sections = [
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---",
        f"# X-FM model: {provenance.get('name') or provenance.get('recipe', 'custom')}",
        "One model for language, vision and vision-language ([arXiv 2301.05065]"
        "(https://arxiv.org/abs/2301.05065)), in the format of the package `xfm`.",
        "```python\nimport xfm\n\nmodel = xfm.XFM.from_pretrained(NAME)\n```",
        "With transformers: `import xfm.models.interop.transformers`, then "
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
    if scores := _mapping(provenance.get("scores")):
        table = "\n".join(f"| {name} | {value} |" for name, value in scores.items())
        sections += ["## Scores", f"| what | score |\n|---|---|\n{table}"]
    if limits := provenance.get("limits"):
        sections += ["## Limits", str(limits)]
    return "\n\n".join(section for section in sections if section) + "\n"


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
