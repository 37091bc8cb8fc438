"""Three questions about real sentences, for linear probes of language encoders.

    pip download --no-deps --dest build vaderSentiment==0.5

The archive (MIT licence) holds the rated sentences of its paper. A linear probe on the mean of an encoder's
token states says whether a film review is favourable, whether a tweet is, and which of four sources a
sentence is from.
"""

import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray

from xfm.config.probing import RegressionConfig
from xfm.config.training import Precision
from xfm.core.errors import UserError
from xfm.core.files import open_regular
from xfm.evaluation.probing.linear_probe import fit_probe
from xfm.finetuning.frozen_features import LabelledFeatures
from xfm.metrics.classification import Array
from xfm.models.encoders import encode_first
from xfm.models.folder import Pretrained
from xfm.models.precision import autocast

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


def probed(model: Pretrained, asked: list[Question]) -> dict[str, NDArray[np.bool_]]:
    """Which of the tested sentences of each question a probe gets right, [N] bool each."""
    found: dict[str, NDArray[np.bool_]] = {}
    texts = list(dict.fromkeys(text for one in asked for text in one.texts))
    states, places = states_of(model, texts), {text: place for place, text in enumerate(texts)}
    for one in asked:
        features = states[[places[text] for text in one.texts]]
        rows = LabelledFeatures(features[~one.tested], one.labels[~one.tested])
        config = RegressionConfig(standardise=True, lowest=-4, highest=2)
        found[one.name] = (
            fit_probe(rows, None, config).predict(features[one.tested]) == one.labels[one.tested]
        )
    return found


def floors(asked: list[Question]) -> tuple[dict[str, float], dict[str, float]]:
    """Accuracies of what needs no encoder: the most frequent label, and a linear probe of TF-IDF."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    usual, words = dict[str, float](), dict[str, float]()
    for one in asked:
        texts = np.array(one.texts, dtype=object)
        known, true = one.labels[~one.tested], one.labels[one.tested]
        names, counts = np.unique(known, return_counts=True)
        usual[one.name] = float((true == names[counts.argmax()]).mean())
        model = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=500)
        )
        words[one.name] = float(
            (model.fit(texts[~one.tested], known).predict(texts[one.tested]) == true).mean()
        )
    return usual, words
