"""Peak memory of a retrieval evaluation that streams, on a model of random weights.

    python benchmarks/retrieval_memory.py [--recipe nano] [--pictures 5000] [--texts 25000] [--shortlist 16]

Pictures are random pixels and captions random words, so that nothing but the evaluation itself takes memory
or time. --in-memory keeps the states in memory instead, to compare; it needs gigabytes. Each run should be a
process of its own: the peak is that of the whole process.
"""

import argparse
import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir

import numpy as np
import torch
from torch import Tensor

from xfm.config.load import load_recipe
from xfm.config.training import Precision
from xfm.data.tokenizer import train_tokenizer
from xfm.metrics.recalls import own_captions, recalls
from xfm.models.features import Encoder, encode_images, encode_texts
from xfm.models.xfm import XFM
from xfm.tasks.ranking import rank
from xfm.training.cpu_runtime import prepare_process

WORDS = 400


def peak() -> float:
    """Peak resident memory of this process so far in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def captions(count: int, rng: np.random.Generator) -> list[str]:
    """8 to 14 random words each, about the length of COCO's captions."""
    names = ["".join(rng.choice(list("abcdefghijklmnop"), 5)) for _ in range(WORDS)]
    return [" ".join(rng.choice(names, rng.integers(8, 15))) for _ in range(count)]


def pixels(count: int, side: int, size: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(0)
    for start in range(0, count, size):
        yield torch.randn(min(size, count - start), 3, side, side, generator=generator)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="nano", help="the recipe whose model is built")
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--texts", type=int, default=25_000)
    parser.add_argument("--shortlist", type=int, default=16, help="candidates re-ranked for each query")
    parser.add_argument("--batch-size", type=int, default=64, help="pictures or texts a pass")
    parser.add_argument("--in-memory", action="store_true", help="keep the states in memory, to compare")
    parser.add_argument("--precision", type=Precision, default=Precision.AUTO)
    parser.add_argument("--scratch", type=Path, default=gettempdir(), help="folder for the states, on a disk")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    options = parser.parse_args()
    prepare_process()
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    texts = captions(options.texts, rng)
    model = XFM(load_recipe(options.recipe).model).eval()
    tokenizer = train_tokenizer(texts[:2000], min(2000, model.config.language.vocab_size))
    encoder = Encoder(model, tokenizer, options.precision, batch_size=options.batch_size, progress=True)
    owner = np.arange(options.texts) % options.pictures
    positives = own_captions(owner, options.pictures)
    batches = pixels(options.pictures, model.config.vision.image_size, options.batch_size)
    before, began = peak(), time.perf_counter()
    scratch = None if options.in_memory else options.scratch
    images = encode_images(encoder, batches, options.pictures, scratch)
    captioned = encode_texts(encoder, texts, folder=scratch)
    text, image = rank(encoder, images, captioned, positives, options.shortlist)
    found = recalls(text.ranks, image.ranks)
    numbers = {
        "recipe": options.recipe,
        "pictures": options.pictures,
        "texts": options.texts,
        "shortlist": options.shortlist,
        "in_memory": options.in_memory,
        "before_mib": round(before),
        "peak_mib": round(peak()),
        "seconds": round(time.perf_counter() - began, 1),
        "text_r10_rerank": found["text_r10_rerank"],
        "image_r10_rerank": found["image_r10_rerank"],
    }
    print(json.dumps(numbers))
    if options.json:
        options.json.write_text(json.dumps(numbers, indent=2) + "\n")


if __name__ == "__main__":
    main()
