"""Answers, captions, and words behind a mask."""

from typing import Any

import numpy as np
import torch

from xfm.config.inference import Generation
from xfm.config.pipelines import AnswerOptions, TopK
from xfm.core.errors import UserError
from xfm.data.tokenizer import normalise_caption
from xfm.inference.base import Pipeline
from xfm.inference.engine import Engine, InputBatch
from xfm.inference.input_parsing import Item
from xfm.models.generation import SpecialTokens, generate
from xfm.models.task_models import Answerer, Captioner
from xfm.tasks.answers import AnswerList, likeliest_answers

AnswerRule = tuple[AnswerOptions, AnswerList | None]
"""Options, and the answers to be ranked; without a list answers are written."""


class QuestionAnswering(Pipeline):
    """`{"image", "question"}` -> `[{"score", "answer"}]`, best first. Ranked from the fine-tuning's list or
    `answers=[...]`; with `free=True`, or without a list, by beam search."""

    def begin(self, options: AnswerOptions) -> AnswerRule:
        task, engine = self.engine.pretrained.task, self.engine
        assert task is not None, "made with a model of its kind"
        listed = list(dict.fromkeys(map(normalise_caption, options.answers))) or list(task.task.answers)
        if options.free or not listed:
            _check_length(options.max_tokens, engine)
            return options, None
        if "" in listed:
            raise UserError("an answer of the list holds nothing but signs; leave it out")
        return options, AnswerList(listed, engine.tokenizer).to(engine.device)

    def answer(self, batch: InputBatch, ready: AnswerRule) -> list[list[dict[str, Any]]]:
        model, (options, answers) = self.engine.pretrained.task, ready
        assert isinstance(model, Answerer)
        memory, asked = model.fused(batch), batch.text.mask
        if answers is None:
            marks, count = SpecialTokens.of(self.engine.tokenizer), options.top_k
            how = Generation(options.max_tokens, texts=count, beams=options.beams, length_penalty=0.0)
            found = generate(model.decoder, memory, asked, marks, how)
            texts = [[self.engine.tokenizer.decode(ids).strip() for ids in rows] for rows in found.ids]
            scores = found.scores
        else:
            best, scores = likeliest_answers(model.decoder, answers, memory, asked, options.top_k)
            texts = [[answers.answers[place] for place in places] for places in best.tolist()]
        shown = zip(texts, scores.double().exp().tolist(), strict=True)
        return [
            [{"score": s, "answer": a} for s, a in zip(own, row, strict=True) if s > 0] for row, own in shown
        ]


class Captioning(Pipeline):
    """A picture -> `[{"generated_text"}]`, as many as `texts` says, best first."""

    def begin(self, options: Generation) -> Generation:
        task, engine = self.engine.pretrained.task, self.engine
        assert task is not None, "made with a model of its kind"
        _check_length(options.max_tokens, engine, task.task.prompt)
        return options

    def answer(self, batch: InputBatch, ready: Generation) -> list[list[dict[str, str]]]:
        """Captions of each picture; equal pictures are described once."""
        model = self.engine.pretrained.task
        assert isinstance(model, Captioner)
        memory, seen = model.remember(batch.pictures)
        tokenizer = self.engine.tokenizer
        draws = None
        if ready.sample:  # by seed and picture, whatever is in the batch
            seeds = [(ready.seed, int.from_bytes(key)) for key in batch.keys]
            shape = (ready.texts, ready.max_tokens - 1)
            rows = [np.random.default_rng(seed).random(shape, np.float32) for seed in seeds]
            draws = torch.from_numpy(np.stack(rows))
        found = generate(
            model.decoder, memory, seen, SpecialTokens.of(tokenizer, model.task.prompt), ready, draws
        )
        captions: list[list[dict[str, str]]] = [
            [{"generated_text": tokenizer.decode(ids).strip()} for ids in rows[real]]
            for rows, real in zip(found.ids, found.mask.any(-1), strict=True)
        ]
        assert batch.first is not None
        return [captions[place] for place in batch.first.tolist()]


def _check_length(wanted: int, engine: Engine, prompt: str = "") -> None:
    # The last token is not read again.
    given = len(SpecialTokens.of(engine.tokenizer, prompt).prompt)
    longest = engine.model.config.language.longest + 1 - given
    if wanted > longest:
        raise UserError(f"max_tokens is {wanted}, but the model writes at most {longest}; choose less")


class FillMask(Pipeline):
    """A text with <mask> in it, or `{"text", "image"}` -> `[{"score", "token", "token_str", "sequence"}]`.
    With a picture the fusion encoder predicts, and the text is read as a caption; without, the language
    encoder. Several masks give a list each. `pipe.mask` is how the tokenizer writes the mask."""

    @property
    def mask(self) -> str:
        """How the mask is written: `<mask>`, or `[MASK]` for a tokenizer of BERT's kind."""
        tokenizer = self.engine.tokenizer
        return tokenizer.id_to_token(tokenizer.mask) or ""

    def as_read(self, text: str, pictures: int) -> str:
        """With a picture as a caption; the mask stays."""
        if not pictures:
            return text
        return f" {self.mask} ".join(map(self.engine.tokenizer.as_caption, text.split(self.mask))).strip()

    def check(self, item: Item) -> None:
        ids = self.engine.tokenizer.encode_batch(list(item.texts), self.engine.longest).ids
        if not (ids == self.engine.tokenizer.mask).any():
            raise UserError(f"the text has no {self.mask} among its first {self.engine.longest} tokens")

    def answer(self, batch: InputBatch, ready: TopK) -> list[Any]:
        model, tokenizer = self.engine.model, self.engine.tokenizer
        tokens = batch.text
        states = model.encode_text(tokens.ids, tokens.mask)
        head = model.language_logits
        if batch.image is not None:
            states, head = model.fuse(states, tokens.mask, batch.image, batch.first), model.fusion_logits
        places = tokens.ids.eq(tokenizer.mask) & tokens.mask
        logits = head(states[places]).float()[:, : tokenizer.vocab_size]
        scores, best = logits.softmax(-1).topk(min(ready.top_k or logits.shape[-1], logits.shape[-1]))
        answers: list[list[Any]] = [[] for _ in batch.items]
        for place, (row, column) in enumerate(places.nonzero().tolist()):
            ids = tokens.ids[row][tokens.mask[row]]
            found = list[dict[str, Any]]()
            for score, token in zip(scores[place].tolist(), best[place].tolist(), strict=True):
                ids[column] = token
                word, whole = tokenizer.decode([token]), tokenizer.decode(ids)
                found.append({"score": score, "token": token, "token_str": word, "sequence": whole})
            answers[row].append(found)
        return [row[0] if len(row) == 1 else row for row in answers]
