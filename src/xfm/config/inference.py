"""Sharing of rows among processes, formats of vectors, and generation. Nothing here imports torch."""

from dataclasses import dataclass
from enum import StrEnum

from xfm.config.typed import MAX_SEED, Limited, check_range, limited

MOST_PROCESSES = 1024
MOST_ROWS = 1_000_000
UNIT_ROWS = 1000
"""Rows of a unit of work where nobody said how many."""


class EngineName(StrEnum):
    """Who does the work: processes of this machine, or Ray tasks."""

    LOCAL = "local"
    RAY = "ray"


@dataclass(frozen=True)
class SharingConfig(Limited):
    """How rows are shared among processes and machines, in units of work that can be done by any of them.

    Attributes:
        engine: who does the work. Does not change the result.
        processes: that work, each with a model; 0 takes one a core, with a GPU one, of Ray all there is.
        unit_size: rows of a unit, which are computed together; 0 takes 1000, of a collection 256.
    """

    engine: EngineName = EngineName.LOCAL
    processes: int = limited(0, 0, MOST_PROCESSES)
    unit_size: int = limited(0, 0, MOST_ROWS)


class VectorFormat(StrEnum):
    """Files of vectors.

    parquet: the columns row (or image, of a folder), those of --keep, warning, and vector.
    npy: arrays [N, E] of NumPy, and a file of JSON lines beside each that says whose they are.
    """

    PARQUET = "parquet"
    NPY = "npy"


MOST = 4096  # far above any caption: a typing error stops before memory is taken


@dataclass(frozen=True)
class Generation(Limited, place="generation."):
    """How texts are written: by beam search for those of highest score, which is log-likelihood over
    (number of tokens after the first) ** length_penalty, or by drawing tokens.

    Attributes:
        max_tokens: longest text in tokens, begin and end token included, where a text is cut.
        min_tokens: shortest text in tokens, counted alike.
        texts: texts for each picture or question.
        beams: unfinished texts that the search keeps at every step, at least `texts` of them; 1 takes the
            likeliest token each time.
        length_penalty: 0 compares log-likelihoods, which favours short texts; 1 their mean over the tokens.
        sample: draw tokens instead of searching.
        temperature: of draws; divides the logits; below 1 the likely tokens become likelier.
        top_k: only this many of the likeliest tokens are drawn from; 0 takes all.
        top_p: only the likeliest tokens that together have this probability are drawn from.
        seed: of draws; the same picture or question gets the same texts, whatever else is in its batch.
    """

    max_tokens: int = limited(30, 2, MOST)
    min_tokens: int = 2
    texts: int = limited(1, 1, MOST)
    beams: int = limited(3, 1, MOST)
    length_penalty: float = limited(1.0, -100, 100)
    sample: bool = False
    temperature: float = limited(1.0, 1e-3, 1000)
    top_k: int = limited(0, 0)
    top_p: float = limited(1.0, 1e-6, 1)
    seed: int = limited(0, 0, MAX_SEED)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("generation.min_tokens", self.min_tokens, 2, self.max_tokens)
