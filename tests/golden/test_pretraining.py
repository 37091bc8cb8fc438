"""The pre-training part of the recorded behaviour of the published model."""

import dataclasses

import pytest
import torch
from torch import Tensor

from tests.golden.compare import check, check_gradients, check_loss, gradients
from tests.golden.recorded import Recorded
from xfm.config.training import LossConfig
from xfm.data.schema import Batch
from xfm.interop.published.names import from_published, layout, to_published
from xfm.modeling.fusion import FusionQuery
from xfm.modeling.gradients import PRETRAINING, Encoder, GradientPolicy, Objective
from xfm.modeling.xfm import XFM
from xfm.objectives import fused, vision_text
from xfm.objectives.bbox import generalised_iou
from xfm.objectives.identity import same_identity
from xfm.objectives.itm import sampling_weights
from xfm.objectives.mim import mim_loss
from xfm.objectives.rows import pair_rows, region_rows
from xfm.objectives.step import pretraining_losses

LEAKY = GradientPolicy({**PRETRAINING.reaches, Objective.IMLM: frozenset(Encoder)})


@pytest.fixture(scope="module")
def model(recorded: Recorded) -> XFM:
    return recorded.model()


def test_layout_covers_the_checkpoint_and_round_trips(recorded: Recorded) -> None:
    state = recorded.arrays("checkpoint.safetensors")
    keys = recorded.json("keys.json")
    ours = to_published(from_published(state, recorded.config), recorded.config)
    assert all(torch.equal(ours[name], state[name]) for name in ours)
    # The caption heads exist in checkpoints and are never used.
    assert set(keys["trainable_parameters"]) - set(ours) == {
        n for n in state if "lm_cap_head" in n and "decoder.bias" not in n
    }
    assert {entry.native for entry in layout(recorded.config)} == set(XFM(recorded.config).state_dict())


@torch.no_grad()
def test_encoders(recorded: Recorded, model: XFM) -> None:
    x, y = recorded.inputs, recorded.outputs
    vision = model.vision
    states = vision.embed(x["image"])
    check(recorded, "vision_patch_embed", states[:, 1:])
    for i, block in enumerate(vision.blocks):
        states = block(states, vision.index)
        check(recorded, f"vision_block{i}", states)
    check(recorded, "vision_out", model.encode_image(x["image"]))
    check(recorded, "vision_out_masked", model.encode_image(x["image"], x["mim_mask"]))
    check(recorded, "imagenet_vision_out", model.encode_image(x["imagenet_image"]))
    check(
        recorded,
        "imagenet_vision_out_masked",
        model.encode_image(x["imagenet_image"], x["imagenet_mim_mask"]),
    )

    embeddings, mask = model.language.embeddings, x["text_atts"].bool()
    assert torch.equal(embeddings.position_ids(x["text_ids"]), y["text_position_ids"])
    check(recorded, "text_embed_layer_out", embeddings(x["text_ids"]))
    check(recorded, "text_out", model.encode_text(x["text_ids"], mask))
    check(recorded, "text_out_masked", model.encode_text(x["text_ids_masked"], mask))
    check(recorded, "fusion_out", model.fuse(y["text_out"], mask, y["vision_out"]))
    check(recorded, "fusion_out_masked", model.fuse(y["text_out_masked"], mask, y["vision_out"]))
    check(recorded, "image_feat", model.embed_image(x["image"]))
    check(recorded, "text_feat", model.embed_text(x["text_ids"], mask))


@torch.no_grad()
def test_text_logits(recorded: Recorded, model: XFM) -> None:
    batch = recorded.text_batch().text
    assert batch is not None
    states = model.encode_text(batch.masked.ids, batch.tokens.mask)
    check(recorded, "textonly_hidden_masked", states)
    picked = states[torch.arange(len(states))[:, None], batch.masked.positions]
    check(
        recorded,
        "textonly_mlm_logits",
        model.language_logits(picked.flatten(0, 1)).view(*picked.shape[:2], -1),
    )


