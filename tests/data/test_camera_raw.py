"""Camera RAW: colours and orientation of sensors and previews, limits, EXIF, and the extra."""

import numpy as np
import pytest

from tests.data.picture_kinds import TURNS, base, dng, saved
from tests.refusals import expect_refusal
from xfm.data import folders, images
from xfm.data.images import ImageError, UnreadableImage, decode, image_size, load_image
from xfm.search.index import with_exif
from xfm.search.sources import IngestItem

PICTURE, PLAIN = base(120, 80), dng(base(120, 80))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("preview", ["none", "tiny", "cut", "as the sensor", "upright"])
def test_colours_and_orientation(tmp_path, orientation, preview):
    path, small = tmp_path / "a.DNG", PICTURE.resize((30, 20) if preview == "tiny" else (90, 60))
    stored = small.transpose(TURNS[orientation]) if preview == "upright" and orientation >= 5 else small
    data = dng(PICTURE, orientation, b"" if preview == "none" else saved(stored, "JPEG", quality=95))
    path.write_bytes(data[:-300] if preview == "cut" else data)
    shown = PICTURE.resize((90, 60) if preview in ("as the sensor", "upright") else (60, 40))
    shown = shown.transpose(TURNS[orientation]) if orientation > 1 else shown
    assert image_size(path) == shown.size
    assert np.abs(load_image(path).permute(1, 2, 0).numpy().astype(int) - np.asarray(shown)).mean() < 4


FLAWS = {
    "cut": (PLAIN[:-200], "cannot be read (Input/output error); check the file"),
    "empty": (b"", "the picture is an empty file"),
    "black": (PLAIN[:-19_200] + bytes(19_200), "cannot be read (its pixels are missing)"),
    "pixels": (dng(base(160, 90)), "160 x 90 pixels, more than the limit of 10000: shrink it, or set XFM"),
    "bytes": (bytes(42_000), "has 42000 bytes, more than the limit of 41940"),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_damage_and_bombs_are_named(tmp_path, monkeypatch, flaw):
    (tmp_path / "a.nef").write_bytes(FLAWS[flaw][0])
    monkeypatch.setenv("XFM_MAX_PIXELS", "10000")
    monkeypatch.setattr(images, "MAX_BYTES", 10_485)
    with expect_refusal("a.nef", FLAWS[flaw][1], kind=UnreadableImage):
        load_image(tmp_path / "a.nef")


def test_bytes_tell_what_is_no_raw_and_exif_day_and_camera(tmp_path):
    path = tmp_path / "a.cr2"
    path.write_bytes(saved(PICTURE, "PNG"))
    assert load_image(path).shape == (3, 80, 120)
    with expect_refusal("camera RAW, which is read from files of its suffix, such as .dng", kind=ImageError):
        decode(PLAIN)
    path.write_bytes(PLAIN)
    told = with_exif(IngestItem("a", "a", path, "", {"taken": "", "camera": ""})).metadata
    assert told == {"taken": "2024-06-15", "camera": "X-100"}


def test_without_the_extra_it_is_counted_and_said(tmp_path, monkeypatch):
    for name in ("a.dng", "b.CR3", "c.jpg"):
        (tmp_path / name).write_bytes(PLAIN)
    assert folders.scan_folder(tmp_path) == (["a.dng", "b.CR3", "c.jpg"], {})
    for module in (images, folders):
        monkeypatch.setattr(module, "PICTURE_SUFFIXES", images.PICTURE_SUFFIXES - images.RAW_SUFFIXES)
    names, passed = folders.scan_folder(tmp_path)
    told = "left out 1 .cr3 (b.CR3), 1 .dng (a.dng); camera RAW needs rawpy: pip install 'xfm[raw]'"
    assert (names, folders.passed_over(tmp_path, passed)) == (["c.jpg"], f"{tmp_path}: {told}")
    with expect_refusal("camera RAW needs rawpy: pip install 'xfm[raw]'", kind=UnreadableImage):
        load_image(tmp_path / "a.dng")
