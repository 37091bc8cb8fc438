"""Preparations of miniature corpora, as `xfm prepare` makes them."""

from pathlib import Path
from typing import Any

from xfm.config.corpora import CorpusName, Duplicates, PrepareConfig
from xfm.corpora.preparation import Preparation
from xfm.corpora.prepare import CorpusManifest, prepare
from xfm.executors.executor import Executor, LocalPool


def preparation(corpus: str, source: Path, target: Path, **settings: Any) -> Preparation:
    own = {name: settings.pop(name) for name in ("columns", "pictures", "max_bad") if name in settings}
    settings |= {"duplicates": Duplicates(settings.get("duplicates", "keep"))}
    config = PrepareConfig(**{"shard_size": 2, "workers": 1, **settings})
    return Preparation(CorpusName(corpus), source, target, config, **own)


def prepared(
    corpus: str,
    source: Path,
    target: Path,
    executor: Executor | None = None,
    force: bool = False,
    **settings: Any,
) -> CorpusManifest:
    asked = preparation(corpus, source, target, **settings)
    found = prepare(asked, executor or LocalPool(1), progress=False, force=force)
    assert found is not None
    return found
