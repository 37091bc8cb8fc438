"""`data.text.tokens` through the loader: padding within the budget, and the same stream however it is read."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.data.conftest import Corpus, batches, write_tar
from tests.refusals import expect_refusal
from xfm.config.data import CorpusConfig, DataConfig, Order, StreamConfig, TokenMaskConfig
from xfm.data.lengths import length_classes
from xfm.data.loader import PretrainingData
from xfm.data.schema import Batch
from xfm.data.sources import open_source
from xfm.data.sources.base import ConcatSource
from xfm.data.sources.shard_index import index_folder

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
    """Two weighted corpora, one in runs."""
    corpora = [
        CorpusConfig(str(folder / "rows.jsonl"), 2),
        CorpusConfig(str(folder / "indexed"), 1, order=Order.RUNS, run=100, window=2),
    ]
    mask = TokenMaskConfig(0.15, 20, LONGEST)
    return corpus.only(text=StreamConfig(corpora=corpora, tokens=BUDGET), text_mask=mask)


def rows(batch: Batch) -> list[tuple[list[int], list[int]]]:
    """Tokens and labels of each text, without padding."""
    assert batch.text is not None
    parts = zip(batch.text.tokens.ids, batch.text.tokens.mask, batch.text.masked.labels, strict=True)
    return [(ids[mask].tolist(), labels[labels != -100].tolist()) for ids, mask, labels in parts]


@pytest.fixture(scope="module")
def whole(config: DataConfig) -> list[Batch]:
    return batches(config, 0, 60)


# ------------------------------------------------------------------ lengths
@pytest.mark.parametrize("name", ["rows.jsonl", "indexed", "mixed", "mixed/text-00001.tar"])
def test_sizes_are_known_without_reading(folder: Path, texts: list[str], name: str) -> None:
    source = open_source(folder / name, "text")
    sizes = source.text_bytes(0, len(source))
    extra = len('{"text": ""}') if name.endswith("jsonl") else 0
    read = [len(source.record(index).annotation["text"]) + extra for index in range(len(source))]
    assert sizes.tolist() == read
    for first, stop in ((0, 1), (299, 301), (7, len(source) - 2)):
        if stop < len(source):
            assert source.text_bytes(first, stop).tolist() == read[first:stop]


def test_several_sources_are_one(folder: Path) -> None:
    parts = [open_source(folder / name, "text") for name in ("rows.jsonl", "indexed")]
    both = ConcatSource(parts)
    sizes = np.concatenate([part.text_bytes(0, len(part)) for part in parts])
    for first, stop in ((0, 1800), (850, 950), (900, 901), (3, 4)):
        assert both.text_bytes(first, stop).tolist() == sizes[first:stop].tolist()


def test_few_texts_are_longer_than_their_class(corpus: Corpus, folder: Path) -> None:
    source = open_source(folder / "indexed", "text")
    classes = length_classes(source, corpus.tokenizer, LONGEST, BUDGET)
    assert len(classes.of) == len(source)
    assert set(classes.of.tolist()) == set(range(len(classes.longest)))
    assert list(classes.longest) == sorted(set(classes.longest))
    assert len(classes.longest) > 2
    found = [source.read(index).text for index in range(len(source))]  # type: ignore[union-attr]
    tokens = np.array([len(ids) for ids, _ in corpus.tokenizer.encode_lists(found, LONGEST)])
    longest = np.array(classes.longest)[classes.of]
    assert (tokens > longest).mean() < 0.02
    assert tokens.sum() / longest.sum() > 0.7


def test_bytes_that_say_nothing_are_one_class(corpus: Corpus, tmp_path: Path) -> None:
    """Rows of one size, and of any length: batches hold as many as fit if all are as long as may be."""
    rng, lines = np.random.default_rng(0), []
    for _ in range(600):
        line = json.dumps({"text": " ".join(rng.choice(WORDS, size=int(rng.integers(1, 40))))})
        lines.append(line[:-1] + f', "more": "{"x" * (500 - len(line))}"}}')
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    source = open_source(tmp_path / "rows.jsonl", "text")
    assert length_classes(source, corpus.tokenizer, LONGEST, BUDGET).longest == [LONGEST]


# ------------------------------------------------------------------ batches
def test_no_batch_has_more_than_its_tokens(whole: list[Batch]) -> None:
    sizes = [batch.text.tokens.ids.shape for batch in whole if batch.text]
    assert max(count * length for count, length in sizes) <= BUDGET
    assert len({count for count, _ in sizes}) > 3
    places, real = sum(c * n for c, n in sizes), sum(len(ids) for batch in whole for ids, _ in rows(batch))
    assert real / places > 0.7
    assert places / (BUDGET * len(whole)) > 0.85


def test_an_epoch_shows_every_text_once(corpus: Corpus, config: DataConfig, folder: Path) -> None:
    for corpora in config.text.corpora:
        alone = replace(config, text=replace(config.text, corpora=[corpora]))
        data = PretrainingData(alone, 96, 12, 3)
        steps = data._builder._streams["text"].mixture.corpora[0].batches  # type: ignore[index, union-attr]
        seen = [str(origin) for batch in data.batches(0, steps) for origin in batch.origins]
        assert len(seen) == len(set(seen)) == 900


def test_ranks_and_workers_and_where_it_begins_do_not_matter(config: DataConfig, whole: list[Batch]) -> None:
    """1 -> 2 -> 3 -> 1 processes, with other numbers of loaders."""
    for start, world, workers in ((0, 1, 2), (20, 2, 0), (35, 3, 1), (50, 1, 0)):
        now, stop = replace(config, workers=workers), start + 10
        shares = [batches(now, start, stop, rank=rank, world=world) for rank in range(world)]
        for batch, *parts in zip(whole[start:stop], *shares, strict=True):
            assert [row for part in parts for row in rows(part)] == rows(batch)
            assert [origin for part in parts for origin in part.origins] == list(batch.origins)


def test_a_bad_text_is_replaced_within_the_budget(corpus: Corpus, config: DataConfig, tmp_path: Path) -> None:
    """By the next one, whatever its length."""
    lines = [json.dumps({"text": "cat" if i % 2 else "a red house " * 20}) for i in range(200)]
    lines[::10] = ['{"text": 5}'] * 20
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    text = StreamConfig(corpora=[CorpusConfig(str(tmp_path / "rows.jsonl"))], tokens=BUDGET)
    found = batches(replace(config, text=text), 0, 60)
    assert any(batch.skipped for batch in found)
    assert all(batch.text.tokens.ids.numel() <= BUDGET for batch in found if batch.text)


# ------------------------------------------------------------------ settings
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: replace(c, text=replace(c.text, tokens=20)), ["data.text.tokens is 20", "48"]),
        (lambda c: replace(c, text=replace(c.text, tokens=-1)), ["data.text.tokens is -1"]),
        (lambda c: replace(c, pair=StreamConfig(tokens=99)), ["data.pair.tokens is 99", "only plain text"]),
        (
            lambda c: replace(c, text=replace(c.text, corpora=[CorpusConfig("a.tar", group=2)])),
            ["data.text.tokens is 256", "group"],
        ),
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
