"""sentence-transformers loads our folders, and gives our numbers."""

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import xfm
from tests.alike import thorough
from tests.inference.models import pictures, texts
from tests.inference.support import Folders, close
from xfm.cli.main import main
from xfm.config.labels import MatchCalibration
from xfm.inference import sentence_folder
from xfm.inference.loading import LoadedModel
from xfm.models.model_files import write_calibration

pytest.importorskip("sentence_transformers", minversion="6")

from sentence_transformers import CrossEncoder, SentenceTransformer

from xfm.inference import sentence_transformers as adapter

SAID, SHOWN = texts(9), pictures(5)


@pytest.fixture(scope="module")
def source(folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model with a calibrated matching head."""
    folder = tmp_path_factory.mktemp("calibrated") / "model"
    xfm.XFM.from_pretrained(folders[None]).save_pretrained(folder)
    write_calibration(folder, MatchCalibration(0.7, -0.3, pairs=10, data="a test"))
    return folder


@pytest.fixture(scope="module")
def loaded(source: Path) -> LoadedModel:
    return xfm.load(source)


@pytest.fixture(scope="module")
def exported(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A folder of each format, as the command writes it."""
    place = tmp_path_factory.mktemp("exported")
    found = {kind: str(place / kind) for kind in sentence_folder.FORMATS}
    for kind, out in found.items():
        assert main(["export", str(source), out, "--format", kind]) == 0
    return found


def vectors(folder: str, **more: Any) -> SentenceTransformer:
    return SentenceTransformer(folder, trust_remote_code=True, local_files_only=True, device="cpu", **more)


def matches(folder: str, **more: Any) -> CrossEncoder:
    return CrossEncoder(folder, trust_remote_code=True, local_files_only=True, device="cpu", **more)


@pytest.fixture(scope="module")
def model(exported: dict[str, str]) -> SentenceTransformer:
    return vectors(exported["sentence-transformers"])


@pytest.fixture(scope="module")
def judge(exported: dict[str, str]) -> CrossEncoder:
    return matches(exported["cross-encoder"])


def test_vectors_are_those_of_the_package(
    model: SentenceTransformer, loaded: LoadedModel, tmp_path: Path
) -> None:
    said = [*SAID, "Two Red: Squares!", "word " * 60]  # signs, capitals, more than is read
    close(model.encode(said, batch_size=4), loaded.encode(said))
    close(model.encode(SHOWN, batch_size=2), loaded.encode(SHOWN))
    close(model.encode(said[0]), loaded.encode(said[0]))
    close(model.encode(SHOWN[0]), loaded.encode(SHOWN[0]))
    close(model.similarity(model.encode(said), model.encode(SHOWN)), loaded.similarity(said, SHOWN))
    SHOWN[1].save(path := tmp_path / "a.png")
    pixels = np.asarray(SHOWN[1].convert("RGB"))
    forms = [str(path), path, pixels, torch.tensor(pixels).permute(2, 0, 1), {"image": SHOWN[1]}]
    for form in forms:  # the library wants the same kind of all that are encoded together
        close(model.encode([form]), loaded.encode([SHOWN[1]]))
    tensor = model.encode(said, convert_to_tensor=True, normalize_embeddings=True)
    close(tensor, loaded.encode(said))
    close(model.encode(said, prompt="two red ")[0], loaded.encode("two red " + said[0]))
    close(model.encode_query(said[:2]), loaded.encode(said[:2]))
    close(model.encode_document(SHOWN[:2]), loaded.encode(SHOWN[:2]))
    assert model.get_embedding_dimension() == loaded.model.config.projection
    assert (model.similarity_fn_name, model.modalities) == ("cosine", ["text", "image"])


def test_matches_are_those_of_the_package(judge: CrossEncoder, loaded: LoadedModel) -> None:
    pairs = [(text, picture) for text in SAID for picture in SHOWN]
    expected = loaded.match([text for text, _ in pairs], [picture for _, picture in pairs])
    close(judge.predict(pairs, batch_size=7), expected)
    close(judge.predict([(picture, text) for text, picture in pairs]), expected)
    close(judge.predict([({"text": text}, {"image": picture}) for text, picture in pairs[:3]]), expected[:3])
    close(judge.predict(pairs[0]), expected[0])
    odds = judge.predict(pairs, activation_fn=nn.Identity(), convert_to_tensor=True)
    close(odds.sigmoid(), expected)
    ranked = judge.rank(SAID[0], SHOWN)
    assert [one["corpus_id"] for one in ranked] == np.argsort(-expected[: len(SHOWN)]).tolist()
    close([one["score"] for one in ranked], np.sort(expected[: len(SHOWN)])[::-1])
    found = judge.rank(SHOWN[0], SAID, top_k=3, return_documents=True)
    best = np.argsort(-loaded.match(SAID, SHOWN[0]))[:3]
    assert [one["text"] for one in found] == [SAID[place] for place in best]


def test_folders_are_model_folders_too(exported: dict[str, str], source: Path, loaded: LoadedModel) -> None:
    for folder in exported.values():
        close(xfm.load(folder).encode(SAID), loaded.encode(SAID))
        close(xfm.load(folder).match(SAID[0], SHOWN), loaded.match(SAID[0], SHOWN))
        names = {file.name for file in Path(folder).iterdir()}
        assert names >= {file.name for file in source.iterdir()}
        assert not [name for name in names if Path(name).suffix not in (".json", ".md", ".safetensors")]
        assert "trust_remote_code=True" in (Path(folder) / "README.md").read_text()


@pytest.mark.parametrize("kind", sentence_folder.FORMATS)
def test_a_folder_is_what_the_library_itself_writes(
    kind: str, exported: dict[str, str], source: Path, tmp_path: Path
) -> None:
    """Models in memory, without a folder, are written by the library with the modules that we name."""
    make = adapter.as_sentence_transformer if kind == "sentence-transformers" else adapter.as_cross_encoder
    make(source, device="cpu").save_pretrained(str(tmp_path / "own"))
    own, ours = tmp_path / "own", Path(exported[kind])

    def read(folder: Path, name: str) -> Any:
        return json.loads((folder / name).read_text())

    for name in ("modules", "config", "preprocessor_config", "tokenizer", "calibration"):
        assert read(own, f"{name}.json") == read(ours, f"{name}.json"), name
    settings = read(own, "config_sentence_transformers.json")
    settings.pop("__version__")
    assert {**settings, "requirements": {"xfm": ">=0.1"}} == read(ours, "config_sentence_transformers.json")
    assert (own / "model.safetensors").read_bytes() == (ours / "model.safetensors").read_bytes()
    assert not [*own.glob("*.bin"), *own.glob("*.pt"), *own.glob("*.pkl")]


def test_saved_loaded_copied_and_pickled_they_give_the_same(
    model: SentenceTransformer, judge: CrossEncoder, tmp_path: Path
) -> None:
    expected, probable = model.encode(SAID), judge.predict([(SAID[0], one) for one in SHOWN])
    model.save_pretrained(str(tmp_path / "a"))
    vectors(str(tmp_path / "a")).save_pretrained(str(tmp_path / "b"))
    close(vectors(str(tmp_path / "b")).encode(SAID), expected)
    judge.save_pretrained(str(tmp_path / "c"))
    close(matches(str(tmp_path / "c")).predict([(SAID[0], one) for one in SHOWN]), probable)
    close(copy.deepcopy(model).encode(SAID), expected)
    close(pickle.loads(pickle.dumps(model)).encode(SHOWN), model.encode(SHOWN))


@thorough
@pytest.mark.filterwarnings("ignore")
def test_the_trainers_of_the_library_train_both(source: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    datasets = pytest.importorskip("datasets")
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    settings: dict[str, Any] = {"max_steps": 2, "report_to": [], "use_cpu": True, "learning_rate": 1e-3}
    model, judge = (
        make(source, device="cpu") for make in (adapter.as_sentence_transformer, adapter.as_cross_encoder)
    )
    before, pairs = model.encode(SAID), [(SAID[0], SHOWN[0])]
    probable = judge.predict(pairs)
    rows = datasets.Dataset.from_dict({"anchor": SAID[:4], "positive": SHOWN[:4]})
    told = SentenceTransformerTrainingArguments(str(tmp_path / "a"), **settings)
    loss = MultipleNegativesRankingLoss(model)
    SentenceTransformerTrainer(model, args=told, train_dataset=rows, loss=loss).train()
    assert abs(model.encode(SAID) - before).max() > 1e-4
    labelled = rows.add_column("label", [1.0, 0.0, 1.0, 0.0])
    told = CrossEncoderTrainingArguments(str(tmp_path / "b"), **settings)
    CrossEncoderTrainer(judge, args=told, train_dataset=labelled, loss=BinaryCrossEntropyLoss(judge)).train()
    assert abs(judge.predict(pairs) - probable).max() > 1e-5
