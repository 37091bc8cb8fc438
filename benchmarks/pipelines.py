"""Rows a second of the pipelines, in batches and one by one, beside the loop that one writes without them.

    python -m benchmarks.pipelines [--rows 400] [--rounds 3] [--recipe nano] [--json FILE] [--csv FILE]

The model is as large as a recipe's and has random weights; pictures are JPEG files of 500 x 375 pixels in a
temporary folder, read and decoded by all contenders. The loop takes a row at a time: read, squash, tokenise,
encode, answer. Contenders take turns in one process, and the median over the rounds counts. Five texts ask
about every picture; all contenders compute in float32, so that their answers are the same (checked). The last
column compares processor time, which other programs on the machine change little.
"""

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.results import add_outputs, write_outputs
from PIL import Image
from tqdm import tqdm

import xfm
from xfm.config.load import load_recipe
from xfm.config.task import TaskConfig
from xfm.data.images import load_image
from xfm.data.tokenizer import normalise_caption, train_tokenizer
from xfm.models.artifacts import framed, model_pixels
from xfm.models.folder import Preprocessing, Pretrained
from xfm.models.task_models import Answerer, TextClassifier, build_task_model
from xfm.models.xfm import XFM
from xfm.tasks.answers import AnswerList, likeliest_answers

WORDS = "a the two red blue green small big dog cat tree house car left right of above below and with".split()  # noqa: SIM905
EACH = 5  # texts about a picture


@dataclass(frozen=True)
class Line:
    """One line of the table: rows a second, and processor time of the loop over that of the batches."""

    task: str
    batched: float
    one_by_one: float
    loop: float
    cpu_ratio: float


def build(recipe: str, task: TaskConfig) -> Pretrained:
    tokenizer = train_tokenizer([" ".join(WORDS)] * 3, 400)
    config = load_recipe(recipe).model
    config = replace(config, language=replace(config.language, vocab_size=tokenizer.vocab_size))
    torch.manual_seed(0)
    model = XFM(config).eval()
    shown = Preprocessing(config.vision.image_size, image_width=config.vision.image_width)
    return Pretrained(tokenizer, shown, {}, build_task_model(task, model).eval(), model=model)


def texts(rng: np.random.Generator, count: int) -> list[str]:
    """Most are short, some are long, as texts are."""
    lengths = np.clip(rng.lognormal(2.2, 0.7, count).astype(int), 2, 60)
    return [" ".join(rng.choice(WORDS, length)) for length in lengths]


def photos(rng: np.random.Generator, folder: Path, count: int) -> list[Path]:
    paths = []
    for number in range(count):
        coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        paths.append(folder / f"{number}.jpg")
        paths[-1].write_bytes(buffer.getvalue())
    return paths


@torch.inference_mode()
def loop_texts(found: Pretrained, rows: list[Any]) -> list[float]:
    assert isinstance(found.task, TextClassifier)
    answers = []
    for text in rows:
        tokens = found.tokenizer.encode_batch([text], 128)
        answers.append(found.task(tokens=tokens).softmax(-1).max().item())
    return answers


def pixels(found: Pretrained, path: Path) -> torch.Tensor:
    return model_pixels(framed(load_image(path), found.preprocessing)[None], found.preprocessing)


@torch.inference_mode()
def loop_embed(found: Pretrained, rows: list[Any]) -> list[float]:
    return [found.model.embed_image(pixels(found, row))[0, 0].item() for row in rows]


@torch.inference_mode()
def loop_match(found: Pretrained, rows: list[Any]) -> list[float]:
    model, answers = found.model, []
    for row in rows:
        tokens = found.tokenizer.encode_batch([normalise_caption(row["text"])], 128)
        text = model.encode_text(tokens.ids, tokens.mask)
        fused = model.fuse(text, tokens.mask, model.encode_image(pixels(found, row["image"])))
        answers.append(model.match_logits(fused).softmax(-1)[0, 1].item())
    return answers


