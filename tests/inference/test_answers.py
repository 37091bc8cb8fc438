"""What each pipeline answers, against the model asked directly."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image
from scipy.special import logit
from torch import Tensor

import xfm
from tests.evaluation.tiny import COLOURS
from tests.inference.models import TASKS, pictures, texts
from tests.inference.support import Models, Pipe, photos, same
from xfm.config.inference import Generation
from xfm.config.labels import MatchCalibration
from xfm.data.images import to_uint8
from xfm.data.schema import Tokens
from xfm.data.tokenizer import normalise_caption
from xfm.models.artifacts import framed, model_pixels
from xfm.models.folder import Pretrained
from xfm.models.generation import SpecialTokens, generate
from xfm.tasks.answers import AnswerList
from xfm.tasks.ranking import rerank_scores


@pytest.fixture(autouse=True)
def _without_gradients() -> Any:
    with torch.no_grad():
        yield


def pixels(found: Pretrained, shown: list[Image.Image]) -> Tensor:
    squashed = [framed(to_uint8(picture), found.preprocessing) for picture in shown]
    return model_pixels(torch.stack(squashed), found.preprocessing)


def tokens(found: Pretrained, said: list[str], longest: int = 128) -> Tokens:
    return found.tokenizer.encode_batch([normalise_caption(text) for text in said], longest)


def scores(answers: list[dict[str, Any]]) -> dict[str, float]:
    return {answer.get("label", answer.get("answer")): answer["score"] for answer in answers}


def test_text_classification(models: Models) -> None:
    found = models["text-classification"]
    pipe = xfm.pipeline("text-classification", model=found)
    said = ["Is it RED?", "yes, it is."]  # as written: nothing is normalised
    logits = found.task(tokens=found.tokenizer.encode_batch(said, 40))
    expected = [dict(zip(("bad", "fair", "good"), row, strict=True)) for row in logits.softmax(-1).tolist()]
    answers = pipe(said)
    for answer, wanted in zip(answers, expected, strict=True):
        assert [a["score"] for a in answer] == sorted((a["score"] for a in answer), reverse=True)
        assert scores(answer) == pytest.approx(wanted, abs=1e-5)
    same(pipe(said[0], top_k=1), answers[0][:1])
    pair = found.task(tokens=found.tokenizer.encode_pairs(said[:1], said[1:], 40)).softmax(-1)[0]
    wanted = dict(zip(("bad", "fair", "good"), pair.tolist(), strict=True))
    for given in ({"text": said[0], "text_pair": said[1]}, {"text": said[0], "second": said[1]}):
        assert scores(pipe(given)) == pytest.approx(wanted, abs=1e-5)
    same(pipe(text=said[0], text_pair=said[1]), pipe(given))


def whole_likelihoods(found: Pretrained, shown: Image.Image, question: str, listed: list[str]) -> Tensor:
    """Log-likelihood of every answer of a list, each scored whole."""
    model = found.task
    memory = model.fuse(pixels(found, [shown]), tokens(found, [question]))
    seen = tokens(found, [question]).mask
    encoded = AnswerList(listed, found.tokenizer)
    index = torch.zeros(len(listed), dtype=torch.int64)
    logits = model.decoder(encoded.ids, encoded.mask, memory, seen, index)[:, :-1].log_softmax(-1)
    chosen = logits.gather(-1, encoded.ids[:, 1:, None])[..., 0]
    return (chosen * encoded.mask[:, 1:]).sum(1)


@pytest.mark.parametrize("given", [[], ["Blue", "a green square", "what", "no", "where is it"]])
def test_answers_are_ranked_by_their_whole_likelihood(models: Models, given: list[str]) -> None:
    found = models["vqa"]
    listed = [normalise_caption(answer) for answer in given] or list(TASKS["vqa"].answers)
    ask = xfm.pipeline("visual-question-answering", model=found)
    for shown, question in zip(pictures(4), texts(4), strict=True):
        expected = whole_likelihoods(found, shown, question, listed).exp()
        best = expected.topk(3)
        answer = ask(image=shown, question=question, top_k=3, answers=given)
        assert [a["answer"] for a in answer] == [listed[place] for place in best.indices.tolist()]
        assert [a["score"] for a in answer] == pytest.approx(best.values.tolist(), abs=1e-6, rel=1e-4)


def test_free_answers_are_the_likeliest_texts(models: Models) -> None:
    found = models["vqa"]
    question = "what colour is the left square"
    answer = xfm.pipeline("visual-question-answering", model=found)(
        image=pictures(1)[0], question=question, free=True, top_k=2, beams=4, max_tokens=6
    )
    text = tokens(found, [question])
    memory = found.task.fuse(pixels(found, pictures(1)), text)
    how = Generation(6, texts=2, beams=4, length_penalty=0.0)
    written = generate(found.task.decoder, memory, text.mask, SpecialTokens.of(found.tokenizer), how)
    assert [a["answer"] for a in answer] == [found.tokenizer.decode(ids).strip() for ids in written.ids[0]]
    assert [a["score"] for a in answer] == pytest.approx(written.scores[0].exp().tolist(), rel=1e-4)


def test_grounding_is_in_pixels_of_the_picture(models: Models) -> None:
    found = models["grounding"]
    pipe = xfm.pipeline("grounding", model=found)
    for shown, phrase in zip(pictures(5), texts(5), strict=True):
        width, height = shown.size
        cx, cy, w, h = found.task(pixels(found, [shown]), tokens(found, [phrase]))[0].tolist()
        edges = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
        left, top, right, bottom = (min(max(edge, 0), 1) for edge in edges)
        wanted = {"xmin": left * width, "ymin": top * height, "xmax": right * width, "ymax": bottom * height}
        answer = pipe({"image": shown, "phrase": phrase})
        assert answer == {"label": phrase, "score": None, "box": pytest.approx(wanted, abs=1e-3)}


def test_grounding_says_whether_the_phrase_is_there(models: Models) -> None:
    """As the matching head does, which a fine-tuning for boxes has lost (above)."""
    calibration = MatchCalibration(0.3, -0.2, 10, "tests")
    found = replace(models[None], calibration=calibration)
    point, match = (xfm.pipeline(name, model=found) for name in ("grounding", "image-text-matching"))
    rows = [{"image": shown, "text": phrase} for shown, phrase in zip(pictures(5), texts(5), strict=True)]
    wanted = [one["score"] for one in match(rows)]
    assert [one["score"] for one in point(rows)] == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("templates", [["This is a photo of {}."], ["{}", "a {} square", "what {} is it"]])
def test_zero_shot(models: Models, templates: list[str]) -> None:
    found, shown = models[None], pictures(3)
    model, names = found.model, [*COLOURS]
    vectors = [
        torch.stack(
            [model.embed_text(*vars(tokens(found, [t.replace("{}", name)])).values())[0] for t in templates]
        ).mean(0)
        for name in names
    ]
    classes = torch.nn.functional.normalize(torch.stack(vectors), dim=-1)
    logits = model.embed_image(pixels(found, shown)) @ classes.T / model.temperature
    pipe = xfm.pipeline("zero-shot-image-classification", model=found)
    answers = pipe(shown, candidate_labels=names, hypothesis_template=templates)
    for answer, row in zip(answers, logits.softmax(-1).tolist(), strict=True):
        assert scores(answer) == pytest.approx(dict(zip(names, row, strict=True)), abs=1e-5)
        assert sum(scores(answer).values()) == pytest.approx(1)
    assert pipe(shown[0], candidate_labels=["red"]) == [{"label": "red", "score": 1.0}]
    phrases = [f"a photo of a {name}" for name in names]
    told = [pipe(shown[0], candidate_labels=labels, hypothesis_template="a photo of a {}")
            for labels in (names, phrases, [f"a {name}" for name in names])]  # fmt: skip
    assert [one["score"] for one in told[1]] == [one["score"] for one in told[0]]
    assert [one["score"] for one in told[2]] == [one["score"] for one in told[0]]


@pytest.mark.parametrize("rerank", [0, 3])
@pytest.mark.parametrize("to_texts", [False, True])
def test_retrieval_against_scoring_everything(models: Models, rerank: int, to_texts: bool) -> None:
    found = models["retrieval"]
    model, shown, said = found.model, pictures(9), texts(8)
    image = model.encode_image(pixels(found, shown))
    words = tokens(found, said)
    text = model.encode_text(words.ids, words.mask)
    cosines = model.project_image(image[:, 0]) @ model.project_text(text[:, 0]).T  # [9, 8]
    logits = torch.stack(
        [model.match_logits(model.fuse(text, words.mask, image, torch.full((8,), i))) for i in range(9)]
    )
    combined = torch.from_numpy(
        rerank_scores(cosines.double().numpy(), logits.double().numpy(), model.temperature.item())
    )
    pipe = xfm.pipeline("retrieval", model=found, batch_size=3)
    if to_texts:
        hits = pipe(shown, texts=said, top_k=3, rerank=rerank)
    else:
        hits = pipe(said, images=shown, top_k=3, rerank=rerank)
        cosines, combined, logits = cosines.T, combined.T, logits.transpose(0, 1)
    for query, row in enumerate(hits):
        shortlist = cosines[query].topk(rerank or 3).indices
        wanted = combined[query] if rerank else cosines[query].double()
        order = shortlist[wanted[shortlist].argsort(descending=True)][:3].tolist()
        assert [hit["index"] for hit in row] == order
        for hit in row:
            place = hit["index"]
            assert hit["score"] == pytest.approx(wanted[place].item(), abs=1e-4)
            assert hit["similarity"] == pytest.approx(cosines[query, place].item(), abs=1e-5)
            if rerank:
                share = logits[query, place].softmax(-1)[1].item()
                assert hit["match"] == pytest.approx(share, abs=1e-5)
            assert hit.get("text") == (said[place] if to_texts else None)


def test_the_probability_of_a_match_is_calibrated_and_the_order_stays(models: Models) -> None:
    found, shown, said = models["retrieval"], pictures(4), texts(4)
    fitted = replace(found, calibration=MatchCalibration(0.25, -0.5, 10, "pairs"))
    raw, own = (xfm.pipeline("retrieval", model=one)(said, images=shown) for one in (found, fitted))
    for before, after in zip(raw, own, strict=True):
        for one, other in zip(before, after, strict=True):
            assert (one["index"], one["score"]) == (other["index"], other["score"])
            assert logit(other["match"]) == pytest.approx(0.25 * logit(one["match"]) - 0.5, abs=1e-4)
    asked = {"image": shown[0], "text": said[0]}
    before, after = (xfm.pipeline("image-text-matching", model=one)(asked) for one in (found, fitted))
    assert before["similarity"] == after["similarity"]
    assert logit(after["score"]) == pytest.approx(0.25 * logit(before["score"]) - 0.5, abs=1e-4)


def test_a_gallery_serves_many_calls_and_forgets_what_does_not_fit(
    search: Pipe, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    paths = [tmp_path / name for name in photos(tmp_path, 6)]
    whole = search(texts(3), gallery=search.gallery(images=paths))  # type: ignore[attr-defined]
    assert whole[0][0]["image"] == str(paths[whole[0][0]["index"]])
    monkeypatch.setattr("xfm.inference.gallery.GALLERY_KEPT", 1)
    small = search.gallery(images=paths)  # type: ignore[attr-defined]
    same(search(texts(3), gallery=small), whole)
    same([search(text, gallery=small) for text in texts(3)], whole)


def test_fill_mask(models: Models) -> None:
    found = models[None]
    fill = xfm.pipeline("fill-mask", model=found)
    said = "a <mask> square left of a <mask> square"
    ids = found.tokenizer.encode_batch([said], 99)
    states = found.model.encode_text(ids.ids, ids.mask)
    places = ids.ids[0].eq(found.tokenizer.mask).nonzero()[:, 0]
    share = found.model.language_logits(states[0, places]).softmax(-1)
    answers = fill(said, top_k=3)
    assert [len(row) for row in answers] == [3, 3]
    for row, expected in zip(answers, share, strict=True):
        assert [a["token"] for a in row] == expected.topk(3).indices.tolist()
        assert [a["score"] for a in row] == pytest.approx(expected.topk(3).values.tolist(), abs=1e-5)
        assert [a["token_str"] for a in row] == [found.tokenizer.decode([a["token"]]) for a in row]
    whole = ids.ids[0].clone()
    whole[places[0]] = answers[0][0]["token"]
    assert answers[0][0]["sequence"] == found.tokenizer.decode(whole)


def test_captions(models: Models) -> None:
    found, shown = models["captioning"], pictures(3)
    memory = found.model.encode_image(pixels(found, shown))
    seen = torch.ones(memory.shape[:2], dtype=torch.bool)
    how = Generation(9, 4, texts=2, beams=3)
    written = generate(found.task.decoder, memory, seen, SpecialTokens.of(found.tokenizer), how)
    expected = [
        [{"generated_text": found.tokenizer.decode(ids).strip()} for ids in rows] for rows in written.ids
    ]
    caption = xfm.pipeline("captioning", model=found)
    assert caption(shown, texts=2, max_tokens=9, min_tokens=4) == expected
    assert caption([*shown, shown[0]], texts=2, max_tokens=9, min_tokens=4) == [*expected, expected[0]]
