"""Random states of Python, numpy and torch as plain tensors, so that a run can go on exactly."""

import random
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor


def seed_all(seed: int) -> None:
    """Seed Python, numpy and torch (every device)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  libraries draw from the global state
    torch.manual_seed(seed)


def random_state(generator: torch.Generator) -> dict[str, Tensor]:
    """Every random state of this process and the trainer's generator, tensors by name for
    `restore_random_state`."""
    version, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    state = {
        "python": torch.tensor([version, *words], dtype=torch.int64),
        "python_gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
        "numpy": torch.from_numpy(np.asarray(keys, dtype=np.int64)),
        "numpy_position": torch.tensor([position, has_gauss], dtype=torch.int64),
        "numpy_gauss": torch.tensor([cached], dtype=torch.float64),
        "torch": torch.get_rng_state(),
        "generator": generator.get_state(),
    }
    if generator.device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(generator.device)
    return state


def restore_random_state(state: dict[str, Tensor], generator: torch.Generator) -> None:
    """Put back what `random_state` returned; the generator of another kind of device stays as seeded."""
    version, *words = state["python"].tolist()
    gauss = state["python_gauss"].tolist()
    random.setstate((version, tuple(words), gauss[0] if gauss else None))
    position, has_gauss = state["numpy_position"].tolist()
    keys = state["numpy"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, position, has_gauss, state["numpy_gauss"].item()))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    restore_generator(state, generator)
    if generator.device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], generator.device)


def restore_generator(state: dict[str, Tensor], generator: torch.Generator) -> None:
    """Put back the loop's own generator alone, which is the same in all processes."""
    if generator.get_state().shape == state["generator"].shape:
        generator.set_state(state["generator"])


def return_to_random(device: torch.device) -> Callable[[], None]:
    """What goes back to the global random numbers of a device as they are now; the host need not wait."""
    if device.type == "cuda":
        return partial(torch.cuda.set_rng_state, torch.cuda.get_rng_state(device), device)
    return partial(torch.set_rng_state, torch.get_rng_state())
