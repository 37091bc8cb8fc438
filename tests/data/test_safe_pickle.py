"""Pickles of plain values are read, and nothing in a file is run."""

import os
import pickle
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.failing import Trap, sentence_of
from xfm.core.errors import UserError
from xfm.data.tables.json_list import read_plain_pickle

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pickle") / "refs.p"


@settings(max_examples=80)
@given(value=st.lists(plain, max_size=3), protocol=st.integers(3, pickle.HIGHEST_PROTOCOL))
def test_plain_values_come_back(path: Path, value, protocol: int) -> None:
    path.write_bytes(pickle.dumps(value, protocol))
    assert read_plain_pickle(path) == value


def test_strings_of_python_2(path: Path) -> None:
    # [{'sent': 'caf\xc3\xa9', u'id': 3}] as cPickle of Python 2 writes it with protocol 2.
    path.write_bytes(
        b"\x80\x02]q\x01}q\x02(U\x04sentq\x03U\x05caf\xc3\xa9q\x04X\x02\x00\x00\x00idq\x05K\x03ua."
    )
    assert read_plain_pickle(path) == [{"sent": "café", "id": 3}]


@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_nothing_in_a_file_is_run(path: Path, tmp_path: Path, protocol: int) -> None:
    target = tmp_path / "touched"
    path.write_bytes(pickle.dumps([{"sent": "a dog"}, Trap(os.system, f"touch {target}")], protocol))
    with pytest.raises(UserError, match=r"refs\.p: not a pickle of plain lists.*system"):
        read_plain_pickle(path)
    assert not target.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        b"\x80\x02P1\n.",  # a persistent object
        b"\x80\x02\x82\x01.",  # a name from the registry of extensions
        b"",
        b"{}",
    ],
)
def test_anything_else_is_refused(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"refs\.p: not a pickle of plain"):
        read_plain_pickle(path)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param(b"\x80\x02]r\xff\xff\xff\x7f.", "MiB of memory", id="a memo of 16 GB"),
        pytest.param(
            b"\x80\x05\x96" + (64 << 20).to_bytes(8, "little") + b".",
            "not a pickle of plain",
            id="a byte array: room before its bytes are looked for",
        ),
    ],
)
def test_what_a_file_claims_takes_no_memory(path: Path, data: bytes, said: str) -> None:
    path.write_bytes(data)
    tracemalloc.start()
    try:
        found = sentence_of(read_plain_pickle, path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert said in found