@torch.inference_mode()
def loop_ask(found: Pretrained, rows: list[Any]) -> list[float]:
    assert isinstance(found.task, Answerer)
    answers = []
    listed = AnswerList(found.task.task.answers, found.tokenizer)
    for row in rows:
        tokens = found.tokenizer.encode_batch([normalise_caption(row["question"])], 128)
        memory = found.task.fuse(pixels(found, row["image"]), tokens)
        _, likelihood = likeliest_answers(found.task.decoder, listed, memory, tokens.mask)
        answers.append(likelihood.exp().item())
    return answers


def measure(
    task: str,
    found: Pretrained,
    rows: list[Any],
    loop: Callable[[Pretrained, list[Any]], list[float]],
    value: Callable[[Any], float],
    rounds: int,
) -> Line:
    pipe = xfm.pipeline(task, model=found)
    contenders: dict[str, Callable[[], list[float]]] = {
        "batched": lambda: [value(answer) for answer in pipe(rows)],
        "one_by_one": lambda: [value(pipe(row)) for row in rows],
        "loop": lambda: loop(found, rows),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    busy: dict[str, list[float]] = {name: [] for name in contenders}
    answers: dict[str, list[float]] = {}
    for turn in tqdm(range(rounds + 1), desc=task, leave=False):
        for name, contender in contenders.items():
            began, used = time.perf_counter(), time.process_time()
            answers[name] = contender()
            if turn:  # the first is to warm up
                seconds[name].append(time.perf_counter() - began)
                busy[name].append(time.process_time() - used)
    for name in ("one_by_one", "loop"):
        np.testing.assert_allclose(answers[name], answers["batched"], rtol=0, atol=1e-5)
    rates = {name: len(rows) / statistics.median(taken) for name, taken in seconds.items()}
    return Line(task, **rates, cpu_ratio=statistics.median(busy["loop"]) / statistics.median(busy["batched"]))


def lines(recipe: str, count: int, rounds: int, folder: Path) -> list[Line]:
    rng = np.random.default_rng(0)
    said, shown = texts(rng, count), photos(rng, folder, -(-count // EACH))
    owner = [shown[number // EACH] for number in range(count)]
    order = rng.permutation(count)  # rows of one picture lie apart, but within some hundred rows
    order = np.concatenate([np.sort(part) for part in np.array_split(order, max(1, count // 400))])
    pairs = [{"image": owner[n], "text": said[n]} for n in order]
    asked = [{"image": owner[n], "question": said[n]} for n in order]
    names = tuple(dict.fromkeys(" ".join(rng.choice(WORDS, 2)) for _ in range(100)))
    text = build(recipe, TaskConfig("text-classification", 3))
    vqa = build(recipe, TaskConfig("vqa", answers=names))
    plain = build(recipe, TaskConfig("retrieval"))
    return [
        measure("text-classification", text, said, loop_texts, lambda a: a[0]["score"], rounds),
        measure("embed", plain, shown, loop_embed, lambda a: float(a[0]), rounds),
        measure("image-text-matching", plain, pairs, loop_match, lambda a: a["score"], rounds),
        measure("vqa", vqa, asked, loop_ask, lambda a: a[0]["score"], rounds),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=400, help="rows of a task")
    parser.add_argument("--rounds", type=int, default=3, help="turns that are counted")
    parser.add_argument("--recipe", default="nano", help="whose model's size")
    add_outputs(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = lines(options.recipe, options.rows, options.rounds, Path(name))
    print(f"{'rows a second':<28}{'batched':>9}{'single':>9}{'loop':>9}{'times the loop':>16}{'by CPU':>9}")
    for line in found:
        rates = f"{line.batched:>9.0f}{line.one_by_one:>9.0f}{line.loop:>9.0f}"
        print(f"{line.task:<28}{rates}{line.batched / line.loop:>16.2f}{line.cpu_ratio:>9.2f}")
    write_outputs(options, [{"recipe": options.recipe, **asdict(line)} for line in found])


if __name__ == "__main__":
    main()
