"""`data.text.tokens` through the loader: within the budget, and the same stream however it is read."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.conftest import Corpus, batches, write_tar
from tests.refusals import expect_refusal
from xfm.config.data import CorpusConfig, DataConfig, Order, StreamConfig, TokenMaskConfig
from xfm.data import token_counts
from xfm.data.buckets import LengthClasses
from xfm.data.loader import PretrainingData
from xfm.data.schema import Batch
from xfm.data.sources import open_source
from xfm.data.sources.base import RecordSource
from xfm.data.sources.shard_index import index_folder
from xfm.data.token_counts import text_lengths

WORDS = ["cat", "dog", "house", "tree", "umbrella", "red", "green"]
BUDGET = 256
LONGEST = 48


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rng = np.random.default_rng(1)
    return [" ".join(rng.choice(WORDS, size=int(rng.geometric(0.06)))) for _ in range(900)]


@pytest.fixture(scope="module")
def folder(corpus: Corpus, texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The texts as rows, as shards with an index, and as shards beside pictures without any text."""
    folder = tmp_path_factory.mktemp("texts")
    (folder / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    for name, more in (("indexed", {}), ("mixed", {"zz.jpg": b"no picture, and no text"})):
        (folder / name).mkdir()
        for shard in range(3):
            members = {f"{i:05d}.txt": text.encode() for i, text in enumerate(texts) if i % 3 == shard}
            write_tar(folder / name / f"text-{shard:05d}.tar", members | more)
    index_folder(folder / "indexed", sorted((folder / "indexed").glob("*.tar")), progress=False)
    return folder


@pytest.fixture(scope="module")
def config(corpus: Corpus, folder: Path) -> DataConfig:
    corpora = [
        CorpusConfig(str(folder / "rows.jsonl"), 2),
        CorpusConfig(str(folder / "indexed"), 1, order=Order.RUNS, run=100, window=2),
    ]
    mask = TokenMaskConfig(0.15, 20, LONGEST)
    return corpus.only(text=StreamConfig(corpora=corpora, tokens=BUDGET), text_mask=mask)


def rows(batch: Batch) -> list[tuple[list[int], list[int]]]:
    assert batch.text is not None
    parts = zip(batch.text.tokens.ids, batch.text.tokens.mask, batch.text.masked.labels, strict=True)
    return [(ids[mask].tolist(), labels[labels != -100].tolist()) for ids, mask, labels in parts]


@pytest.fixture(scope="module")
def whole(config: DataConfig) -> list[Batch]:
    return batches(config, 0, 60)


# ------------------------------------------------------------------ lengths
def in_tokens(corpus: Corpus, source: RecordSource) -> list[int]:
    """Of every text, up to a multiple of eight; of long ones another part is read each time."""
    found = [source.read(index).text for index in range(len(source))]  # type: ignore[union-attr]
    counts = [len(ids) for ids, _ in corpus.tokenizer.encode_lists(found, LONGEST)]
    return [
        LONGEST if len(text) > 4 * LONGEST else min(-(-count // 8) * 8, LONGEST)
        for text, count in zip(found, counts, strict=True)
    ]


@pytest.mark.parametrize(("name", "workers"), [("rows.jsonl", 0), ("indexed", 2), ("mixed", 0)])
def test_tokens_are_counted(
    corpus: Corpus, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, workers: int
) -> None:
    """In this process or in loaders that come in turns; the second time they are known."""
    monkeypatch.setattr(token_counts, "SMALL", 100)
    monkeypatch.setattr(token_counts, "_AT_ONCE", 250)
    monkeypatch.setenv("XFM_CACHE", str(tmp_path))
    source = open_source(folder / name, "text")
    expected = in_tokens(corpus, source)
    found = text_lengths(source, corpus.tokenizer, LONGEST, workers, 60)
    assert [found[1][place] for place in found[0]] == expected
    (kept,) = tmp_path.glob("lengths/*.npy")
    monkeypatch.setattr(token_counts, "_counted", None)
    again = text_lengths(open_source(folder / name, "text"), corpus.tokenizer, LONGEST, workers, 60)
    assert np.array_equal(again[0], found[0])
    kept.write_bytes(kept.read_bytes()[:-1])  # damaged: counted again
    with pytest.raises(TypeError):
        text_lengths(source, corpus.tokenizer, LONGEST, workers, 60)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=400), st.integers(96, 2000))
def test_lengths_are_joined_until_there_are_some_batches(lengths: list[int], budget: int) -> None:
    tokens = [8 * place for place in range(13)]
    found = LengthClasses.joined(np.array(lengths, np.uint8), tokens, budget)
    assert list(found.longest) == sorted(set(found.longest))
    for place, longest in enumerate(found.longest):
        of = np.array(lengths)[found.of == place]
        assert of.max() * 8 == longest
        assert len(found.longest) == 1 or len(of) * longest >= 8 * budget
    assert (np.diff(found.of[np.argsort(lengths, kind="stable")].astype(int)) >= 0).all()


# ------------------------------------------------------------------ batches
def test_no_batch_has_more_than_its_tokens(whole: list[Batch]) -> None:
    sizes = [batch.text.tokens.ids.shape for batch in whole if batch.text]
    assert max(count * length for count, length in sizes) <= BUDGET
    assert len({count for count, _ in sizes}) > 3
    places, real = sum(c * n for c, n in sizes), sum(len(ids) for batch in whole for ids, _ in rows(batch))
    assert real / places > 0.75
    assert places / (BUDGET * len(whole)) > 0.85


def test_an_epoch_shows_every_text_once(corpus: Corpus, config: DataConfig, folder: Path) -> None:
    for corpora in config.text.corpora:
        alone = replace(config, text=replace(config.text, corpora=[corpora]))
        data = PretrainingData(alone, 96, 12, 3)
        seen: list[str] = []
        for step, batch in enumerate(data.batches(0, 900)):
            assert data.size(step) == len(batch.origins)
            seen += map(str, batch.origins)
            if len(seen) >= 900:
                break
        assert len(seen) == len(set(seen)) == 900


def test_ranks_and_workers_and_where_it_begins_do_not_matter(config: DataConfig, whole: list[Batch]) -> None:
    """1 -> 2 -> 3 -> 1 processes, with other numbers of loaders."""
    for start, world, workers in ((0, 1, 2), (20, 2, 0), (35, 3, 1), (50, 1, 0)):
        now, stop = replace(config, workers=workers), start + 10
        shares = [batches(now, start, stop, rank=rank, world=world) for rank in range(world)]
        for batch, *parts in zip(whole[start:stop], *shares, strict=True):
            assert [row for part in parts for row in rows(part)] == rows(batch)
            assert [origin for part in parts for origin in part.origins] == list(batch.origins)


# ------------------------------------------------------------------ settings
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: replace(c, text=replace(c.text, tokens=20)), ["data.text.tokens is 20", "48"]),
        (lambda c: replace(c, pair=StreamConfig(tokens=99)), ["data.pair.tokens is 99", "only plain text"]),
    ],
)
def test_budgets_that_cannot_be(
    config: DataConfig, change: Callable[[DataConfig], DataConfig], words: list[str]
) -> None:
    with pytest.raises(ValueError, match=words[0]) as caught:
        change(config)
    assert all(word in str(caught.value) for word in words)


def test_a_budget_that_cannot_be_shared(config: DataConfig) -> None:
    with expect_refusal("data.text.tokens", "9 processes", "more tokens"):
        PretrainingData(config, 96, 12, 0, world=9)
    nothing = replace(config, text=StreamConfig(tokens=BUDGET))
    with expect_refusal("data.text.tokens is 256 but data.text.corpora is empty"):
        PretrainingData(nothing, 96, 12, 0)
