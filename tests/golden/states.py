"""Every array that a folder records, computed by the code that a user runs; by its recorded name."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from tests.golden.losses import answer_owners, identity, task_logits
from tests.golden.recorded import TASKS, Recorded
from xfm.config.tasks import task_spec
from xfm.config.training import Precision
from xfm.data.schema import MaskedTokens
from xfm.data.tokenizer import Tokenizer
from xfm.metrics.recalls import own_captions
from xfm.models.decoder import Decoder
from xfm.models.features import Encoder, encode_images, encode_tokens
from xfm.models.fusion import FusionQuery, TextBank
from xfm.models.gradients import PRETRAINING
from xfm.models.task_models import Answerer, Grounder, TaskModel
from xfm.models.xfm import XFM
from xfm.objectives import fusion_losses
from xfm.objectives.fusion_losses import generalised_iou
from xfm.objectives.losses import sequence_losses
from xfm.objectives.negatives import sampling_weights
from xfm.objectives.text_rows import TextRows, pair_rows, region_rows, same_identity
from xfm.tasks.answers import rank_as_published
from xfm.tasks.ranking import match_both

Arrays = Iterator[tuple[str, Tensor]]
NOT_LISTED = -100
"""The recorded score of a pair that is not on the shortlist."""


@torch.no_grad()
def compute(recorded: Recorded) -> dict[str, Tensor]:
    """All arrays of pre-training and of those tasks that the folder records."""
    found = dict(pretraining(recorded, recorded.model()))
    makers: dict[str, Callable[[Recorded], Arrays]] = {
        "retrieval": retrieval,
        "upres": another_resolution,
        "grounding": grounding,
        "vqa": answers,
        "decoder_on_vision": captions,  # where the widths differ, no decoder of answers can do this
    }
    for task in {name.split("/")[0] for name in recorded.outputs if "/" in name}:
        if task in TASKS and task_spec(TASKS[task]).classes:
            found[f"{task}/logits"] = task_logits(recorded, recorded.task_model(task))
        elif task in makers:
            found |= {f"{task}/{name}": tensor for name, tensor in makers[task](recorded)}
    return found


def pretraining(recorded: Recorded, model: XFM) -> Arrays:
    yield from encoders(recorded, model)
    yield from texts(recorded, model)
    pair, region = recorded.pair_batch().pair, recorded.region_batch().region
    assert pair is not None
    assert region is not None
    text = model.encode_text(pair.tokens.ids, pair.tokens.mask)
    yield from vision_text(recorded, model, pair_rows(pair, model.encode_image(pair.pixels), text), "")
    image = model.encode_image(region.pixels)
    rows = region_rows(region, image, model.encode_text(region.tokens.ids, region.tokens.mask))
    yield "region_vision_full", image
    yield "region_vision_out", torch.cat([rows.slot0[:, None], rows.bank.patches[rows.image]], dim=1)
    yield from vision_text(recorded, model, rows, "region_")
    (hidden,) = model.fusion([FusionQuery(rows.texts, rows.bank, own_texts(rows), rows.image)])
    boxes = model.boxes(hidden)
    yield "region_bbox_fusion_hidden", hidden
    yield "region_bbox_coord", boxes
    yield "region_giou_matrix", generalised_iou(boxes[:, None], region.boxes)[1]


def encoders(recorded: Recorded, model: XFM) -> Arrays:
    x, vision = recorded.inputs, model.vision
    states = vision.embed(x["image"])
    yield "vision_patch_embed", states[:, 1:]
    for i, block in enumerate(vision.blocks):
        states = block(states, vision.index)
        yield f"vision_block{i}", states
    for prefix, mask in (("", "mim_mask"), ("imagenet_", "imagenet_mim_mask")):
        pixels = x[f"{prefix}image"]
        yield f"{prefix}vision_out", model.encode_image(pixels)
        yield f"{prefix}vision_out_masked", model.encode_image(pixels, x[mask])
    embeddings, mask = model.language.embeddings, x["text_atts"].bool()
    yield "text_position_ids", embeddings.position_ids(x["text_ids"])
    yield "text_embed_layer_out", embeddings(x["text_ids"])
    image = model.encode_image(x["image"])
    for suffix in ("", "_masked"):
        text = model.encode_text(x[f"text_ids{suffix}"], mask)
        yield f"text_out{suffix}", text
        yield f"fusion_out{suffix}", model.fuse(text, mask, image)
    yield "image_feat", model.embed_image(x["image"])
    yield "text_feat", model.embed_text(x["text_ids"], mask)


def picked_logits(states: Tensor, masked: MaskedTokens, head: Callable[[Tensor], Tensor]) -> Tensor:
    """[R, M, V] of states [R, T, D] at the masked positions."""
    picked = states[torch.arange(len(states))[:, None], masked.positions]
    return head(picked.flatten(0, 1)).view(*picked.shape[:2], -1)


def texts(recorded: Recorded, model: XFM) -> Arrays:
    batch = recorded.text_batch().text
    assert batch is not None
    states = model.encode_text(batch.masked.ids, batch.tokens.mask)
    yield "textonly_hidden_masked", states
    yield "textonly_mlm_logits", picked_logits(states, batch.masked, model.language_logits)


def own_texts(rows: TextRows) -> Tensor:
    """[R]: each row's own text."""
    return torch.arange(len(rows.image))


