"""Retrieval of a fine-tuned model, or of a model as it is, on a test split of any size."""

from itertools import compress

import torch

from xfm.evaluation.benchmarks.benchmark import Benchmark, JobResult, JobSetting
from xfm.evaluation.benchmarks.read.corpus import Corpus
from xfm.evaluation.benchmarks.readable import answered
from xfm.finetuning.start import load_base
from xfm.metrics.recalls import CUTOFFS, Rule, own_captions, summarise
from xfm.models.features import CAPTION_TOKENS, EncodedItems, Encoder, encode_images, encode_texts
from xfm.tasks.pictures import Pictures
from xfm.tasks.ranking import rank
from xfm.tasks.retrieval import RetrievalTask, owners
from xfm.tasks.rows import Described
from xfm.training.distributed import pick_device

BATCH = 64


def evaluate_retrieval(
    task: RetrievalTask, corpus: Corpus[Described], setting: JobSetting, found: JobResult
) -> JobResult:
    """Recalls of a fine-tuned model on the test split."""
    model, settings = task.module.model, task.settings
    encoder = Encoder(
        model, task.tokenizer, settings.precision, torch.device(settings.device), BATCH, setting.progress
    )
    return _score_retrieval(encoder, task.pictures, corpus, setting, found, settings.max_tokens)


def evaluate_zero_shot_retrieval(
    benchmark: Benchmark, corpus: Corpus[Described], setting: JobSetting
) -> JobResult:
    """Recalls of the model without training, at its own picture size and the recipe's text length."""
    pretrained = load_base(setting.model)
    device = torch.device(pick_device(setting.device))
    encoder = Encoder(
        pretrained.model.to(device).eval(),
        pretrained.tokenizer,
        setting.recipe.settings.precision,
        device,
        BATCH,
        setting.progress,
    )
    pictures = Pictures(pretrained.preprocessing)
    longest = setting.recipe.settings.max_tokens or CAPTION_TOKENS
    return _score_retrieval(encoder, pictures, corpus, setting, JobResult(), longest)


def _score_retrieval(
    encoder: Encoder,
    pictures: Pictures,
    corpus: Corpus[Described],
    setting: JobSetting,
    found: JobResult,
    longest: int,
) -> JobResult:
    rows = corpus.scored["test"]
    setting.folder.mkdir(parents=True, exist_ok=True)

    def encoded() -> EncodedItems:
        pixels = pictures.batches([row.image for row in rows], encoder.batch_size)
        return encode_images(encoder, pixels, len(rows), setting.folder)

    images, whole = answered(rows, pictures, "test", setting.left_out, encoded)
    if not all(whole):
        rows = [*compress(rows, whole)]
        images = encoded()
    captions = [caption for row in rows for caption in row.captions]
    texts = encode_texts(encoder, captions, longest, setting.folder)
    positives = own_captions(owners(rows), len(rows))
    shortlist = setting.recipe.shortlist or max(len(rows), len(captions))
    text, image = rank(encoder, images, texts, positives, shortlist)
    result = summarise(text.ranks, image.ranks, positives)
    suffixes = {Rule.MATCHING: "", Rule.CONTRAST: "_contrast", Rule.RERANK: "_rerank"}
    metrics = {
        f"{direction}_r{k}{suffix}": result.recalls[f"{direction}_r{k}{rule}"]
        for direction in ("text", "image")
        for k in CUTOFFS
        for rule, suffix in suffixes.items()
    }
    found.splits["test"], found.rows["test"] = metrics, len(rows)
    found.chance["test"] = {name: result.chance(name) for name in metrics}
    found.details |= {"captions": len(captions), "shortlist": shortlist}
    return found
