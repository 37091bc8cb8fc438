import re
from dataclasses import replace

import pytest

from xfm.cli.main import parse_command
from xfm.config.world import WorldConfig
from xfm.core.errors import UserError


@pytest.mark.parametrize(
    "change",
    [{"image_size": 20}, {"quality": 0}, {"scenes": 0}, {"objects": 50}, {"twins": 5}, {"shard_size": 7}],
)
def test_numbers_that_no_world_has_are_named(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(change))} is "):
        replace(WorldConfig(), **change)


def test_numbers_are_held_against_one_another() -> None:
    for refused, taken in (
        ({"objects": 160}, {"objects": 160, "heldout_objects": 40}),
        ({"objects": 99, "heldout_objects": 0}, {"objects": 0}),
        ({"shard_size": 7}, {"shard_size": 7, "twins": 0}),
        ({"twins": 5}, {"twins": 5, "scale": 0.5}),  # 8 of them
    ):
        with pytest.raises(ValueError, match=next(iter(refused))):
            replace(WorldConfig(), **refused)
        replace(WorldConfig(), **taken).resolved()


def test_what_does_not_go_together_is_refused_before_anything_is_done() -> None:
    sentence = "objects is 160: choose 0 for all, or at least 100 and four times as many as heldout_objects"
    with pytest.raises(UserError, match=re.escape(sentence)):
        parse_command(["prepare", "--objects", "160"])
