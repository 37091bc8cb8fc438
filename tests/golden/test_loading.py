"""The recorded checkpoint: its key names, tied copies and buffers, and what a task model takes from it."""

import torch
from torch import Tensor

from tests.golden.recorded import Recorded
from xfm.models.interop.published.names import layout, spare, to_published
from xfm.models.xfm import XFM


def test_layout_covers_the_checkpoint_and_round_trips(recorded: Recorded) -> None:
    """Key by key: what is used, what is a copy of it, what is a constant, and the caption heads."""
    state, config, keys = recorded.checkpoint, recorded.config, recorded.json("keys.json")
    ours, (copies, constants, unused) = to_published(recorded.native(), config), spare(config)
    assert all(torch.equal(ours[name], state[name]) for name in ours)
    assert all(torch.equal(state[name], state[source]) for name, source in copies.items())
    assert all(torch.equal(state[name], value) for name, value in constants.items())
    # The caption heads exist in checkpoints and are never used.
    assert state.keys() == ours.keys() | copies.keys() | constants.keys() | unused
    assert {entry.native for entry in layout(config)} == set(XFM(config).state_dict())

    assert keys.keys() == {"keys", "tied", "buffers", "trainable_parameters"}
    shapes = {name: (list(t.shape), str(t.dtype).removeprefix("torch.")) for name, t in state.items()}
    assert {name: (key["shape"], key["dtype_when_loaded"]) for name, key in keys["keys"].items()} == shapes
    assert set(keys["buffers"]) == constants.keys()
    ties = {frozenset(pair) for pair in copies.items()}
    tied = {frozenset(group) for group in keys["tied"]}
    assert ties <= tied
    assert all(group <= unused for group in tied - ties)
    trained = set(keys["trainable_parameters"])
    assert all(len(group & trained) == 1 for group in tied)
    assert trained | set().union(*tied) | constants.keys() == state.keys()
    assert not trained & constants.keys()


def test_the_settings_of_the_record(recorded: Recorded) -> None:
    values = recorded.json("config.json")
    clamped = recorded.model()
    low, high = values["temp_clamp"]
    assert clamped.temperature.item() == torch.tensor(values["temp_in_checkpoint"]).item()
    for temperature, wanted in ((0.0, low), (9.0, high)):
        clamped.temperature.data.fill_(temperature)
        clamped.clamp_temperature()
        assert clamped.temperature.item() == torch.tensor(wanted).item()
    language, tokens = recorded.config.language, values["special_tokens"]
    assert (tokens["pad"], tokens["eos_sep"]) == (language.pad, language.separator)


def test_parameters_come_from_where_the_map_says(recorded: Recorded, loaded_task: str) -> None:
    wanted = recorded.json("load_map.json")[loaded_task]
    assert wanted.keys() == {"renamed", "not_in_checkpoint", "same_name", "checkpoint_keys_unused"}
    config, module = recorded.task_config(loaded_task), recorded.task_model(loaded_task)
    whole: dict[str, Tensor] = recorded.model().state_dict() | module.shared_state()
    whole |= {f"task.{name}": tensor for name, tensor in module.added_state().items()}
    ours = to_published(whole, recorded.config, config)
    copies, constants, unused = spare(recorded.config, config)
    names = ours.keys() | copies.keys() | unused
    sources = {name: wanted["renamed"].get(name, name) for name in names - set(wanted["not_in_checkpoint"])}
    assert set(wanted["renamed"]) <= names
    added = recorded.added_weights(loaded_task)
    assert set(wanted["not_in_checkpoint"]) == added.keys() <= ours.keys()
    assert all(torch.equal(ours[name], tensor) for name, tensor in added.items())
    assert sum(name == source for name, source in sources.items()) == wanted["same_name"]
    for name, source in sources.items():
        if name not in unused:
            assert torch.equal(ours[copies.get(name, name)], recorded.checkpoint[source]), name
    constants = spare(recorded.config)[1].keys()
    left = recorded.checkpoint.keys() - constants - set(sources.values())
    # A tied copy of what is not loaded either may be listed or not.
    tied = spare(recorded.config)[0].keys()
    assert left - tied == set(wanted["checkpoint_keys_unused"]) - tied