def vision_text(recorded: Recorded, model: XFM, rows: TextRows, prefix: str) -> Arrays:
    """What pairs (no prefix) and regions have in common."""
    text = rows.texts.states
    image_features, text_features = model.project_image(rows.slot0), model.project_text(text[:, 0])
    yield f"{prefix}text_out", text
    yield f"{prefix}image_feat", image_features
    yield f"{prefix}text_feat", text_features
    similarity = image_features @ text_features.t() / model.temperature
    same = same_identity(rows.image_identity, rows.text_identity)
    yield f"{prefix}weights_i2t", sampling_weights(similarity, same)
    yield f"{prefix}weights_t2i", sampling_weights(similarity.t(), same)
    queries = [
        (objective, replace(query, read=None))  # the recorded states are of all tokens
        for objective, query in fusion_losses.matching_queries(rows, recorded.negatives(prefix))
    ]
    matched, *unmatched = fusion_losses.fuse_all(model, queries, PRETRAINING)
    yield f"{prefix}itm_fusion_pos", matched
    yield f"{prefix}itm_fusion_neg", torch.cat(unmatched)
    yield f"{prefix}itm_logits", model.match_logits(torch.cat([matched, *unmatched]))
    masked = model.encode_text(rows.masked.ids, rows.texts.mask)
    texts = TextBank(masked, rows.texts.mask)
    query = FusionQuery(texts, rows.bank, own_texts(rows), rows.image, rows.slot, rows.visible)
    (filled,) = model.fusion([query])
    yield f"{prefix}mlm_fusion_hidden", filled
    yield f"{prefix}mlm_logits_fusion", picked_logits(filled, rows.masked, model.fusion_logits)


def retrieval(recorded: Recorded) -> Arrays:
    module = recorded.task_model("retrieval")
    assert isinstance(module, TaskModel)
    model, tokens, pixels = module.model, recorded.tokens("text"), recorded.inputs["image"]
    image, text = model.encode_image(pixels), model.encode_text(tokens.ids, tokens.mask)
    cosines = model.project_image(image[:, 0]) @ model.project_text(text[:, 0]).t()
    yield "sims", cosines
    same = identity(recorded, "retrieval")
    same = same[:, None] == same
    yield "weights_i2t", sampling_weights(cosines / model.temperature, same)
    yield "weights_t2i", sampling_weights(cosines.t() / model.temperature, same)
    own, negatives = torch.arange(len(text)), recorded.negatives("retrieval_")
    texts = torch.cat([own, own, negatives.text])
    images = torch.cat([own, negatives.image, own])
    yield "itm_logits", model.match_logits(model.fuse(text[texts], tokens.mask[texts], image, images))
    yield from shortlists(recorded, model)


def shortlists(recorded: Recorded, model: XFM) -> Arrays:
    """Matching logits of the shortlist of each query; everything else stands below it."""
    encoder = Encoder(model, cast(Tokenizer, None), Precision.FP32)
    images = encode_images(encoder, [recorded.inputs["image"]], len(recorded.inputs["image"]))
    texts = encode_tokens(encoder, [recorded.tokens("text")])
    for name, theirs in recorded.outputs.items():
        if not (kind := re.fullmatch(r"retrieval/score_(i2t|t2i)_top\d+", name)):
            continue
        size = int((theirs[0] != NOT_LISTED).sum())
        owners = own_captions(torch.arange(len(texts)).numpy() % len(images), len(images))
        both = match_both(encoder, images, texts, owners, size)
        matched = both[0] if kind[1] == "i2t" else both[1]
        listed, logits = (torch.from_numpy(array) for array in (matched.shortlist, matched.logits))
        rows = torch.full(theirs.shape, float(NOT_LISTED))
        yield name.removeprefix("retrieval/"), rows.scatter(1, listed.long(), logits[..., 1])


