"""From own rows to answers: `python -m benchmarks.own_data [--quick] [--json own_data.json]`.

Each line is a command of its own, timed from its start to its end, with everything in it: imports, tables,
training, baselines, scores, report. Two cores are asked for, by `--threads`.

- `first answers`: 200 sentences, the default preset, and then `xfm predict` for all of them.
- `fast`: 4,000 sentences with `--preset fast`, on a language encoder of MiniLM's size (6 layers of 384).
- `dry run`: what `--dry-run` predicts for the training of the first line, beside what the whole run took.

Sentences are made by a seed, of words that hint at their class and of others that do not; the encoder of
MiniLM's size has random weights: what is measured is time. Times of a machine that does other work, too, are
worth nothing: the load at the beginning stands in the result.
"""

import argparse
import csv
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from xfm.config.encoders import FusionConfig, LanguageConfig, VisionConfig
from xfm.config.model import ModelConfig
from xfm.core.files import write_text
from xfm.data.tokenizer import train_tokenizer
from xfm.models.folder import Preprocessing, save_model
from xfm.models.xfm import XFM

TASK = "text-classification"
HINTS: dict[str, tuple[str, ...]] = {
    "good": ("wonderful", "great", "lovely", "brilliant", "charming", "superb", "moving", "funny"),
    "bad": ("dull", "awful", "boring", "poor", "terrible", "weak", "tedious", "sad"),
}
OTHERS = (
    "the",
    "film",
    "story",
    "plot",
    "was",
    "and",
    "with",
    "a",
    "very",
    "long",
    "in",
    "its",
    "own",
    "way",
)
SURE = 0.85
"""Share of the hints that hint at the class itself."""


@dataclass(frozen=True)
class Timed:
    """A line of the table.

    Attributes:
        what: in words.
        seconds: of the command or commands.
        processor: seconds of all processors that they used, which other work on the machine changes less.
        goal: seconds at most; None for none.
        more: what else there is to say.
    """

    what: str
    seconds: float
    processor: float
    goal: float | None = None
    more: str = ""


def write_sentences(path: Path, count: int, seed: int = 0) -> Path:
    """A table of sentences, about 25 words each, with two hints at their class."""
    rng = random.Random(seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("text", "label"))
        for number in range(count):
            label = rng.choice([*HINTS])
            words = [rng.choice(OTHERS) for _ in range(rng.randint(10, 40))]
            for _ in range(2):
                said = label if rng.random() < SURE else next(one for one in HINTS if one != label)
                words.insert(rng.randrange(len(words)), rng.choice(HINTS[said]))
            table.writerow((f"{' '.join(words)} {number}", label))
    return path


def save_like_minilm(folder: Path) -> Path:
    """A model whose language encoder has MiniLM's size, 6 layers of 384, and the rest is small."""
    words = [" ".join([*OTHERS, *(word for own in HINTS.values() for word in own)])]
    tokenizer = train_tokenizer(words, 400)
    language = LanguageConfig(30_522, width=384, depth=6, heads=12, mlp_width=1536, max_positions=514)
    config = ModelConfig(
        vision=VisionConfig(32, 8, 32, 1, 2, drop_path=0.0),
        language=language,
        fusion=FusionConfig(depth=1, heads=4, mlp_width=64),
        projection=16,
    )
    save_model(folder, XFM(config).eval(), tokenizer, Preprocessing(32), {"recipe": "like MiniLM"})
    return folder


@dataclass(frozen=True)
class Done:
    """An xfm command that ended well: its seconds, those of the processors, and what it printed."""

    seconds: float
    processor: float
    said: str


def command(threads: int, *words: str | Path) -> Done:
    """Run an xfm command."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    began, used = time.perf_counter(), os.times()
    done = subprocess.run(
        [sys.executable, "-m", "xfm", *map(str, words)], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"xfm {words[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    now = os.times()
    processor = now.children_user + now.children_system - used.children_user - used.children_system
    return Done(time.perf_counter() - began, processor, done.stdout)


def predicted_seconds(said: str) -> float:
    """The time that a dry run tells."""
    found = re.search(r"^Time: +about (?:(\d+) min )?(\d+) s", said, re.MULTILINE)
    if found is None:
        raise SystemExit(f"the dry run told no time: {said}")
    return 60 * int(found[1] or 0) + int(found[2])


def measured(folder: Path, model: str, rows: int, many: int, threads: int) -> list[Timed]:
    """Every line of the table."""
    few = write_sentences(folder / "few.csv", rows)
    given = (TASK, "--model", model, "--train", few, "--quiet", "--device", "cpu")
    plan = command(threads, "finetune", *given, "--dry-run")
    expected = predicted_seconds(plan.said)
    tuned = command(threads, "finetune", *given, "--out", folder / "good")
    answers = ("--input", few, "--out", folder / "answers.jsonl", "--quiet", "--device", "cpu")
    asked = command(threads, "predict", TASK, "--model", folder / "good", *answers)
    verdict = tuned.said.strip().splitlines()[-1]
    like = save_like_minilm(folder / "like-minilm")
    table = write_sentences(folder / "many.csv", many)
    given = (TASK, "--model", like, "--train", table, "--quiet", "--device", "cpu")
    fast = command(threads, "finetune", *given, "--preset", "fast", "--out", folder / "fast")
    first = (tuned.seconds + asked.seconds, tuned.processor + asked.processor)
    factor = f"a factor of {tuned.seconds / expected:.2f}"
    said = f"predicted {expected:.0f} s, the run took {tuned.seconds:.0f} s: {factor}"
    minilm = f"{many:,} sentences, --preset fast, an encoder of MiniLM's size"
    return [
        Timed(f"{rows:,} rows, default preset, then answers", *first, 60.0, verdict),
        Timed(minilm, fast.seconds, fast.processor, 90.0),
        Timed("dry run of the first", plan.seconds, plan.processor, None, said),
    ]


def main(options: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="small", help="of the first line")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="few rows: whether it works, not how fast")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(options)
    rows, many = (40, 80) if given.quick else (200, 4000)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="xfm-own-data-") as folder:
        found = measured(Path(folder), given.model, rows, many, given.threads)
    for one in found:
        goal = "" if one.goal is None else f"  (goal: {one.goal:.0f} s)"
        print(
            f"{one.what:<62} {one.seconds:7.1f} s{goal}, {one.processor:.1f} s of the processors  {one.more}"
        )
    print(f"load at the beginning {load:.2f}, {given.threads} threads, {os.cpu_count()} processors")
    if given.json:
        written = {"load": load, "threads": given.threads, "lines": [asdict(one) for one in found]}
        write_text(given.json, json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