@pytest.mark.parametrize("prefix", ["", "region_"])
@torch.no_grad()
def test_vision_text_states(recorded: Recorded, model: XFM, prefix: str) -> None:
    if prefix:
        batch = recorded.region_batch().region
        assert batch is not None
        image = model.encode_image(batch.pixels)
        check(recorded, "region_vision_full", image)
        rows = region_rows(batch, image)
        check(
            recorded,
            "region_vision_out",
            torch.cat([rows.slot0[:, None], rows.bank.patches[rows.image]], dim=1),
        )
    else:
        batch = recorded.pair_batch().pair
        assert batch is not None
        rows = pair_rows(batch, model.encode_image(batch.pixels))
    text = model.encode_text(rows.tokens.ids, rows.tokens.mask)
    image_features = model.project_image(rows.slot0)
    text_features = model.project_text(text[:, 0])
    if prefix:
        check(recorded, "region_text_out", text)
        check(recorded, "region_image_feat", image_features)
        check(recorded, "region_text_feat", text_features)
    similarity = image_features @ text_features.t() / model.temperature
    same = same_identity(rows.image_identity, rows.text_identity)
    check(recorded, f"{prefix}weights_i2t", sampling_weights(similarity, same))
    check(recorded, f"{prefix}weights_t2i", sampling_weights(similarity.t(), same))

    queries = fused.matching_queries(rows, text, recorded.negatives(prefix))
    matched, *unmatched = fused.fuse_all(model, rows, queries, PRETRAINING)
    check(recorded, f"{prefix}itm_fusion_pos", matched)
    if not prefix:
        check(recorded, "itm_fusion_neg", torch.cat(unmatched))
    check(recorded, f"{prefix}itm_logits", model.match_logits(torch.cat([matched, *unmatched])))
    masked_text = model.encode_text(rows.masked.ids, rows.tokens.mask)
    query = FusionQuery(masked_text, rows.tokens.mask, rows.image, rows.slot, rows.visible)
    filled = model.fusion(query, rows.bank)
    picked = filled[torch.arange(len(filled))[:, None], rows.masked.positions]
    logits = model.fusion_logits(picked.flatten(0, 1)).view(*picked.shape[:2], -1)
    check(recorded, f"{prefix}mlm_logits_fusion", logits)
    if not prefix:
        check(recorded, "mlm_fusion_hidden", filled)
        return
    hidden = model.fusion(FusionQuery(text, rows.tokens.mask, rows.image), rows.bank)
    check(recorded, "region_bbox_fusion_hidden", hidden)
    boxes = model.boxes(hidden)
    check(recorded, "region_bbox_coord", boxes)
    check(
        recorded,
        "region_giou_matrix",
        generalised_iou(boxes[:, None], recorded.inputs["region_target_bbox"])[1],
    )


PART_NAMES = {
    "image": {"itc": "pair/itc", "itm": "pair/itm", "mlm": "pair/imlm", "mim": "pair/mim"},
    "region": {
        "itc": "region/itc",
        "itm": "region/itm",
        "mlm": "region/imlm",
        "bbox": "region/box_l1",
        "giou": "region/box_giou",
    },
    "imagenet": {"mim": "image/mim"},
    "text": {"mlm": "text/mlm"},
}
CASES = [f"{source}/loss_{name}" for source, names in PART_NAMES.items() for name in names]
CASES += ["image/total", "region/total", "variant/detach_text_forMLM_false/loss_mlm"]


def loss_of(recorded: Recorded, model: XFM, case: str, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    source, _, name = case.rpartition("/")
    policy = LEAKY if source.startswith("variant") else PRETRAINING
    source = "image" if source.startswith("variant") else source
    batches = {"image": recorded.pair_batch, "region": recorded.region_batch}
    batches |= {"imagenet": recorded.image_batch, "text": recorded.text_batch}
    batch: Batch = batches[source]()
    # The recorded random draw takes the place of ours.
    negatives = (
        recorded.negatives("region_" if source == "region" else "") if source in ("image", "region") else None
    )
    monkeypatch.setattr(vision_text, "draw_negatives", lambda *_: negatives)
    losses = pretraining_losses(model, batch, policy, LossConfig(), torch.Generator())
    return losses.total if name == "total" else losses.parts[PART_NAMES[source][name.removeprefix("loss_")]]


@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients(recorded: Recorded, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = recorded.model()
    loss = loss_of(recorded, model, case, monkeypatch)
    check_loss(recorded, case, loss)
    loss.backward()
    check_gradients(recorded, case, gradients(model, recorded.config))


def test_the_terms_of_mim(recorded: Recorded) -> None:
    x, y = recorded.inputs, recorded.outputs
    patches, both = (
        mim_loss(y["vision_out_masked"], y["vision_out"], x["mim_mask"], slot0=slot0)
        for slot0 in (False, True)
    )
    for name in ("image/loss_mim_patches", "variant/mim_cls_only_true/loss_mim"):
        check_loss(recorded, name, patches)
    check_loss(recorded, "image/loss_mim_cls", both - patches)


def test_what_is_recorded_as_zero_is_not_computed(recorded: Recorded, model: XFM) -> None:
    batches = {
        "image": recorded.pair_batch,
        "region": recorded.region_batch,
        "imagenet": recorded.image_batch,
    }
    zeros = [name.split("/loss_") for name, value in recorded.scalars.items() if value == 0]
    for source, name in zeros:
        parts = pretraining_losses(
            model, batches[source](), PRETRAINING, LossConfig(), torch.Generator()
        ).parts
        assert not [part for part in parts if part.endswith(f"/{name}")], (source, name)


def test_box_losses_of_all_rows(recorded: Recorded, model: XFM, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = recorded.region_batch()
    assert batch.region is not None
    batch = dataclasses.replace(
        batch, region=dataclasses.replace(batch.region, is_image=torch.zeros_like(batch.region.is_image))
    )
    monkeypatch.setattr(vision_text, "draw_negatives", lambda *_: recorded.negatives("region_"))
    parts = pretraining_losses(model, batch, PRETRAINING, LossConfig(), torch.Generator()).parts
    check_loss(recorded, "region/loss_bbox_noisimage", parts["region/box_l1"])
    check_loss(recorded, "region/loss_giou_noisimage", parts["region/box_giou"])