def another_resolution(recorded: Recorded) -> Arrays:
    """Tables are resampled, and larger pictures are encoded."""
    model, pixels = recorded.model(), recorded.inputs["upres_image"]
    size = recorded.json("config.json")["upres_image_res"]
    assert pixels.shape[2:] == (size, size)
    model.resize(size)
    assert model.config.vision == replace(recorded.config.vision, image_size=size)
    state = model.vision.state_dict()
    for block in range(model.config.vision.depth):  # type: ignore[union-attr]
        yield f"rel_pos_table_block{block}", state[f"blocks.{block}.attention.relative_position_table"]
    yield "vision_out", model.encode_image(pixels)


def grounding(recorded: Recorded) -> Arrays:
    module = recorded.task_model("grounding")
    assert isinstance(module, Grounder)
    yield "coord", module(recorded.inputs["image"], recorded.tokens("text"))


def answers(recorded: Recorded) -> Arrays:
    module, question = recorded.task_model("vqa"), recorded.tokens("vqa_question")
    assert isinstance(module, Answerer)
    answer, owner = recorded.tokens("vqa_answer"), answer_owners(recorded)
    memory = module.fuse(recorded.inputs["image"], question)
    yield "question_output", memory
    logits = module.decoder(answer.ids, answer.mask, memory, question.mask, owner)
    # The same with the memory of each answer instead of an index into the memories.
    each = module.decoder(answer.ids, answer.mask, memory[owner], question.mask[owner])
    torch.testing.assert_close(each, logits, rtol=0, atol=1e-5)
    yield "answer_logits", logits
    yield "answer_loss_per_sequence", sequence_losses(logits, answer)
    yield from ranking(recorded, module.decoder, memory)


def ranking(recorded: Recorded, decoder: Decoder, memory: Tensor) -> Arrays:
    """The published ranking, in the recorded order where candidates are equally good."""
    candidates, y = recorded.tokens("vqa_cand"), recorded.outputs
    begin = candidates.ids[:1, :1].expand(len(memory), 1)
    seen = torch.ones(memory.shape[:2], dtype=torch.bool)  # the padding of the questions, too
    yield "rank_first_token_logits", decoder(begin, torch.ones_like(begin).bool(), memory, seen)[:, 0]
    found = rank_as_published(decoder, candidates, memory, y["vqa/rank_pre_topk_ids"].shape[1])
    first = found.first.gather(1, found.kept)
    kept = ties_as(y["vqa/rank_pre_topk_ids"], found.kept, first)
    order = ties_as(y["vqa/rank_topk_ids"], found.order, found.probabilities)
    losses = along(kept, found.kept, found.losses)
    yield "rank_pre_topk_ids", kept
    yield "rank_topk_ids", order
    yield "rank_topk_probs", along(order, found.order, found.probabilities)
    yield "rank_first_token_prob", found.first
    yield "rank_candidate_loss", losses
    yield "rank_logprob_sum_pre_order", along(kept, found.kept, first).log() - losses


def ties_as(wanted: Tensor, found: Tensor, values: Tensor) -> Tensor:
    """[N, K] `found`, with ids of equal values in the order of `wanted`."""
    if not torch.equal(wanted.sort(1).values, found.sort(1).values):
        return found
    apart = (along(wanted, found, values) - values).abs() > 1e-6 * values.abs()
    return torch.where(apart.any(1, keepdim=True), found, wanted)


def along(wanted: Tensor, found: Tensor, values: Tensor) -> Tensor:
    """[N, K] the values of `found` ids in the order of `wanted` ids (the same ids)."""
    return values.gather(1, (wanted[:, :, None] == found[:, None]).float().argmax(2))


def captions(recorded: Recorded) -> Arrays:
    model, tokens = recorded.model(), recorded.tokens("text")
    decoder = Decoder(model, recorded.config.vision.width).eval()
    image = model.encode_image(recorded.inputs["image"])
    logits = decoder(tokens.ids, tokens.mask, image, torch.ones(image.shape[:2], dtype=torch.bool))
    yield "logits", logits
    yield "loss_per_sequence", sequence_losses(logits, tokens)
