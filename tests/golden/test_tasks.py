"""The recorded task models: classification, reasoning, grounding, another resolution, what loads where."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.golden.compare import check, check_gradients, check_loss, gradients
from tests.golden.recorded import TASKS, Recorded
from xfm.interop.published.names import from_published, to_published
from xfm.interop.published.spare import spare
from xfm.modeling.task_models import (
    Grounder,
    ImageClassifier,
    PairClassifier,
    Reasoner,
    TextClassifier,
)
from xfm.modeling.xfm import XFM
from xfm.objectives.bbox import box_losses
from xfm.tasks.base import classification_losses, regression_losses


@pytest.mark.parametrize("task", TASKS)
def test_parameters_come_from_where_the_map_says(recorded: Recorded, task: str) -> None:
    wanted = recorded.json("load_map.json")[task]
    config, module = recorded.task_config(task), recorded.task_model(task)
    whole = recorded.model().state_dict() | module.shared_state()
    whole |= {f"task.{name}": tensor for name, tensor in module.added_state().items()}
    ours = to_published(whole, recorded.config, config)
    beside = spare(recorded.config, config)
    names = ours.keys() | beside.copies.keys() | beside.unused
    sources = {name: wanted["renamed"].get(name, name) for name in names - set(wanted["not_in_checkpoint"])}
    assert set(wanted["renamed"]) <= names
    assert set(wanted["not_in_checkpoint"]) <= set(ours)
    assert sum(name == source for name, source in sources.items()) == wanted["same_name"]
    for name, source in sources.items():
        if name not in beside.unused:
            assert torch.equal(ours[beside.copies.get(name, name)], recorded.checkpoint[source]), name
    constants = spare(recorded.config).constants.keys()
    left = recorded.checkpoint.keys() - constants - set(sources.values())
    # A tied copy of what is not loaded either may be listed or not.
    tied = spare(recorded.config).copies.keys()
    assert left - tied == set(wanted["checkpoint_keys_unused"]) - tied


def finish(recorded: Recorded, case: str, loss: Tensor, module: nn.Module) -> None:
    """Compare a loss, and the gradients that it alone has."""
    check_loss(recorded, case, loss)
    module.zero_grad()
    loss.backward(retain_graph=True)
    check_gradients(recorded, case, gradients(module, recorded.config))


@pytest.mark.parametrize(
    ("task", "targets"), [("cls_text", "cls_targets3"), ("cls_regress", "cls_targets_reg")]
)
def test_texts(recorded: Recorded, task: str, targets: str) -> None:
    module = recorded.task_model(task)
    assert isinstance(module, TextClassifier)
    logits = module(recorded.tokens("text"))
    check(recorded, f"{task}/logits", logits)
    compute = regression_losses if module.task.classes == 1 else classification_losses
    finish(recorded, f"{task}/loss", compute(logits, recorded.inputs[targets]).total, module)


@pytest.mark.parametrize("task", ["cls_image", "cls_linearprobe"])
def test_images(recorded: Recorded, task: str) -> None:
    module = recorded.task_model(task)
    assert isinstance(module, ImageClassifier)
    module.vision.requires_grad_(task == "cls_image")
    logits = module(recorded.inputs["image"])
    check(recorded, f"{task}/logits", logits)
    loss = classification_losses(logits, recorded.inputs["cls_targets10"]).total
    finish(recorded, f"{task}/loss", loss, module)


def test_pairs(recorded: Recorded) -> None:
    module = recorded.task_model("cls_multimodal")
    assert isinstance(module, PairClassifier)
    logits = module(recorded.inputs["image"], recorded.tokens("text"))
    check(recorded, "cls_multimodal/logits", logits)
    loss = classification_losses(logits, recorded.inputs["cls_targets3"]).total
    finish(recorded, "cls_multimodal/loss", loss, module)


def test_two_pictures(recorded: Recorded) -> None:
    module = recorded.task_model("nlvr")
    assert isinstance(module, Reasoner)
    targets = recorded.inputs["nlvr_targets"]
    rows, tokens = len(targets), recorded.tokens("text")
    left = torch.arange(rows)
    tokens = tokens.map(lambda t: t[:rows])
    logits = module(recorded.inputs["image"], left, left + rows, tokens)
    check(recorded, "nlvr/logits", logits)
    finish(recorded, "nlvr/loss", classification_losses(logits, targets).total, module)


def test_phrases(recorded: Recorded) -> None:
    module = recorded.task_model("grounding")
    assert isinstance(module, Grounder)
    predicted = module(recorded.inputs["image"], recorded.tokens("text"))
    check(recorded, "grounding/coord", predicted)
    l1, giou, _ = box_losses(predicted, recorded.inputs["grounding_target_bbox"])
    finish(recorded, "grounding/loss_bbox", l1, module)
    finish(recorded, "grounding/loss_giou", giou, module)


def test_phrases_of_regions(recorded: Recorded) -> None:
    module = recorded.task_model("grounding_domain")
    assert isinstance(module, Grounder)
    x = recorded.inputs
    predicted = module(x["region_image"], recorded.tokens("region_text"), x["region_idx_to_group_img"])
    boxed = ~x["region_is_image"].bool()
    l1, giou, _ = box_losses(predicted[boxed], x["region_target_bbox"][boxed])
    finish(recorded, "grounding_domain/loss_bbox", l1, module)
    finish(recorded, "grounding_domain/loss_giou", giou, module)


@torch.no_grad()
def test_another_resolution(recorded: Recorded) -> None:
    """With the recorded tables; that they are what resampling gives is another test."""
    side = recorded.json("config.json")["upres_image_res"]
    config = replace(recorded.config, vision=replace(recorded.config.vision, image_size=side))
    native = from_published(recorded.checkpoint, recorded.config)
    for block in range(config.vision.depth):
        table = recorded.outputs[f"upres/rel_pos_table_block{block}"]
        native[f"vision.blocks.{block}.attention.relative_position_table"] = table
    model = XFM(config).eval()
    model.load_state_dict(native)
    check(recorded, "upres/vision_out", model.encode_image(recorded.inputs["upres_image"]))
