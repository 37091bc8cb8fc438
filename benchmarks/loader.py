"""Samples a second of the data loader, on shards of random pictures made in a temporary folder.

    python benchmarks/loader.py [--seconds 2] [--workers 0] [--json loader.json]

Everything is counted: reading, decoding, cropping, colour, tokenising, masking, collating and normalising. A
region sample is a picture with its caption and up to four regions. The second figure is samples for each
second of processor time, which other programs on the machine do not change (without workers only).
"""

import argparse
import io
import json
import platform
import tarfile
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from xfm.config.data import Augmentation, CorpusConfig, DataConfig, PatchMaskConfig, StreamConfig
from xfm.data.loader import PretrainingData
from xfm.data.tokenizer import train_tokenizer

COLOURS = ("red", "green", "blue", "yellow", "white", "black")
NOUNS = ("cat", "dog", "house", "tree", "car", "umbrella", "strawberry", "volcano", "telescope", "bicycle")


@dataclass(frozen=True)
class Setting:
    """Pictures as stored and as the model sees them."""

    name: str
    width: int
    height: int
    image_size: int
    patch_size: int
    pictures: int
    batch_size: int


SETTINGS = (
    Setting("nano: 96 px", 96, 96, 96, 12, 400, 64),
    Setting("base: 500 x 375 to 224 px", 500, 375, 224, 16, 60, 16),
)


@dataclass(frozen=True)
class Speed:
    """One line of the table."""

    setting: str
    stream: str
    augmentation: str
    samples_per_second: float
    samples_per_cpu_second: float | None


def picture(rng: np.random.Generator, width: int, height: int) -> bytes:
    coarse = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def annotation(rng: np.random.Generator, width: int, height: int) -> dict:
    regions = []
    for _ in range(rng.integers(1, 6)):
        w, h = rng.integers(16, width // 2), rng.integers(16, height // 2)
        box = [rng.integers(0, width - w + 1), rng.integers(0, height - h + 1), w, h]
        regions.append(
            {"phrase": f"the {rng.choice(COLOURS)} {rng.choice(NOUNS)}", "box": [int(v) for v in box]}
        )
    places = ", ".join(f"{r['phrase']} {rng.choice(['above', 'below', 'beside'])} it" for r in regions)
    return {
        "captions": [f"A picture of {places}.", f"There are {len(regions)} things: {places}"],
        "regions": regions,
    }


def write_corpus(folder: Path, setting: Setting) -> None:
    rng = np.random.default_rng(0)
    texts = []
    with tarfile.open(folder / "pictures-00000.tar", "w") as tar:
        for key in range(setting.pictures):
            about = annotation(rng, setting.width, setting.height)
            texts.append(" ".join(about["captions"]))
            members = {"jpg": picture(rng, setting.width, setting.height), "json": json.dumps(about).encode()}
            for ending, data in members.items():
                info = tarfile.TarInfo(f"{key:06d}.{ending}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    train_tokenizer(texts, 1000).save(folder / "tokenizer.json")


def measure(
    folder: Path, setting: Setting, stream: str, mode: Augmentation, options: argparse.Namespace
) -> Speed:
    path = folder / ("text.jsonl" if stream == "text" else "pictures-00000.tar")
    patches = (setting.image_size // setting.patch_size) ** 2
    config = DataConfig(
        tokenizer=str(folder / "tokenizer.json"),
        patch_mask=PatchMaskConfig(round(patches * 75 / 196), max(2, round(patches * 16 / 196))),
        workers=options.workers,
    )
    config = replace(config, **{stream: StreamConfig(setting.batch_size, [CorpusConfig(str(path))], mode)})
    batches = PretrainingData(config, setting.image_size, setting.patch_size, seed=0).batches(0, 10**9)
    for _ in range(2 + 2 * options.workers):  # caches, and what the workers had prepared
        next(batches)
    started, busy, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - started < options.seconds:
        next(batches)
        count += setting.batch_size
    wall, busy = time.perf_counter() - started, time.process_time() - busy
    return Speed(
        setting=setting.name,
        stream=stream,
        augmentation=mode.value,
        samples_per_second=round(count / wall, 1),
        samples_per_cpu_second=None if options.workers else round(count / busy, 1),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each line of the table")
    parser.add_argument("--workers", type=int, default=0, help="loader processes")
    parser.add_argument("--json", type=Path, help="also write the result here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    speeds = []
    print(f"{'setting':28s} {'stream':8s} {'augmentation':13s} samples/s  per CPU second")
    for setting in SETTINGS:
        with tempfile.TemporaryDirectory() as name:
            write_corpus(Path(name), setting)
            for stream in ("text", "image", "pair", "region"):
                for mode in [Augmentation.NONE] if stream == "text" else list(Augmentation):
                    speed = measure(Path(name), setting, stream, mode, options)
                    speeds.append(speed)
                    per_cpu = speed.samples_per_cpu_second
                    print(
                        f"{setting.name:28s} {stream:8s} {mode:13s} {speed.samples_per_second:9,.0f}",
                        f"{per_cpu:15,.0f}" if per_cpu else f"{'-':>15s}",
                        flush=True,
                    )
    result = {
        "workers": options.workers,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "speeds": [asdict(speed) for speed in speeds],
    }
    print(json.dumps(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
