"""A wrong file is refused in one sentence, whatever is wrong with it, and nothing in it is executed."""

import argparse
import io
import os
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.alike import thorough
from tests.failing import Trap, refusal, sentence_of
from tests.interop.published_files import KINDS, choices, tiny_file, write
from tests.modeling.build import tiny_config
from xfm.cli.main import main
from xfm.core.errors import UserError
from xfm.models.interop.published.convert import convert
from xfm.models.interop.published.file import write_published
from xfm.models.interop.published.names import spare

FUZZ = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def sentence(path: Path, kind: str | None = None) -> str:
    """What converting a file is refused with."""
    message = refusal(path, convert, path, *choices(kind))
    assert len(message) < 400
    return message


# ---------------------------------------------------------------- code in the file
def trap(marker: Path, number: int) -> Trap:
    calls = ((open, str(marker), "w"), (eval, f"open({str(marker)!r}, 'w')"), (os.system, f"touch {marker}"))
    return Trap(*(*calls, (Path.touch, marker), (subprocess.run, ["touch", str(marker)]))[number])


@given(
    number=st.integers(0, 4),
    place=st.sampled_from(["whole", "model", "tensor", "config", "deep"]),
    form=st.sampled_from(["zip", "legacy", "pickle"]),
)
@FUZZ
def test_code_is_not_run(tmp_path: Path, number: int, place: str, form: str) -> None:
    marker, file = tmp_path / "marker", tmp_path / "trap.th"
    evil = trap(marker, number)
    content = {
        "whole": evil,
        "model": {"model": evil, "config": {}},
        "tensor": {"model": {"temp": evil}, "config": {}},
        "config": {"model": {"temp": torch.ones(())}, "config": evil},
        "deep": {"model": {"temp": torch.ones(())}, "config": {"a": [{"b": (1, evil)}]}},
    }[place]
    if form == "pickle":
        file.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=form == "zip")
    message = sentence(file)
    assert not marker.exists()
    assert "would run code" in message


def test_the_trap_is_a_trap(tmp_path: Path) -> None:
    """The test above would notice."""
    for number in range(5):
        marker = tmp_path / f"marker-{number}"
        pickle.loads(pickle.dumps(trap(marker, number)))
        assert marker.exists()


def test_the_command_line_refuses_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": {}, "config": trap(tmp_path / "marker", 0)}, tmp_path / "trap.th")
    assert main(["convert", str(tmp_path / "trap.th"), str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trap.th"]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (argparse.Namespace(lr=1), "would run code"),
        ({"a": {1, 2}}, "config.a is a set"),
        ({"a": [torch.ones(2)]}, "config.a.0 is a Tensor"),
        ({"a": torch.float16}, "config.a is a dtype"),
        ({"xfm": {"model": {"vision": {"width": "wide"}}}}, "config.xfm.model.vision.width cannot be 'wide'"),
        ({"xfm": {"model": {"colour": 1}}}, "config.xfm.model.colour"),
        ({"xfm": {"model": 3}}, "config.xfm.model must be an object"),
    ],
)
def test_settings_are_plain(tmp_path: Path, config: Any, words: str) -> None:
    write(tmp_path / "a.th", tiny_file(tmp_path / "a.th"), config)
    assert words in sentence(tmp_path / "a.th")


# ---------------------------------------------------------------- damage
def test_a_table_is_no_checkpoint(tmp_path: Path) -> None:
    """The safe reader's advice, to switch it off, is not passed on."""
    (path := tmp_path / "reviews.csv").write_text("id,review,stars\n1,good,5\n")
    assert "is truncated or no checkpoint; get it again" in sentence(path)


@given(share=st.floats(0, 0.999), legacy=st.booleans())
@FUZZ
def test_truncated(tmp_path: Path, share: float, legacy: bool) -> None:
    whole = io.BytesIO()
    torch.save({"model": tiny_file(tmp_path / "a.th")}, whole, _use_new_zipfile_serialization=not legacy)
    (tmp_path / "a.th").write_bytes(whole.getvalue()[: int(share * len(whole.getvalue()))])
    sentence(tmp_path / "a.th")


@given(places=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=6), pickled=...)
@FUZZ
def test_damaged_bytes(tmp_path: Path, places: list[tuple[float, int]], pickled: bool) -> None:
    """Changed weights cannot be told; everything else is refused in a sentence."""
    tiny_file(tmp_path / "a.th")
    content = bytearray((tmp_path / "a.th").read_bytes())
    if pickled:  # the pickle itself, not the weights
        begin = content.index(b"data.pkl")
        places = [(begin / len(content) + share * 0.02, value) for share, value in places]
    for share, value in places:
        content[min(int(share * len(content)), len(content) - 1)] ^= value
    (tmp_path / "a.th").write_bytes(content)
    assert "\n" not in (sentence_of(convert, tmp_path / "a.th", *choices()) or "")


