"""No command replaces the results of another command, or of another model or other data."""

import json
import shutil
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pytest

import xfm
from tests.alike import some
from tests.evaluation.tiny import save_tiny_model, write_world
from tests.folders import content
from tests.interop.published_files import tiny
from tests.official.glue import write_glue
from tests.training.corpus import tiny_recipe, write_corpus
from xfm.cli.main import main
from xfm.config.finetune import FinetuneConfig
from xfm.core.errors import UserError
from xfm.core.results_folder import MADE_BY, ResultOrigin, require_free, sign
from xfm.evaluation.benchmarks.read.glue import GlueTask
from xfm.models.interop.published.file import export

SAMPLES = Path(__file__).parents[1] / "docs" / "tutorials" / "samples"
REVIEWS, SHAPES = SAMPLES / "reviews.csv", SAMPLES / "shapes.csv"


def run(words: Sequence[str | Path]) -> int:
    return main([*map(str, words)])


def refused(words: Sequence[str | Path], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    before = content(folder)
    capsys.readouterr()
    assert run(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("xfm: ")
    assert error.count("\n") == 1
    assert content(folder) == before
    return error


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What commands read: a world, official files, a corpus, a fine-tuned model and a published file."""
    root = tmp_path_factory.mktemp("given")
    write_world(root / "world")
    write_glue(root / "data" / "glue", GlueTask.COLA)
    write_corpus(root / "corpus")
    for seed, name in ((1, "first"), (2, "second")):
        save_tiny_model(root / name, seed)
        export(tiny(seed=seed), root / f"{name}.th")
        config = FinetuneConfig(steps=2, batch_size=4, device="cpu", seed=seed)
        tuned = root / f"{name}-tuned"
        xfm.finetune("text-classification", root / name, REVIEWS, tuned, config=config, progress=False)
    return root


COMMANDS = {
    "evaluate": "evaluate MODEL --world ROOT/world --out OUT --parts paraphrase --scale 0.01 SHORT",
    "test": "evaluate MODEL-tuned --test REVIEWS --out OUT SHORT",
    "finetune": "finetune text-classification --model MODEL --train REVIEWS --out OUT --steps 2 "
    "--batch-size 4 SHORT",
    "probe": "evaluate MODEL --train SHAPES --test SHAPES --out OUT --methods knn --neighbours 2 "
    "--device cpu",
    "zero-shot": "evaluate MODEL --test SHAPES --out OUT --device cpu",
    "reproduce": "reproduce cola --model MODEL --data ROOT/data --out OUT --smoke SHORT",
    "convert": "convert MODEL.th OUT --recipe nano",
}
"""What makes folders."""
ONLY_REFUSED = {
    "pretrain": "pretrain --recipe nano --root ROOT/corpus --out OUT --quiet",
    "quickstart": "quickstart --out OUT --smoke",
    "prepare": "prepare --out OUT --scale 0.002",
    "init": "init --language MODEL --vision MODEL OUT",
    "export": "export MODEL FILE",
    "predict": "predict embed --model MODEL --input REVIEWS --out FILE --restart SHORT",
}
"""What would write into them, too; FILE is one of the files that are there."""


def words_of(command: str, model: Path, out: Path) -> list[str]:
    file = min((path for path in out.glob("*") if path.is_file()), default=out)
    places = {"MODEL": model, "ROOT": model.parent, "OUT": out, "FILE": file, "REVIEWS": REVIEWS}
    for name, place in (places | {"SHAPES": SHAPES, "SHORT": "--quiet --device cpu"}).items():
        command = command.replace(name, str(place))
    return command.split()


@pytest.fixture(scope="module")
def made(given: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("made")
    found = {name: root / name for name in COMMANDS}
    for name, command in COMMANDS.items():
        assert main(words_of(command, given / "first", found[name])) == 0, name
    found["pretrain"] = root / "pretrain"
    xfm.pretrain(tiny_recipe(given / "corpus", steps=2), found["pretrain"], progress=False, device="cpu")
    found["prepare"] = Path(shutil.copytree(given / "world", root / "prepare"))
    return found


WRITERS = COMMANDS | ONLY_REFUSED
HOLDERS = (*COMMANDS, "pretrain", "prepare")
APART = {
    ("prepare", "prepare"),  # a world of other settings is refused, a run is continued or refused, and
    ("pretrain", "pretrain"),  # the quickstart moves runs aside: each has tests of its own
    ("pretrain", "quickstart"),
    ("finetune", "quickstart"),
}


@pytest.mark.parametrize(
    ("holder", "writer"), some([one for one in product(HOLDERS, WRITERS) if one not in APART], 11)
)
def test_every_command_into_the_folder_of_every_other(
    given: Path,
    made: dict[str, Path],
    tmp_path: Path,
    holder: str,
    writer: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of another model, where it is the same command."""
    monkeypatch.chdir(tmp_path)
    out = Path(shutil.copytree(made[holder], tmp_path / "out"))
    assert str(out) in refused(words_of(WRITERS[writer], given / "second", out), out, capsys)


def test_the_folders_say_who_made_them(made: dict[str, Path]) -> None:
    evaluations = dict.fromkeys(("test", "probe", "zero-shot"), "evaluate")
    commands = {name: evaluations.get(name, name) for name in COMMANDS if name != "convert"}
    for name, command in commands.items():
        signed = json.loads((made[name] / MADE_BY).read_text())
        assert signed["command"] == command
        details = made[name] / ("probe.json" if name in ("probe", "zero-shot") else "evaluation.json")
        if details.exists():
            assert json.loads(details.read_text())["made_by"] == signed


@pytest.mark.parametrize("name", ["evaluate", "probe", "convert"])
def test_the_same_again_is_welcome(given: Path, made: dict[str, Path], tmp_path: Path, name: str) -> None:
    """The same command on the same model and data may go on, or be repeated."""
    out = Path(shutil.copytree(made[name], tmp_path / "out"))
    assert main(words_of(COMMANDS[name], given / "first", out)) == 0


def test_an_evaluation_stands_beside_its_own_pre_training(given, made, tmp_path):
    run = Path(shutil.copytree(made["pretrain"], tmp_path / "run"))
    require_free(run, ResultOrigin("evaluate"), model=run / "model")
    for model in (given / "first", run.parent):
        with pytest.raises(UserError, match=r"run holds a run of `xfm pretrain`: give another folder"):
            require_free(run, ResultOrigin("evaluate"), model=model)
    (run / "metrics.json").write_text("{}")
    sign(run, ResultOrigin("evaluate", {"model": "a"}))
    require_free(run, ResultOrigin("evaluate", {"model": "a"}), model=run / "model")
    with pytest.raises(UserError, match="of another model"):
        require_free(run, ResultOrigin("evaluate", {"model": "b"}), model=run / "model")


def test_a_model_is_not_pre_trained_over(given: Path, made: dict[str, Path], tmp_path: Path) -> None:
    """Its run has no checkpoints any more, so that nothing said that it was there."""
    run = Path(shutil.copytree(made["pretrain"], tmp_path / "run"))
    shutil.rmtree(run / "checkpoints")
    before = content(run)
    with pytest.raises(UserError, match=r"run holds a run of `xfm pretrain`: .* --out .*run-2"):
        xfm.pretrain(tiny_recipe(given / "corpus", steps=2), run, progress=False, device="cpu")
    assert content(run) == before


def test_nothing_is_drawn_over_the_pictures_of_others(given, tmp_path, capsys):
    """Rows are drawn as NUMBER.jpg, a name that own pictures may have too; a run goes on with its own."""
    command = ["predict", "grounding", "--model", given / "first", "--input", SAMPLES / "boxes.csv"]
    command += ["--device", "cpu", "--quiet", "--out"]
    photos, drawn, answers = tmp_path / "photos", tmp_path / "drawn", tmp_path / "a.jsonl"
    photos.mkdir()
    (photos / "2.jpg").write_bytes(b"mine")
    said = refused([*command, answers, "--draw", photos], tmp_path, capsys)
    assert f"photos holds something else than the pictures of {answers}" in said
    for _ in range(2):
        assert run([*command, answers, "--draw", drawn]) == 0
    assert sum(name.endswith(".jpg") for name in content(drawn)) == 10
    refused([*command, tmp_path / "b.jsonl", "--draw", drawn], drawn, capsys)
