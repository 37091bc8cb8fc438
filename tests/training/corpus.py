"""A small corpus on disk and a recipe for it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from tests.data.conftest import write_tar
from tests.data.picture_kinds import saved
from tests.training.support import config
from xfm.config.data import (
    Augmentation,
    CorpusConfig,
    DataConfig,
    PatchMaskConfig,
    StreamConfig,
    TokenMaskConfig,
)
from xfm.config.encoders import FusionConfig, LanguageConfig, VisionConfig
from xfm.config.model import ModelConfig
from xfm.config.phases import PhaseConfig, PhaseStream
from xfm.config.recipe import Recipe
from xfm.data.tokenizer import train_tokenizer

NOUNS = ["cat", "dog", "house", "tree", "car", "fish"]


def write_corpus(folder: Path, pictures: int = 24) -> Path:
    """Regions in a tar file, text in JSON lines, and a tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    texts = [f"A {a} and a {b}." for a in NOUNS for b in NOUNS]
    members = {}
    for key in range(pictures):
        noise = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        regions = [{"phrase": f"the {NOUNS[key % 6]}", "box": [2, 3, 12, 10]}]
        members[f"{key:05d}.png"] = saved(Image.fromarray(noise), "PNG")
        members[f"{key:05d}.json"] = json.dumps({"captions": [texts[key]], "regions": regions}).encode()
    write_tar(folder / "scenes-00000.tar", members)
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    train_tokenizer(texts, 300).save(folder / "tokenizer.json")
    return folder


def tiny_recipe(root: Path, steps: int = 6, **training: object) -> Recipe:
    """Every stream, dropout, and a phase of text alone at the beginning."""
    regions = [CorpusConfig("scenes-*.tar")]
    data = DataConfig(
        text=StreamConfig(4, [CorpusConfig("text.jsonl")]),
        image=StreamConfig(2, regions, Augmentation.MILD),
        pair=StreamConfig(4, regions, Augmentation.MILD),
        region=StreamConfig(4, regions, Augmentation.MILD),
        caption_mask=TokenMaskConfig(0.5, 5, 16),
        text_mask=TokenMaskConfig(0.15, 5, 16),
        patch_mask=PatchMaskConfig(6, 2),
        workers=0,
    )
    model = ModelConfig(
        vision=VisionConfig(32, 8, 16, 1, 2, drop_path=0.1),
        language=LanguageConfig(300, 24, 1, 2, 32, 18),
        fusion=FusionConfig(1, 2, 32),
        projection=8,
    )
    nothing = PhaseStream(batch_size=0)
    return Recipe(
        name="tiny",
        root=str(root),
        model=model,
        data=data,
        training=replace(config(steps), **training),  # type: ignore[arg-type]
        curriculum=[PhaseConfig(until=1 / 3, image=nothing, pair=nothing, region=nothing)],
    )
