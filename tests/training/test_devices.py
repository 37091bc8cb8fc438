"""Names of devices."""

import pytest
import torch

from xfm.errors import UserError
from xfm.training.distributed import pick_device

ABSENT = ["meta", "xla", *([] if torch.cuda.is_available() else ["cuda", "cuda:0"])]


@pytest.mark.parametrize("name", ["foo", "gpu", "", "cuda:x", "cpu:-3", *ABSENT])
def test_unknown_and_absent_devices_are_named(name):
    reason = "torch finds none on this machine; give auto or cpu" if name in ABSENT else "unknown; give auto"
    with pytest.raises(UserError, match=f"device {name}: {reason}"):
        pick_device(name)


def test_the_processor_is_always_there():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_bare_name_is_this_process_s_own(monkeypatch):
    """On a machine that claims two GPUs; nothing is computed there."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert pick_device("cuda") == torch.device("cuda:1")
    assert pick_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(UserError, match="device cuda:2: this machine has 2, numbered from 0"):
        pick_device("cuda:2")
