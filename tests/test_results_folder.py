"""No command replaces the results of another command, or of another model or other data."""

import json
import os
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

import xfm
from tests.evaluation.tiny import save_tiny_model, write_world
from tests.interop.published_files import tiny
from tests.official.glue import write_glue
from tests.training.corpus import tiny_recipe, write_corpus
from xfm.cli import main
from xfm.config.finetune import FinetuneConfig
from xfm.errors import UserError
from xfm.interop.published.export import export
from xfm.reports.stored import left_out_sentence, stored_flags
from xfm.reproduce.read.glue import GlueTask
from xfm.results_folder import MADE_BY, Maker, free_name, holding, require_free, sign, unused

SAMPLES = Path(__file__).parents[1] / "docs" / "tutorials" / "samples"
REVIEWS, SHAPES = SAMPLES / "reviews.csv", SAMPLES / "shapes.csv"
SHORT = ["--steps", "2", "--batch-size", "4", "--device", "cpu", "--quiet"]
Arguments = Callable[[Path, Path], list[str | Path]]


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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


COMMANDS: dict[str, Arguments] = {
    "evaluate": lambda model, out: [
        *("evaluate", model, "--world", model.parent / "world", "--out", out, "--quiet"),
        *("--parts", "paraphrase", "--scale", "0.01", "--device", "cpu"),
    ],
    "test": lambda model, out: [
        *("evaluate", f"{model}-tuned", "--test", REVIEWS, "--out", out, "--device", "cpu", "--quiet"),
    ],
    "finetune": lambda model, out: [
        *("finetune", "text-classification", "--model", model, "--train", REVIEWS, "--out", out, *SHORT)
    ],
    "probe": lambda model, out: [
        *("probe", model, "--train", SHAPES, "--test", SHAPES, "--out", out),
        *("--methods", "knn", "--neighbours", "2", "--features.device", "cpu"),
    ],
    "zero-shot": lambda model, out: [
        *("zero-shot", model, "--test", SHAPES, "--out", out, "--device", "cpu")
    ],
    "reproduce": lambda model, out: [
        *("reproduce", "cola", "--model", model, "--data", model.parent / "data", "--out", out),
        *("--smoke", "--quiet", "--device", "cpu"),
    ],
    "convert": lambda model, out: ["convert", model.with_suffix(".th"), out, "--recipe", "nano"],
}
"""What makes folders, of a model."""
ONLY_REFUSED: dict[str, Arguments] = {
    "easy-vqa": lambda model, out: ["easy-vqa", "--model", model, "--out", out, "--steps", "1", "--quiet"],
    "pretrain": lambda model, out: [
        *("pretrain", "--recipe", "nano", "--root", model.parent / "corpus", "--folder", out, "--quiet")
    ],
    "quickstart": lambda model, out: ["quickstart", "--folder", out, "--smoke"],
    "prepare": lambda model, out: ["prepare", "--folder", out, "--scale", "0.002"],
    "init": lambda model, out: ["init", "--language", model, "--vision", model, out],
    "export": lambda model, out: ["export", model, one_file(out)],
    "predict": lambda model, out: [
        *("predict", "embed", "--model", model, "--input", REVIEWS, "--out", one_file(out)),
        *("--restart", "--quiet", "--device", "cpu"),
    ],
}
"""What would write into them, too."""


def one_file(folder: Path) -> Path:
    return next(path for path in sorted(folder.iterdir()) if path.is_file())


