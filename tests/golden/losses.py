"""Every loss that a folder records, computed by the code that a user runs; by its recorded name."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tests.golden.recorded import TASKS, Recorded
from xfm.config.training import LossConfig
from xfm.data.schema import Batch
from xfm.models.gradients import PRETRAINING, EncoderName, GradientPolicy, Objective
from xfm.models.task_models import (
    Answerer,
    Grounder,
    ImageClassifier,
    PairClassifier,
    Reasoner,
    TaskModel,
    TextClassifier,
)
from xfm.objectives.fusion_losses import box_losses
from xfm.objectives.losses import sequence_losses
from xfm.objectives.negatives import Negatives
from xfm.objectives.retrieval import retrieval_losses
from xfm.objectives.step import mim_loss, pretraining_losses
from xfm.tasks.labelling import classification_losses, regression_losses

LEAKY = GradientPolicy({**PRETRAINING.reaches, Objective.IMLM: frozenset(EncoderName)})
SOURCES = {"image": "pair", "region": "region", "imagenet": "image", "text": "text"}
PARTS = {
    "itc": {"itc"},
    "itm": {"itm"},
    "mlm": {"mlm", "imlm"},
    "mim": {"mim"},
    "bbox": {"box_l1"},
    "giou": {"box_giou"},
}


@dataclass(frozen=True)
class Found:
    """A loss and the module whose parameters it trains; no loss where the batch does not allow it."""

    loss: Tensor | None
    module: nn.Module


def negatives_of(recorded: Recorded, case: str) -> Negatives:
    """The recorded hard negatives of a case."""
    return recorded.negatives({"region": "region_", "retrieval": "retrieval_"}.get(case.split("/")[0], ""))


def compute(recorded: Recorded, case: str) -> Found:
    """The loss of a recorded name; hard negatives are what `draw_negatives` gives.

    Raises:
        KeyError: nothing is known of that name.
    """
    source, _, name = case.rpartition("/")
    if source == "variant/mim_cls_only_true" or name in ("loss_mim_patches", "loss_mim_cls"):
        return mim_terms(recorded, "patches" if source.startswith("variant") else name.split("_")[-1])
    if source in SOURCES or source == "variant/detach_text_forMLM_false":
        return pretraining(recorded, source, name)
    if source in ("retrieval", "retrieval_noidx"):
        return retrieval(recorded, source, name.removeprefix("loss_"))
    if source in ("grounding", "grounding_domain"):
        return grounding(recorded, source, {"loss_bbox": 0, "loss_giou": 1}[name])
    if name != "loss" or source not in TASKS:
        raise KeyError(f"no loss is known as {case}")
    return vqa(recorded) if source == "vqa" else classification(recorded, source)


def batch_of(recorded: Recorded, source: str) -> Batch:
    batches = {"image": recorded.pair_batch, "region": recorded.region_batch}
    batches |= {"imagenet": recorded.image_batch, "text": recorded.text_batch}
    return batches[source]()


def pretraining(recorded: Recorded, source: str, name: str) -> Found:
    model = recorded.model()
    policy = LEAKY if source not in SOURCES else PRETRAINING
    source = source if source in SOURCES else "image"
    batch = batch_of(recorded, source)
    if name.endswith("_noisimage"):
        assert batch.region is not None
        region = replace(batch.region, is_image=torch.zeros_like(batch.region.is_image))
        batch = replace(batch, region=region)
    losses = pretraining_losses(model, batch, policy, LossConfig(), torch.Generator())
    if name == "total":
        return Found(losses.total, model)
    wanted = {f"{SOURCES[source]}/{part}" for part in PARTS[name.split("_")[1]]}
    present = [losses.terms[part] for part in wanted & losses.terms.keys()]
    assert len(present) <= 1
    return Found(present[0] if present else None, model)


def mim_terms(recorded: Recorded, term: str) -> Found:
    """The two terms of the masked-image loss of the pairs' pictures."""
    model, mask = recorded.model(), recorded.inputs["mim_mask"]
    pixels = recorded.inputs["image"]
    predicted, target = model.encode_image(pixels, mask), model.encode_image(pixels)
    patches, both = (mim_loss(predicted, target, mask, slot0=slot0) for slot0 in (False, True))
    return Found({"patches": patches, "cls": both - patches}[term], model)


def classification(recorded: Recorded, task: str) -> Found:
    module = recorded.task_model(task)
    if isinstance(module, ImageClassifier):
        module.vision.requires_grad_(task != "cls_linearprobe")
    logits, targets = task_logits(recorded, module), recorded.class_targets(task)
    measure = regression_losses if module.task.classes == 1 else classification_losses
    return Found(measure(logits, targets).total, module)


def task_logits(recorded: Recorded, module: TaskModel) -> Tensor:
    """The logits of a classifier for the recorded inputs."""
    pixels, tokens = recorded.inputs["image"], recorded.tokens("text")
    match module:
        case TextClassifier():
            return module(tokens=tokens)
        case ImageClassifier():
            return module(pixels)
        case PairClassifier():
            return module(pixels, tokens)
        case Reasoner():  # the first pictures of all pairs, then the second ones
            rows = len(recorded.inputs["nlvr_targets"])
            both = torch.arange(2 * rows).view(2, rows).t()
            return module(pixels, tokens.map(lambda t: t[:rows]), both)
    raise KeyError(f"{type(module).__name__} is no classifier")


def identity(recorded: Recorded, case: str) -> Tensor:
    """[B] int64, equal for pairs that show the same picture."""
    found = recorded.inputs["retrieval_idx"]
    return found if case == "retrieval" else torch.arange(len(found))


def retrieval(recorded: Recorded, case: str, name: str) -> Found:
    module = recorded.task_model("retrieval")
    assert isinstance(module, TaskModel)
    pixels, tokens, same = recorded.inputs["image"], recorded.tokens("text"), identity(recorded, case)
    found = retrieval_losses(module.model, pixels, tokens, same, torch.Generator(), lambda rows: rows)
    return Found(found.losses[name], module)


def grounding(recorded: Recorded, case: str, which: int) -> Found:
    module, x = recorded.task_model(case), recorded.inputs
    assert isinstance(module, Grounder)
    if case == "grounding":
        predicted, target = module(x["image"], recorded.tokens("text")), x["grounding_target_bbox"]
    else:
        boxed = ~x["region_is_image"].bool()
        predicted = module(x["region_image"], recorded.tokens("region_text"), x["region_idx_to_group_img"])
        predicted, target = predicted[boxed], x["region_target_bbox"][boxed]
    return Found(box_losses(predicted, target)[which], module)


def answer_owners(recorded: Recorded) -> Tensor:
    """[N] int64, the question of each answer."""
    counts = recorded.inputs["vqa_k"]
    return torch.arange(len(counts)).repeat_interleave(counts)


def vqa(recorded: Recorded) -> Found:
    """Answers are weighted by their votes, and the loss is averaged over the pictures."""
    module, answer = recorded.task_model("vqa"), recorded.tokens("vqa_answer")
    assert isinstance(module, Answerer)
    pixels, question = recorded.inputs["image"], recorded.tokens("vqa_question")
    logits = module(pixels, question, answer, question_index=answer_owners(recorded))
    losses = recorded.inputs["vqa_weights"] * sequence_losses(logits, answer)
    return Found(losses.sum() / len(pixels), module)
