"""What the evaluations of the edition `published` cost, by counting: operations, and hours at a given rate.

    python -m benchmarks.published_cost --rate 100

Multiplications of matrices are counted for a model of the size of `base`, with rows of the official
training splits and epochs of the recipes, each backward pass as two forward passes. Decoding of pictures,
texts of other lengths, validation and tests are not counted: what is printed is an order of magnitude, and
was not measured. Nothing here imports torch.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from xfm.config.benchmark import BenchmarkRecipe, Edition, load_benchmark

DEPTH, WIDTH, PATCH, WORDS = 12, 768, 16, 50_265
"""Of all three encoders, and of the vocabulary."""
PAIR, TEXT, WRITTEN = 20, 40, 12
"""Tokens of a caption or question, of a text of GLUE, and of what a decoder learns to write: rough means."""
LINEAR = {
    **{"cifar10": 50_000, "cifar100": 50_000, "mnist": 60_000, "food101": 75_750, "fgvc-aircraft": 3_334},
    **{"dtd": 1_880, "oxford-pets": 3_680, "country211": 31_650, "stanford-cars": 8_144, "sun397": 87_003},
    **{"caltech101": 6_942, "flowers102": 1_020, "gtsrb": 26_640, "stl10": 5_000, "fer2013": 28_709},
    **{"pcam": 262_144, "rendered-sst2": 6_920},
}
GLUE = {
    **{"cola": 8_551, "sst2": 67_349, "mrpc": 3_668, "stsb": 5_749, "qqp": 363_846, "mnli": 392_702},
    **{"qnli": 104_743, "rte": 2_490},
}


def alone(tokens: int) -> int:
    """Multiplications of an encoder over its own tokens."""
    return DEPTH * (12 * WIDTH**2 * tokens + 2 * tokens**2 * WIDTH)


def crossed(tokens: int, seen: int) -> int:
    """Of fusion or decoder: tokens that attend to themselves, and to what is seen."""
    inside = 14 * WIDTH**2 * tokens + 2 * WIDTH**2 * seen
    return DEPTH * (inside + 2 * tokens * (tokens + seen) * WIDTH)


def patches(pixels: int) -> int:
    """Slots of a picture."""
    return (pixels // PATCH) ** 2 + 1


def retrieval(pixels: int) -> int:
    """A pair, and the two that are no pairs."""
    seen = patches(pixels)
    return alone(seen) + alone(PAIR) + 3 * crossed(PAIR, seen)


def answering(pixels: int) -> int:
    """A question with its answers."""
    seen = patches(pixels)
    return alone(seen) + alone(PAIR) + crossed(PAIR, seen) + crossed(WRITTEN, PAIR) + WRITTEN * WIDTH * WORDS


def reasoning(pixels: int) -> int:
    """A sentence with two pictures."""
    seen = patches(pixels)
    return 2 * (alone(seen) + crossed(PAIR, seen)) + alone(PAIR)


def grounding(pixels: int) -> int:
    """A phrase."""
    seen = patches(pixels)
    return alone(seen) + alone(PAIR) + crossed(PAIR, seen)


def captioning(pixels: int) -> int:
    """A caption."""
    seen = patches(pixels)
    return alone(seen) + crossed(PAIR, seen) + PAIR * WIDTH * WORDS


def picture(pixels: int) -> int:
    """A picture by itself."""
    return alone(patches(pixels))


@dataclass(frozen=True)
class PartCost:
    """An evaluation: its recipes with their training rows, what a row takes, and how many forward passes."""

    name: str
    recipes: dict[str, int]
    each: Callable[[int], int]
    passes: int = 3


WORK = (
    PartCost("GLUE, all eight", GLUE, lambda pixels: alone(TEXT)),
    PartCost("COCO retrieval", {"coco": 566_747}, retrieval),
    PartCost("Flickr30k retrieval", {"flickr30k": 145_000}, retrieval),
    PartCost("VQA v2 with Visual Genome", {"vqa": 443_757 + 214_354 + 1_445_322}, answering),
    PartCost("NLVR2", {"nlvr2": 86_373}, reasoning),
    PartCost("RefCOCO+", {"refcoco+": 120_191}, grounding),
    PartCost("COCO captions", {"coco-captions": 566_747}, captioning),
    PartCost("linear evaluation, PCam", {"pcam-linear": LINEAR["pcam"]}, picture, 1),
    PartCost(
        "linear evaluation, the other 16 sets",
        {f"{name}-linear": rows for name, rows in LINEAR.items() if name != "pcam"},
        picture,
        1,
    ),
    PartCost("ImageNet, linear evaluation", {"imagenet-linear": 1_281_167}, picture, 1),
    PartCost("ImageNet, fine-tuned", {"imagenet": 1_281_167}, picture),
)


def counted(work: PartCost) -> tuple[float, float]:
    """Rows that are seen, each as often as it is, and operations."""
    seen = operations = 0.0
    for name, rows in work.recipes.items():
        recipe: BenchmarkRecipe = load_benchmark(name, edition=Edition.PUBLISHED)
        seen += rows * recipe.epochs
        operations += 2 * rows * recipe.epochs * work.passes * work.each(recipe.settings.image_size)
    return seen, operations


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=100.0, help="TFLOP/s that training reaches")
    rate = parser.parse_args().rate
    print(f"| evaluation | rows x epochs | operations | hours at {rate:g} TFLOP/s |\n|---|---|---|---|")
    for work in WORK:
        seen, operations = counted(work)
        hours = operations / rate / 3.6e15
        print(f"| {work.name} | {seen / 1e6:.1f} M | {operations:.0e} | {hours:.2g} |")


if __name__ == "__main__":
    main()
