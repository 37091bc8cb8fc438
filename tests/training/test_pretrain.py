"""Pre-training from files to a model folder."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.training.corpus import tiny_recipe, write_corpus
from tests.training.support import logged, logged_losses
from xfm.cli import main
from xfm.config.data import CorpusConfig
from xfm.config.load import dump_recipe
from xfm.config.recipe import InitConfig, Phase, PhaseStream, PhaseWeights
from xfm.config.training import OptimConfig
from xfm.errors import UserError
from xfm.modeling.folder import load_model, save_model
from xfm.training.checkpoint import checkpoint_path, load_checkpoint
from xfm.training.distributed import Process
from xfm.training.pretrain import CurriculumData, build_model, new_parts, pretrain

ALONE = Process(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    pretrain(tiny_recipe(corpus, save_every=3, keep=9), folder, progress=False)
    return folder


def test_run_folder(run):
    assert {p.name for p in run.iterdir()} == {
        "config.yaml",
        "log.jsonl",
        "tensorboard",
        "checkpoints",
        "model",
    }
    loaded = load_model(run / "model")
    assert loaded.preprocessing.image_size == 32
    assert loaded.provenance["recipe"] == "tiny"
    assert loaded.provenance["steps"] == 6
    assert loaded.tokenizer.vocab_size <= 300
    stored = build_model(replace(tiny_recipe(run), init=InitConfig(model=str(run / "model"))))
    for a, b in zip(stored.parameters(), loaded.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_every_checkpoint_is_a_model_folder(run):
    """It says all that a model folder says, of its own step."""
    for steps in (3, 6):
        loaded = load_model(checkpoint_path(run, steps))
        provenance = loaded.provenance
        assert provenance["position"] == {"steps": steps, "of": 6, "batches": steps}
        assert provenance["gradients"]["itm"] == ["fusion", "vision"]
        assert provenance["licences"]["code"] == "Apache-2.0"
        assert provenance["licences"]["weights"] is None
        assert provenance["data"]["text"] == provenance["data"]["text"][:1]  # of all phases, each path once
    final = load_model(run / "model")
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, final.model.state_dict()[name]), name
    assert loaded.tokenizer.to_json() == final.tokenizer.to_json()
    assert loaded.preprocessing == final.preprocessing
    assert loaded.provenance == final.provenance


def test_what_a_composed_model_began_with_is_kept(run, corpus, tmp_path):
    start = load_model(run / "model")
    parts = {"language": {"reference": "words", "licence": "mit"}}
    save_model(
        tmp_path / "start",
        start.model,
        start.tokenizer,
        start.preprocessing,
        {"composed": parts, "fresh": []},
    )
    recipe = replace(
        tiny_recipe(corpus, steps=1), init=InitConfig(model=str(tmp_path / "start")), licence="CC-BY-4.0"
    )
    folder = pretrain(recipe, tmp_path / "run", progress=False)
    provenance = load_model(folder).provenance
    assert provenance["began_with"] == {"composed": parts}
    assert provenance["licences"]["weights"] == "CC-BY-4.0"


def test_curriculum_changes_the_streams(run):
    lines = {line["step"]: line["losses"].keys() for line in logged(run) if "event" not in line}
    assert all(lines[step] == {"text/mlm"} for step in (1, 2))
    for step in (3, 4, 5, 6):
        assert {"text/mlm", "image/mim", "pair/mim", "pair/itc", "region/box_giou"} <= lines[step]


def test_curriculum_data_is_a_function_of_the_step(corpus):
    recipe = tiny_recipe(corpus)
    whole = list(CurriculumData(recipe, ALONE).batches(0, 6))
    rest = list(CurriculumData(recipe, ALONE).batches(1, 5))
    assert [batch.step for batch in whole] == list(range(6))
    assert [batch.origins for batch in rest] == [batch.origins for batch in whole[1:5]]
    accumulated = CurriculumData(tiny_recipe(corpus, accumulate=2), ALONE).batches(0, 12)
    assert [batch.pair is None for batch in accumulated] == [True] * 4 + [False] * 8


def test_a_phase_may_weigh_the_losses(corpus, tmp_path):
    recipe = tiny_recipe(corpus)
    contrast = PhaseWeights(mlm=0, itm=0, imlm=0, mim=0, box_l1=0, box_giou=0)
    recipe = replace(recipe, curriculum=[Phase(until=0.5, weights=contrast)])
    pretrain(recipe, tmp_path / "run", progress=False)
    lines = {line["step"]: line["losses"] for line in logged(tmp_path / "run") if "event" not in line}
    assert lines[3].keys() == {"pair/itc", "region/itc"}
    assert {"text/mlm", "pair/itc", "region/box_giou"} <= lines[4].keys()


def test_a_phase_may_begin_with_the_language_encoders_words(corpus, tmp_path):
    recipe = tiny_recipe(corpus, save_every=3, keep=9)
    no_fusion = PhaseWeights(itm=0, imlm=0, mim=0, box_l1=0, box_giou=0)
    phases = [Phase(until=0.5, weights=no_fusion), Phase(1.0, weights=no_fusion, inherit_words=True)]
    recipe = replace(recipe, curriculum=phases)
    pretrain(recipe, tmp_path / "run", progress=False)
    before, after = build_model(recipe), load_model(tmp_path / "run" / "model").model
    load_checkpoint(checkpoint_path(tmp_path / "run", 3), before)
    assert not torch.equal(before.fusion.embeddings.words.weight, before.language.embeddings.words.weight)
    before.inherit_words()
    for part in ("fusion.embeddings.", "fusion_head."):  # as the phase found them: nothing trains them here
        copied = {name: value for name, value in after.state_dict().items() if name.startswith(part)}
        assert copied
        for name, value in copied.items():
            assert torch.equal(value, before.state_dict()[name]), name
    assert not torch.equal(
        after.fusion.embeddings.words.weight, after.language.embeddings.words.weight
    )  # a copy


@pytest.mark.parametrize("workers", [0, 1])
def test_resume_from_disk_is_bit_for_bit(run, corpus, tmp_path, workers):
    """The next steps of a run restarted in a new process, with another number of loader processes."""
    import shutil

    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(checkpoint_path(tmp_path / "run", 6))
    recipe = tiny_recipe(corpus, save_every=3, keep=9)
    recipe = replace(recipe, data=replace(recipe.data, workers=workers))
    pretrain(recipe, tmp_path / "run", resume=True, progress=False)
    assert logged_losses(tmp_path / "run") == logged_losses(run)


def test_compiling_keeps_the_names(corpus):
    plain, compiled = build_model(tiny_recipe(corpus)), build_model(tiny_recipe(corpus), compiled=True)
    assert plain.state_dict().keys() == compiled.state_dict().keys()


def test_which_parts_are_new(corpus):
    fresh, loaded = new_parts(InitConfig()), new_parts(InitConfig(vision="v", language="l"))
    for name, _ in build_model(tiny_recipe(corpus)).named_parameters():
        head = "head" in name or "proj" in name
        assert name.startswith(fresh) == head, name
        assert name.startswith(loaded) == (head or name.startswith("fusion.")), name
    assert new_parts(InitConfig(model="m")) == ()


def test_encoders_from_other_models(run, corpus):
    recipe = replace(
        tiny_recipe(corpus), init=InitConfig(vision=str(run / "model"), language=str(run / "model"))
    )
    model, source = build_model(recipe), load_model(run / "model").model
    assert torch.equal(model.vision.cls, source.vision.cls)
    assert torch.equal(model.language.embeddings.words.weight, source.language.embeddings.words.weight)
    assert not torch.equal(model.text_proj.weight, source.text_proj.weight)


def test_bad_input_is_one_sentence(corpus, tmp_path):
    recipe = tiny_recipe(corpus)
    small = replace(recipe.model, language=replace(recipe.model.language, vocab_size=100))
    with pytest.raises(UserError, match=r"tokenizer.json has \d+ tokens, the model only 100"):
        pretrain(replace(recipe, model=small), tmp_path / "a", progress=False)
    later = [Phase(until=0.5), Phase(until=0.9, text=PhaseStream(corpora=[]))]
    with pytest.raises(UserError, match="corpora"):  # of a later phase: told before the first step
        pretrain(replace(recipe, curriculum=later), tmp_path / "b", progress=False)
    lost = replace(
        recipe, data=replace(recipe.data, text=replace(recipe.data.text, corpora=[CorpusConfig("x-*.tar")]))
    )
    with pytest.raises(UserError, match=r"x-\*\.tar"):
        pretrain(lost, tmp_path / "d", progress=False)
    with pytest.raises(UserError, match="tokenizer"):
        pretrain(replace(recipe, root=str(tmp_path)), tmp_path / "c", progress=False)
    assert not any(tmp_path.iterdir())


def test_a_bad_record_is_logged_and_left_out(tmp_path):
    corpus = write_corpus(tmp_path / "corpus")
    shard = corpus / "scenes-00000.tar"
    data = shard.read_bytes()
    shard.write_bytes(data.replace(b"PNG", b"XXX", 1))  # the first picture does not decode
    pretrain(tiny_recipe(corpus, steps=12), tmp_path / "run", progress=False)
    bad = [line for line in logged(tmp_path / "run") if line.get("event") == "bad_record"]
    assert bad
    assert "scenes-00000.tar" in bad[0]["key"]
    assert "00000" in bad[0]["key"]


def test_the_last_lines_count_what_was_left_out_and_the_folder_keeps_it(tmp_path, capsys):
    corpus = write_corpus(tmp_path / "corpus")
    shard = corpus / "scenes-00000.tar"
    shard.write_bytes(shard.read_bytes().replace(b"PNG", b"XXX", 2))
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(4):
        Image.new("RGB", (32, 32)).save(photos / f"{number}.png")
    (photos / "3.png").write_bytes(b"")
    (photos / "film.mov").write_bytes(b"")
    recipe = tiny_recipe(corpus, steps=12)
    image = replace(recipe.data.image, batch_size=2, corpora=[CorpusConfig(str(photos))])
    recipe = replace(recipe, data=replace(recipe.data, image=image))
    (tmp_path / "tiny.yaml").write_text(dump_recipe(recipe))
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "bad.jsonl").write_text('{"place": "of a run that was thrown away", "error": "x"}\n')
    command = ["pretrain", "--recipe", str(tmp_path / "tiny.yaml"), "--folder", str(folder), "--quiet"]
    assert main(command) == 0
    kept = [json.loads(line) for line in (folder / "bad.jsonl").read_text().splitlines()]
    places = [row["place"] for row in kept if "place" in row]
    assert len(places) == len(set(places)) == 3
    assert any("3.png" in place for place in places)
    assert [row["kinds"] for row in kept if "kinds" in row] == [{".mov": {"count": 1, "first": ["film.mov"]}}]
    said = capsys.readouterr().out
    assert re.search(rf"3 records were left out: \S+:\S+ \(.*\); all in {folder / 'bad.jsonl'}", said)


def test_names_with_brackets_are_no_patterns(tmp_path):
    """Of the recipe, its root, a folder of pictures and the run, all on the command line."""
    corpus = write_corpus(tmp_path / "world [1]")
    photos = tmp_path / "photos [a-z]"
    photos.mkdir()
    for number in range(4):
        Image.new("RGB", (32, 32)).save(photos / f"{number}.png")
    recipe = tiny_recipe(corpus, steps=1)
    image = replace(recipe.data.image, batch_size=2, corpora=[CorpusConfig(str(photos))])
    recipe = replace(recipe, data=replace(recipe.data, image=image))
    (tmp_path / "tiny [1].yaml").write_text(dump_recipe(recipe))
    folder = tmp_path / "run [1]"
    command = ["pretrain", "--recipe", str(tmp_path / "tiny [1].yaml"), "--folder", str(folder), "--quiet"]
    assert main(command) == 0
    assert load_model(folder / "model").provenance["steps"] == 1
    assert main([*command, "--root", str(tmp_path / "world *"), "--resume"]) == 2  # there is no such folder


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGINT, 0), (signal.SIGINT, 1), (signal.SIGTERM, 1)])
def test_interrupted_on_the_command_line(corpus, tmp_path, number, workers):
    """A process group gets a signal, as from a terminal or a scheduler: saved, one line, status 130."""
    recipe = tiny_recipe(corpus, steps=100_000, optim=OptimConfig(lr=1e-4, warmup=10))
    recipe = replace(recipe, data=replace(recipe.data, workers=workers))
    (tmp_path / "tiny.yaml").write_text(dump_recipe(recipe))
    command = [sys.executable, "-m", "xfm.cli", "pretrain", "--recipe", str(tmp_path / "tiny.yaml")]
    command += ["--folder", str(tmp_path / "run"), "--quiet"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    log = tmp_path / "run" / "log.jsonl"
    deadline = time.monotonic() + 300
    while not (log.exists() and len(log.read_text().splitlines()) >= 3):
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    last = err.strip().splitlines()[-1]
    assert "Traceback" not in err
    assert "--resume" in last
    saved = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])["step"]
    assert f"stopped after step {saved}" in last
    assert checkpoint_path(tmp_path / "run", saved).is_dir()