@pytest.fixture(scope="module")
def made(given: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of every command."""
    root = tmp_path_factory.mktemp("made")
    found = {name: root / name for name in COMMANDS}
    for name, arguments in COMMANDS.items():
        assert main([str(word) for word in arguments(given / "first", found[name])]) == 0, name
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
    ("holder", "writer"),
    [pair for pair in product(HOLDERS, WRITERS) if pair not in APART],
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
    out = tmp_path / "out"
    shutil.copytree(made[holder], out)
    before = content(out)
    assert main([str(word) for word in WRITERS[writer](given / "second", out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("xfm: ")
    assert error.count("\n") == 1
    assert str(out) in error
    assert content(out) == before


@pytest.mark.parametrize("command", ["probe", "zero-shot"])
def test_pictures_of_a_table_are_not_put_into_the_folder_of_another(
    given: Path, made: dict[str, Path], tmp_path: Path, command: str
) -> None:
    """Tables that hold their pictures have them written to the folder of the results."""
    held = [(SAMPLES / name).read_bytes() for name in ("pictures/1.png", "pictures/2.png")]
    table = pa.table({"image": [{"bytes": data, "path": None} for data in held], "label": ["a", "b"]})
    parquet.write_table(table, tmp_path / "held.parquet")
    out = Path(shutil.copytree(made["finetune"], tmp_path / "out"))
    before = content(out)
    words = [command, str(given / "first"), "--test", str(tmp_path / "held.parquet"), "--out", str(out)]
    train = ["--train", str(tmp_path / "held.parquet")] if command == "probe" else []
    assert main([*words, *train]) == 2
    assert content(out) == before


def test_the_folders_say_who_made_them(made: dict[str, Path]) -> None:
    commands = {name: {"test": "evaluate"}.get(name, name) for name in COMMANDS if name != "convert"}
    for name, command in commands.items():
        signed = json.loads((made[name] / MADE_BY).read_text())
        assert signed["command"] == command
        details = made[name] / ("probe.json" if name == "probe" else "evaluation.json")
        if details.exists():
            assert json.loads(details.read_text())["made_by"] == signed


@pytest.mark.parametrize("name", ["evaluate", "test", "probe", "zero-shot", "reproduce", "convert"])
def test_the_same_again_is_welcome(given: Path, made: dict[str, Path], tmp_path: Path, name: str) -> None:
    """The same command on the same model and data may go on, or be repeated."""
    out = Path(shutil.copytree(made[name], tmp_path / "out"))
    assert main([str(word) for word in COMMANDS[name](given / "first", out)]) == 0


@pytest.mark.parametrize("holder", [name for name in COMMANDS if name != "convert"])
def test_unsigned_folders_of_earlier_versions_are_foreign(
    given: Path, made: dict[str, Path], tmp_path: Path, holder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless their files show the same command, model and data."""
    out = Path(shutil.copytree(made[holder], tmp_path / "out"))
    (out / MADE_BY).unlink()
    before = content(out)
    for writer in ("finetune", "probe", "test", "evaluate"):
        arguments = [str(word) for word in COMMANDS[writer](given / "first", out)]
        assert main(arguments) == (0 if writer == holder == "evaluate" else 2), writer
        refused = "such as --out" in capsys.readouterr().err
        assert refused == (not writer == holder == "evaluate")
        if writer != "evaluate":
            assert content(out) == before


def test_an_evaluation_stands_beside_its_own_pre_training(
    given: Path, made: dict[str, Path], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(made["pretrain"], tmp_path / "run"))
    require_free(run, Maker("evaluate"), model=run / "model")
    for model in (given / "first", run.parent):
        with pytest.raises(UserError, match=r"run holds a run of `xfm pretrain`: give another folder"):
            require_free(run, Maker("evaluate"), model=model)
    (run / "metrics.json").write_text("{}")
    sign(run, Maker("evaluate", {"model": "a"}))
    require_free(run, Maker("evaluate", {"model": "a"}), model=run / "model")
    with pytest.raises(UserError, match="of another model"):
        require_free(run, Maker("evaluate", {"model": "b"}), model=run / "model")


def test_a_model_is_not_pre_trained_over(given: Path, made: dict[str, Path], tmp_path: Path) -> None:
    """Its run has no checkpoints any more, so that nothing said that it was there."""
    run = Path(shutil.copytree(made["pretrain"], tmp_path / "run"))
    shutil.rmtree(run / "checkpoints")
    before = content(run)
    with pytest.raises(UserError, match=r"run holds a run of `xfm pretrain`: .* --out .*run-2"):
        xfm.pretrain(tiny_recipe(given / "corpus", steps=2), run, progress=False, device="cpu")
    assert content(run) == before


def test_what_was_only_begun_may_be_begun_otherwise(tmp_path: Path) -> None:
    """A signature without results, a model or checkpoints holds nothing."""
    sign(tmp_path / "out", Maker("finetune", {"data": "a"}))
    assert holding(tmp_path / "out") is None
    require_free(tmp_path / "out", Maker("probe"))


def test_free_names_do_not_exist(tmp_path: Path) -> None:
    assert unused(tmp_path / "new") == tmp_path / "new"
    (tmp_path / "run-0.5").mkdir()
    assert unused(tmp_path / "run-0.5") == tmp_path / "run-0.5"
    (tmp_path / "run-0.5" / "file").touch()
    assert unused(tmp_path / "run-0.5") == tmp_path / "run-0.5-2"
    (tmp_path / "run-0.5-2").touch()
    assert free_name(tmp_path / "run-0.5") == tmp_path / "run-0.5-3"
    (tmp_path / "a.th").touch()
    assert free_name(tmp_path / "a.th") == tmp_path / "a-2.th"


def test_a_world_is_not_built_over_what_lies_beside_it(
    given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = Path(shutil.copytree(given / "world", tmp_path / "world"))
    (world / "notes.txt").write_text("mine")
    before = content(world)
    assert main(["prepare", "--folder", str(world), "--scale", "0.002", "--force"]) == 2
    assert "world holds notes.txt beside the world" in capsys.readouterr().err
    assert content(world) == before


def test_nothing_is_drawn_over_the_pictures_of_others(
    given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows are drawn as NUMBER.jpg, a name that own pictures may have too; a run goes on with its own."""
    command = ["predict", "grounding", "--model", str(given / "first"), "--input", str(SAMPLES / "boxes.csv")]
    command += ["--device", "cpu", "--quiet", "--out"]
    photos, drawn = tmp_path / "photos", tmp_path / "drawn"
    photos.mkdir()
    (photos / "2.jpg").write_bytes(b"mine")
    assert main([*command, str(tmp_path / "a.jsonl"), "--draw", str(photos)]) == 2
    assert (
        f"photos holds something else than the pictures of {tmp_path / 'a.jsonl'}" in capsys.readouterr().err
    )
    assert content(photos) == {str(photos / "2.jpg"): b"mine"}
    assert not (tmp_path / "a.jsonl").exists()
    for _ in range(2):
        assert main([*command, str(tmp_path / "a.jsonl"), "--draw", str(drawn)]) == 0
    before = content(drawn)
    assert sum(name.endswith(".jpg") for name in before) == 10
    assert main([*command, str(tmp_path / "b.jsonl"), "--draw", str(drawn)]) == 2
    assert content(drawn) == before


def test_runs_of_earlier_versions_are_told_by_their_settings(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "step-00000001").mkdir(parents=True)
    for settings, command in (
        ("task: vqa\nfinetune:\n  steps: 3\n", "finetune"),
        ("name: nano\n", "pretrain"),
    ):
        (tmp_path / "config.yaml").write_text(settings)
        found = holding(tmp_path)
        assert found is not None
        assert found.maker == Maker(command)


def test_hostile_marks_neither_block_nor_end_in_an_error(tmp_path: Path) -> None:
    """What a folder says of itself may be anybody's: pipes, links in a circle, paths that are none."""
    details = {"weights_sha256": "0", "world": "a\0b", "model": "m"}
    (tmp_path / "evaluation.json").write_text(json.dumps(details))
    found = holding(tmp_path)
    assert found is not None
    assert found.maker is not None
    assert found.maker.command == "evaluate"
    os.mkfifo(tmp_path / MADE_BY)
    with pytest.raises(UserError, match=r"holds results of .*-2"):
        require_free(tmp_path, Maker("probe"))
    (tmp_path / "evaluation.json").unlink()
    os.mkfifo(tmp_path / "evaluation.json")
    assert stored_flags(tmp_path) == []
    assert left_out_sentence(tmp_path) == ""
    with pytest.raises(UserError, match=r"holds results of .*-2"):
        require_free(tmp_path, Maker("probe"))
    (tmp_path / "evaluation.json").unlink()
    (tmp_path / "checkpoints" / "step-00000001").mkdir(parents=True)
    os.mkfifo(tmp_path / "config.yaml")
    with pytest.raises(UserError, match=r"holds a run of .*-2"):
        require_free(tmp_path, Maker("probe"))