@given(st.binary(max_size=200))
@FUZZ
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.th").write_bytes(content)
    sentence(tmp_path / "a.th")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([torch.ones(2)], "holds a list"),
        (torch.ones(2), "holds a Tensor"),
        ({"model": [1]}, "`model` is a list"),
        ({"model": {"temp": 3.0}}, "temp is no tensor"),
        ({"model": {}}, "no published X-FM checkpoint"),
        ({"model": {"fc.weight": torch.ones(2, 2)}}, "no published X-FM checkpoint"),
        ({"model": {"bert.embeddings.LayerNorm.bias": torch.ones(2)}}, "no published X-FM checkpoint"),
    ],
)
def test_other_things(tmp_path: Path, content: Any, words: str) -> None:
    torch.save(content, tmp_path / "a.th")
    assert words in sentence(tmp_path / "a.th")


def test_files_that_are_not_there(tmp_path: Path) -> None:
    assert "No such file" in sentence(tmp_path / "nowhere.th")
    assert "folder" in sentence(tmp_path)


# ---------------------------------------------------------------- keys and shapes
def ending_with(tensor: torch.Tensor, value: float) -> torch.Tensor:
    tensor = tensor.clone()
    tensor.view(-1)[-1] = value
    return tensor


CHANGES: dict[str, Callable[[str, torch.Tensor], dict[str, torch.Tensor]]] = {
    "drop": lambda name, t: {},
    "rename": lambda name, t: {f"{name}_": t},
    "grow": lambda name, t: {name: torch.cat([t.reshape(-1), torch.ones(1)])},
    "shrink": lambda name, t: {name: t.reshape(-1)[:-1]},
    "rank": lambda name, t: {name: t[None]},
    "transpose": lambda name, t: {name: t.reshape(*t.shape[::-1]) if t.ndim > 1 else t[:, None]},
    "integer": lambda name, t: {name: torch.ones_like(t, dtype=torch.int64)},
    "double key": lambda name, t: {name: t, f"module.{name}": t},
    "nan": lambda name, t: {name: ending_with(t, float("nan"))},
    "infinite": lambda name, t: {name: ending_with(t, float("-inf"))},
}


@given(kind=st.sampled_from(KINDS), data=st.data(), change=st.sampled_from([*CHANGES]))
@FUZZ
def test_a_wrong_tensor(tmp_path: Path, kind: str | None, data: st.DataObject, change: str) -> None:
    """Every single tensor matters: without it, or with it in another form, the file is refused."""
    state = tiny_file(tmp_path / "a.th", kind)
    beside = spare(tiny_config())
    left_out = {n for n in state if "lm_head.decoder." in n} | {n for n in state if n in beside.constants}
    left_out |= {n for n in state if n.endswith("position_ids")}
    name = data.draw(st.sampled_from(sorted(state.keys() - left_out)))
    tensor = state.pop(name)
    same = {"transpose": tensor.shape == tensor.shape[::-1], "shrink": tensor.ndim == 0}
    write(tmp_path / "a.th", state | CHANGES["drop" if same.get(change) else change](name, tensor))
    sentence(tmp_path / "a.th", kind)


@thorough
@given(kind=st.sampled_from(KINDS), data=st.data())
@FUZZ
def test_copies_and_constants_are_checked(tmp_path: Path, kind: str | None, data: st.DataObject) -> None:
    state = tiny_file(tmp_path / "a.th", kind)
    known = [n for n in state if "lm_head.decoder." in n or n.endswith(("position_ids", "position_index"))]
    name = data.draw(st.sampled_from(known))
    state[name] = state[name] + 1
    write(tmp_path / "a.th", state)
    assert "--ignore" in sentence(tmp_path / "a.th", kind)
    assert convert(tmp_path / "a.th", *choices(kind, ignore=(name,))).model is not None


def test_tied_copies_that_are_no_numbers_do_not_differ(tmp_path: Path) -> None:
    state = tiny_file(tmp_path / "a.th")
    name, source = next(pair for pair in spare(tiny_config()).copies.items() if set(pair) <= state.keys())
    for one in (name, source):
        state[one] = torch.full_like(state[one], float("nan"))
    write(tmp_path / "a.th", state)
    assert "holds values that are infinite or no numbers" in sentence(tmp_path / "a.th")


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to(path), lambda path: path.mkdir()])
def test_what_is_no_file_is_not_replaced_by_a_checkpoint(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "a.th")
    before = os.lstat(tmp_path / "a.th").st_ino
    with pytest.raises(UserError, match=r"a\.th is a folder, a device or a link"):
        write_published(tmp_path / "a.th", {}, {})
    assert os.lstat(tmp_path / "a.th").st_ino == before
