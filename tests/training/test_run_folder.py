"""Places that a run cannot be written to."""

import os

import pytest

from tests.training.support import config, run_line
from xfm.errors import UserError


@pytest.mark.parametrize("place", ["file", "file/run", "/dev/null/run", "/proc/run"])
@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path, place, resume):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"cannot be written|holds no run to resume"):
        run_line(tmp_path / place, config(2), resume=resume)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_whose_name_is_no_text_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"caf\\udce9 is not UTF-8"):
        run_line(tmp_path / os.fsdecode(b"caf\xe9"), config(2))
