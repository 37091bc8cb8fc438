"""Pictures are looked at once; what is broken is named as decoding names it, and what was whole is known."""

import os
import zlib
from array import array
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.picture_kinds import base, kinds, saved
from xfm.data import glance, picture_check
from xfm.data.known_pictures import FolderFiles, KnownPictures
from xfm.data.left_out import UnreadablePicture
from xfm.data.picture_check import Looked, look_through
from xfm.data.picture_files import load_decoded
from xfm.errors import UserError

JPEG = saved(base(), "JPEG")
SURE = ("JPEG", "PNG", "WEBP")
"""Of these nothing is decoded."""


def fill(folder: Path, **files: bytes) -> dict[str, str]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return {str(folder): "\0".join(sorted(files))}


def opened(folder: Path, files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> tuple[Looked, int]:
    """What is found out with what is known in `folder`, and how many files were opened for it."""
    count, look = [0], glance._looks_whole

    def counted(*given):
        count[0] += 1
        return look(*given)

    with monkeypatch.context() as patch:
        patch.setattr(glance, "_looks_whole", counted)
        found = look_through(files, [folder / "known"])
    return found, count[0]


def decoded(path: Path) -> tuple[dict[Path, str], dict[Path, str]]:
    """What decoding says: why it cannot be used, or what is wrong with it."""
    try:
        flaw = load_decoded(path).flaw
    except UnreadablePicture as error:
        return {path: str(error)}, {}
    return {}, {} if flaw is None else {path: flaw}


@pytest.mark.parametrize("name", kinds())
def test_what_is_found_out_is_what_decoding_says(tmp_path: Path, name: str) -> None:
    """Of everything that decodes, and of everything that is cut or not a picture."""
    kind = kinds()[name]
    found = look_through(fill(tmp_path, **{kind.name: kind.data}))
    assert (found.bad, found.flaws) == decoded(tmp_path / kind.name)


@pytest.mark.parametrize("kind", SURE)
@pytest.mark.parametrize("options", [{}, {"quality": 20}, {"exif": b"Exif\0\0" + bytes(60_000)}])
def test_whole_files_of_the_usual_formats_are_not_decoded(
    tmp_path: Path, kind: str, options: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = fill(tmp_path, a=saved(base(), kind, **options))
    monkeypatch.setattr(picture_check, "load_decoded", lambda path: pytest.fail("decoded"))
    assert look_through(files) == Looked({}, {}, look_through(files).marks)


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(SURE), share=st.floats(0, 0.999), tail=st.binary(max_size=8))
def test_what_is_cut_does_not_look_whole(tmp_path_factory, kind: str, share: float, tail: bytes) -> None:
    whole = saved(base(), kind)
    data = whole[: int(len(whole) * share)] + tail
    folder = tmp_path_factory.mktemp("cut")
    files = fill(folder, a=data)
    found = look_through(files)
    if not found.bad and not found.flaws and b"\xff\xd9" not in tail:
        assert decoded(folder / "a") == ({}, {})
    else:
        assert (found.bad, found.flaws) == decoded(folder / "a") or b"\xff\xd9" in tail


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF", b""]))
def test_any_bytes_are_looked_at(tmp_path_factory, data: bytes, start: bytes) -> None:
    folder = tmp_path_factory.mktemp("any")
    found = look_through(fill(folder, a=start + data))
    assert set(found.bad) <= {folder / "a"}


@pytest.mark.parametrize("limit", ["100", "2400"])
def test_the_limit_of_pixels_is_kept(tmp_path: Path, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XFM_MAX_PIXELS", limit)
    files = fill(tmp_path, a=JPEG, b=saved(base(), "PNG"), c=saved(base(), "WEBP"))
    assert len(look_through(files).bad) == (3 if limit == "100" else 0)


def test_what_was_found_under_a_larger_limit_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = fill(tmp_path / "in", a=JPEG)
    monkeypatch.setenv("XFM_MAX_PIXELS", "90000000")
    assert opened(tmp_path, files, monkeypatch) == (Looked(marks=look_through(files).marks), 1)
    assert opened(tmp_path, files, monkeypatch)[1] == 0
    monkeypatch.setenv("XFM_MAX_PIXELS", "100")
    found, count = opened(tmp_path, files, monkeypatch)
    assert (len(found.bad), count) == (1, 1)


def test_a_second_look_opens_what_has_changed_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = fill(tmp_path / "in", **{f"{n:02}": JPEG for n in range(20)}, cut=JPEG[:-300], text=b"a text")
    first, count = opened(tmp_path, files, monkeypatch)
    assert (len(first.bad), len(first.flaws), count) == (1, 1, 22)
    again, count = opened(tmp_path, files, monkeypatch)
    assert (again, count) == (first, 2)  # what was not whole is looked at again: it may have been mended
    (tmp_path / "in" / "03").write_bytes(b"another text")
    os.utime(tmp_path / "in" / "04", ns=(5, 5))
    (tmp_path / "in" / "05").unlink()
    (tmp_path / "in" / "text").write_bytes(JPEG)
    found, count = opened(tmp_path, files, monkeypatch)
    assert {path.name for path in found.bad} == {"03", "05"}
    assert count == 4
    assert found.marks != first.marks
    fewer = {str(tmp_path / "in"): "00\0" + "07"}
    assert opened(tmp_path, fewer, monkeypatch)[1] == 0
    more = files | fill(tmp_path / "other", a=JPEG)
    assert opened(tmp_path, more, monkeypatch)[1] == 3  # the two that are not whole, and the new one


def test_helper_processes_see_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {kind.name + str(number): kind.data for number, kind in enumerate(kinds().values())}
    files = fill(tmp_path, **data) | {str(tmp_path / "absent"): "\0a\0b\0\ud800"}
    alone = look_through(files)
    monkeypatch.setattr(picture_check, "MANY", 1)
    monkeypatch.setattr(picture_check, "_CHUNK", 3)
    assert look_through(files) == alone
    assert len(alone.bad) > 20
    monkeypatch.setattr(picture_check.sys, "executable", "/bin/false")  # helpers that end at once
    assert look_through(files) == alone
    monkeypatch.setattr(picture_check.sys, "executable", "/nonexistent")
    assert look_through(files) == alone


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    files = fill(tmp_path, a=JPEG)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    os.symlink("/dev/zero", tmp_path / "device")
    os.symlink("nowhere", tmp_path / "dangling")
    os.symlink("a", tmp_path / "link")
    files[str(tmp_path)] += "".join(f"\0{name}" for name in ("pipe", "folder", "device", "dangling", "link"))
    found = look_through(files)
    assert {path.name for path in found.bad} == {"pipe", "folder", "device", "dangling"}


# ---------------------------------------------------------------- what is known
names = st.lists(
    st.binary(min_size=1, max_size=9).filter(lambda one: b"\0" not in one), min_size=1, unique=True
)
numbers = st.integers(-1, (1 << 63) - 1)


@st.composite
def folders(draw) -> dict[str, FolderFiles]:
    found = {}
    for name in draw(st.lists(st.sampled_from(["/a", "/b/é", "/c\udcff"]), unique=True)):
        own = sorted(draw(names))
        pairs = draw(st.lists(st.tuples(numbers, numbers), min_size=len(own), max_size=len(own)))
        sizes, times = (array("q", [pair[side] for pair in pairs]) for side in (0, 1))
        found[name] = FolderFiles(b"\0".join(own), sizes, times)
    return found


@settings(deadline=None)
@given(folders(), folders())
def test_what_is_written_is_read(tmp_path_factory, first: dict, second: dict) -> None:
    """Of each file what was said last, of all files that were ever kept."""
    place = tmp_path_factory.mktemp("known") / "sub" / "known"
    said: dict[tuple[str, bytes], tuple[int, int]] = {}
    for round in (first, second):
        known = KnownPictures.read([place], 9)
        for folder, files in round.items():
            known.keep(folder, files)
            pairs = zip(files.sizes, files.times, strict=True)
            said |= {(folder, name): pair for name, pair in zip(files.names.split(b"\0"), pairs, strict=True)}
        known.write([place])
    known = KnownPictures.read([place], 9)
    for (folder, name), pair in said.items():
        found = known.of(folder, name)
        assert (found.sizes[0], found.times[0]) == pair
    assert known.of("/a", b"new" * 9).times[0] == -1


BODIES = [
    *(
        b'[9, [["/a", 1, 99999999999]]]\nab',
        b'[9, [["/a", -1, -1]]]\nab',
        b"7\n",
        b"[9, [1]]\n",
        b"[" * 99_999,
    ),
    *(b'[[], [["/a", 1, 1]]]\nab', b'["9", []]\n', b""),
]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"\x80\x04N.",
        lambda data: data[:60],
        lambda data: data[:-9],
        lambda data: data + b"more",
        lambda data: data.replace(b"1\n", b"2\n", 1),
        *(lambda data, body=body: data[: data.index(b"\n") + 1] + zlib.compress(body) for body in BODIES),
    ],
)
def test_a_damaged_file_is_none(tmp_path: Path, damage, monkeypatch: pytest.MonkeyPatch) -> None:
    files = fill(tmp_path / "in", a=JPEG, b=JPEG)
    opened(tmp_path, files, monkeypatch)
    (tmp_path / "known").write_bytes(damage((tmp_path / "known").read_bytes()))
    found, count = opened(tmp_path, files, monkeypatch)
    assert (found.bad, count) == ({}, 2)
    assert opened(tmp_path, files, monkeypatch)[1] == 0


def test_where_the_data_cannot_be_written_it_is_kept_elsewhere(tmp_path: Path) -> None:
    files = fill(tmp_path / "in", a=JPEG)
    (tmp_path / "closed").write_text("a file")
    first, second = tmp_path / "closed" / "known", tmp_path / "out" / "known"
    look_through(files, [first, second])
    assert second.is_file()
    assert [path.name for path in second.parent.iterdir()] == ["known"]
    with pytest.raises(UserError, match="cannot be written"):
        look_through(fill(tmp_path / "more", a=JPEG), [first])


def test_whoever_interrupts_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = fill(tmp_path / "one", a=JPEG, b=JPEG[:-300]) | fill(tmp_path / "two", c=JPEG)

    def stop(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(picture_check, "load_decoded", stop)
        with pytest.raises(KeyboardInterrupt):
            look_through(files, [tmp_path / "known"])
    found, count = opened(tmp_path, files, monkeypatch)
    assert (count, len(found.flaws)) == (1, 1)
