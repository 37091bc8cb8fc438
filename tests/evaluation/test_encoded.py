"""Retrieval splits are encoded once, whichever parts ask for them."""

from dataclasses import replace

import pytest
import torch

from xfm.config.evaluation import EvaluationConfig
from xfm.evaluation import context as module
from xfm.evaluation.context import Context
from xfm.evaluation.parts import matching, zero_shot
from xfm.tasks.images import Pictures


@pytest.fixture
def context(pretrained, tiny_world):
    return Context(
        pretrained, tiny_world, EvaluationConfig(), torch.device("cpu"), Pictures(pretrained.preprocessing)
    )


@pytest.fixture
def encoded_texts(monkeypatch):
    found, real = [], module.encode_texts

    def counting(encoder, texts):
        found.append(len(texts))
        return real(encoder, texts)

    monkeypatch.setattr(module, "encode_texts", counting)
    return found


def test_parts_share_what_they_encode(context, encoded_texts):
    """Splits of the tiny world have equal rows, so that one is enough for all."""
    alone = matching.run_absence(context).scores
    zero_shot.run_retrieval(context)
    matching.run_matching(context)
    assert matching.run_absence(context).scores == alone
    assert encoded_texts == [12]


def test_what_has_no_room_is_encoded_again(context, encoded_texts):
    first = context.captions("seen")
    size = sum(items.states.bytes_in_memory for items in (first.images, first.texts))
    assert size > 12 * context.pretrained.model.config.language.width * 2
    assert context.captions("seen") is first
    for limit, times in ((size, 1), (size - 1, 2)):
        encoded_texts.clear()
        tight = replace(context, encoded={}, encoded_bytes=limit)
        for _ in range(2):
            tight.captions("seen")
        assert encoded_texts == [12] * times
