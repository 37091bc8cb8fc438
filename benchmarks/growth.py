"""How the cost of inference grows: with batch, length, resolution and gallery.

    python -m benchmarks.growth [small] [--rounds 5] [--json FILE] [--csv FILE]

Milliseconds of a pass, medians over rounds that go through all sizes in turn, so that other work on the
machine falls on all of them. Arithmetic is what is faster here, as `--precision auto` has it.
"""

import argparse
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import torch
from benchmarks.encoders import seconds
from benchmarks.results import add_outputs, write_outputs

import xfm
from xfm.config.training import Precision
from xfm.models.folder import Pretrained
from xfm.models.precision import autocast, hold
from xfm.tasks.ranking import cosines, shortlist
from xfm.training.cpu_runtime import prepare_process

Run = Callable[[], object]


@dataclass(frozen=True)
class Size:
    """What a pass of one size takes: of `items` pictures, texts or pairs."""

    what: str
    size: str
    items: int
    milliseconds: float


def pictures(found: Pretrained, count: int) -> Run:
    """Encode pictures."""
    side = found.model.config.vision.image_size
    pixels = torch.randn(count, 3, side, side)
    return lambda: found.model.embed_image(pixels)


def texts(found: Pretrained, count: int, length: int) -> Run:
    """Encode texts of one length."""
    ids = torch.randint(4, found.model.config.language.vocab_size, (count, length))
    return lambda: found.model.embed_text(ids, torch.ones_like(ids, dtype=torch.bool))


def pairs(found: Pretrained, shown: int, said: int) -> Run:
    """Match some texts with some pictures, each with each."""
    model = found.model
    image = torch.randn(shown, 1 + model.config.vision.patches, model.config.vision.width)
    text, mask = torch.randn(said, 16, model.config.language.width), torch.ones(said, 16, dtype=torch.bool)
    image_index = torch.arange(shown).repeat_interleave(said)
    text_index = torch.arange(said).repeat(shown)
    return lambda: model.match_logits(model.fuse_first(text, mask, image, image_index, text_index))


def gallery(found: Pretrained, count: int) -> Run:
    """The best 32 of a gallery in memory, by contrast."""
    vectors = torch.nn.functional.normalize(torch.randn(count, found.model.config.projection), dim=-1)
    return lambda: shortlist(cosines(vectors[:1], vectors), 32)


def sizes(model: str) -> Iterator[tuple[str, str, int, Run]]:
    """Everything that is measured."""
    found = xfm.load(model)
    hold(found.encoders, Precision.AUTO, "cpu")
    for count in (1, 4, 16, 64):
        yield "batch of pictures", f"{count}", count, pictures(found, count)
    for length in (8, 16, 32, 64, 128):
        yield "length of 32 texts, tokens", f"{length}", 32, texts(found, 32, length)
    for side in (1, 1.5, 2, 3):
        other = xfm.load(model, image_size=int(side * found.model.config.vision.image_size))
        hold(other.encoders, Precision.AUTO, "cpu")
        yield (
            "resolution of 8 pictures, pixels",
            f"{other.model.config.vision.image_size}",
            8,
            pictures(other, 8),
        )
    for said in (1, 8, 32, 128):
        yield "texts on one picture", f"{said}", said, pairs(found, 1, said)
    for shown in (8, 32, 128):
        yield "pictures for one text", f"{shown}", shown, pairs(found, shown, 1)
    for count in (1_000, 10_000, 100_000):
        yield "gallery in memory, vectors", f"{count:,}", 1, gallery(found, count)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="small")
    parser.add_argument("--rounds", type=int, default=5, help="passes of each size that are counted")
    add_outputs(parser)
    options = parser.parse_args()
    prepare_process()
    measured = [*sizes(options.model)]
    times: list[list[float]] = [[] for _ in measured]
    with torch.inference_mode(), autocast(Precision.AUTO, "cpu"):
        for _ in range(1 + options.rounds):
            for own, (*_, run) in zip(times, measured, strict=True):
                own.append(seconds(run))
    found = [
        Size(what, size, items, round(1e3 * statistics.median(own[1:]), 2))
        for (what, size, items, _), own in zip(measured, times, strict=True)
    ]
    print("| what | size | ms | ms an item |\n|---|---|---|---|")
    for one in found:
        print(f"| {one.what} | {one.size} | {one.milliseconds:.1f} | {one.milliseconds / one.items:.2f} |")
    rows = [{**asdict(one), "ms an item": round(one.milliseconds / one.items, 3)} for one in found]
    write_outputs(options, [{"model": options.model, **row} for row in rows])


if __name__ == "__main__":
    main()
