"""Small shards of random pictures, phrases and boxes, made anew for every session."""

import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.data.picture_kinds import saved
from xfm.config.data import (
    Augmentation,
    CorpusConfig,
    DataConfig,
    PatchMaskConfig,
    StreamConfig,
    TokenMaskConfig,
)
from xfm.data.loader import PretrainingData
from xfm.data.masking import mask_tokens, maskable
from xfm.data.schema import Batch
from xfm.data.tokenizer import Tokenizer, train_tokenizer

NOUNS = ["cat", "dog", "house", "tree", "car", "fish", "umbrella", "caterpillar", "volcano", "strawberry"]
COLOURS = ["red", "green", "blue", "yellow"]


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed))


def masked_row(
    rng: np.random.Generator,
    ids: list[int],
    word_ids: Sequence[int | None],
    config: TokenMaskConfig,
    tokenizer: Tokenizer,
) -> tuple[list[int], list[int], list[int]]:
    words = maskable(ids, word_ids, config.whole_word, tokenizer)
    return mask_tokens(rng, ids, words, config, tokenizer)


def noise(seed: int, width: int, height: int) -> Tensor:
    return torch.from_numpy(generator(seed).integers(0, 256, (3, height, width), dtype=np.uint8))


def picture_bytes(rng: np.random.Generator, width: int, height: int, format: str = "JPEG") -> bytes:
    noise = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    return saved(picture, format, quality=90)


PICTURE = picture_bytes(np.random.default_rng(0), 40, 30)
"""A JPEG of 40 x 30 pixels."""


def region_record(rng: np.random.Generator, width: int, height: int) -> dict:
    regions = []
    for _ in range(rng.integers(1, 7)):
        w, h = rng.integers(8, width // 2), rng.integers(8, height // 2)
        x, y = rng.integers(0, width - w + 1), rng.integers(0, height - h + 1)
        phrase = f"the {rng.choice(COLOURS)} {rng.choice(NOUNS)}"
        regions.append({"phrase": phrase, "box": [int(x), int(y), int(w), int(h)]})
    captions = [
        f"A {r['phrase'][4:]} near a {rng.choice(NOUNS)}, number {rng.integers(99)}." for r in regions[:3]
    ]
    return {"captions": captions, "regions": regions}


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def region_members(
    rng: np.random.Generator, count: int, first: int = 0, size: tuple[int, int] = (96, 96)
) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    for key in range(first, first + count):
        members[f"{key:05d}.jpg"] = picture_bytes(rng, *size)
        members[f"{key:05d}.json"] = json.dumps(region_record(rng, *size)).encode()
    return members


def unaugmented(path: Path | str, batch_size: int) -> StreamConfig:
    return StreamConfig(batch_size, [CorpusConfig(str(path))], Augmentation.NONE)


def batches(config: DataConfig, start: int, stop: int, **options: Any) -> list[Batch]:
    return list(PretrainingData(config, 96, 12, **{"seed": 3, **options}).batches(start, stop))


@dataclass(frozen=True)
class Corpus:
    """A folder with shards and a tokenizer."""

    folder: Path
    tokenizer: Tokenizer

    @classmethod
    def of(cls, folder: Path, tokenizer: Tokenizer) -> "Corpus":
        tokenizer.save(folder / "tokenizer.json")
        return cls(folder, tokenizer)

    def only(self, **settings: Any) -> DataConfig:
        return DataConfig(**{"tokenizer": str(self.folder / "tokenizer.json"), "workers": 0, **settings})

    def config(self, **changes: object) -> DataConfig:
        regions = str(self.folder / "scenes-*.tar")

        def stream(batch_size: int, path: str) -> StreamConfig:
            return StreamConfig(batch_size, [CorpusConfig(path)], Augmentation.MILD)

        settings: dict = {
            "text": stream(6, str(self.folder / "text.jsonl")),
            "image": stream(3, regions),
            "pair": stream(4, regions),
            "region": stream(5, regions),
            "patch_mask": PatchMaskConfig(24, 4),
            "text_mask": TokenMaskConfig(0.15, 20, 48),
        }
        return self.only(**settings | changes)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(7)
    texts = []
    for shard in range(2):
        members = region_members(rng, 20, first=20 * shard)
        write_tar(folder / f"scenes-{shard:05d}.tar", members)
        texts += [json.loads(v)["captions"][0] for k, v in members.items() if k.endswith("json")]
    with (folder / "text.jsonl").open("w") as file:
        for i, text in enumerate(texts):
            file.write(json.dumps({"text": " ".join([text] * (1 + i % 9))}) + "\n")
    return Corpus.of(folder, train_tokenizer(texts, 400))


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["a red cat sits left of the caterpillar", "the blue house"] * 5, 300)


@pytest.fixture
def make_tar(tmp_path: Path) -> Callable[[Mapping[str, bytes]], Path]:
    return lambda members: write_tar(tmp_path / "shard-00000.tar", members)
