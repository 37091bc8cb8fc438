"""Published files: every layout and key variant comes in, goes out to the bit, and is accounted for."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xfm
from tests.alike import thorough
from tests.evaluation.tiny import tiny_tokenizer
from tests.interop.published_files import (
    KINDS,
    choices,
    native_state,
    same,
    tiny,
    tiny_file,
    write,
)
from tests.modeling.build import tiny_config
from xfm.cli.main import main
from xfm.config.encoders import FusionConfig, LanguageConfig, VisionConfig
from xfm.config.model import ModelConfig
from xfm.core.errors import UserError
from xfm.models.folder import load_model
from xfm.models.interop.published.convert import canonical, convert
from xfm.models.interop.published.file import export
from xfm.models.interop.published.names import layout

TEXT_LIKE = ("text-classification", "image-text-classification")


@pytest.mark.parametrize("kind", KINDS)
def test_export_then_convert_is_the_identity(tmp_path: Path, kind: str | None) -> None:
    """Names of classes and whether a classifier is of texts alone come back, too: the file says both."""
    old = tiny(kind)
    (said,) = export(old, tmp_path / "a.th")
    assert "fusion encoder has as many attention heads as the language encoder" in said
    new = xfm.load(tmp_path / "a.th")  # what the tensors do not show is in the file
    assert new.model.config == old.model.config
    assert new.preprocessing == old.preprocessing
    assert not new.model.training
    described = None if old.task is None else old.task.task
    assert (None if new.task is None else new.task.task) == described
    ours, theirs = native_state(new), native_state(old)
    held = {entry.native for entry in layout(old.model.config, described)}
    assert ours.keys() == theirs.keys() >= held
    assert all(torch.equal(ours[name], theirs[name]) for name in held)
    if new.task is not None:
        shared, own = new.task.shared_state(), new.model.state_dict()
        assert all(shared[name].data_ptr() == own[name].data_ptr() for name in shared), "the parts are shared"


@pytest.mark.parametrize("kind", [None, "text-classification", "vqa"])
def test_the_command_line_there_and_back(tmp_path: Path, kind: str | None, capsys) -> None:
    """Converted and exported again, a file is the same, but for the caption heads that nothing uses."""
    state = tiny_file(tmp_path / "a.th", kind)
    cap = {"fusion_encoder.lm_cap_head.dense.bias": torch.randn(4)}
    write(tmp_path / "a.th", state | cap)
    task = ["--task", str(kind)] if kind in TEXT_LIKE else []
    arguments = ["convert", str(tmp_path / "a.th"), str(tmp_path / "m"), "--heads", "4", *task]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert f"{tmp_path / 'a.th'}: {kind or 'pre-training'}" in shown
    assert "tensors used" in shown
    assert main(["export", str(tmp_path / "m"), str(tmp_path / "b.th"), "--format", "published"]) == 0
    assert same(torch.load(tmp_path / "b.th", weights_only=True)["model"], state)
    assert main(["info", str(tmp_path / "m")]) == 0
    assert (f"kind: {kind}" in capsys.readouterr().out) == (kind is not None)


sizes = st.builds(
    lambda grid, patch, heads, wide, depths, text, vocab, ratio: ModelConfig(
        vision=VisionConfig(grid * patch, patch, heads * wide, depths[0], heads, ratio),
        language=LanguageConfig(vocab, 4 * text, depths[1], 4, 5 * text + 1, 11 + text),
        fusion=FusionConfig(depths[2], 4, 3 * text + 2),
        projection=text + wide,
    ),
    st.integers(2, 5),
    st.integers(1, 6),
    st.integers(1, 4),
    st.integers(1, 9),
    st.tuples(*[st.integers(1, 3)] * 3),
    st.integers(1, 6),
    st.integers(6, 90),
    st.sampled_from([1.0, 2.7, 4.0, 10 / 3]),
)


@given(config=sizes, kind=st.sampled_from(KINDS))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sizes_are_read_off_the_tensors(tmp_path: Path, config: ModelConfig, kind: str | None) -> None:
    old = tiny(kind, config)
    (tmp_path / "a.th").unlink(missing_ok=True)  # an export replaces no file
    export(old, tmp_path / "a.th")
    write(tmp_path / "a.th", torch.load(tmp_path / "a.th", weights_only=True)["model"])
    new = convert(tmp_path / "a.th", *choices(kind, heads=4))[0].model.config
    unseen = {"layer_scale": 0.1, "drop_path": 0.1, "mlp_ratio": 4.0}
    shown = replace(new, vision=replace(new.vision, **unseen))
    expected = replace(
        config,
        vision=replace(config.vision, **unseen),
        language=replace(config.language, dropout=0.0),
        fusion=replace(config.fusion, dropout=0.0),
        projection=config.projection if kind in (None, "retrieval") else tiny_config().projection,
    )
    assert shown == expected
    assert int(new.vision.width * new.vision.mlp_ratio) == int(config.vision.width * config.vision.mlp_ratio)


def respelt(name: str, wrapped: bool, visual: bool, levels: frozenset[str]) -> str:
    """A variant of a key: other code of the family writes these."""
    name = canonical(name)
    for stack in levels:
        for part in ("embeddings.", "encoder."):
            if name.startswith(f"{stack}.{part}"):
                name = name.replace(f"{stack}.", f"{stack}.roberta.", 1)
    if visual:
        name = name.replace("vision_encoder.", "visual_encoder.", 1)
    return f"module.{name}" if wrapped else name


VARIANTS = {
    "wrapped": st.booleans(),
    "visual": st.booleans(),
    "levels": st.frozensets(st.sampled_from(["text_encoder", "fusion_encoder", "text_decoder"])),
}


@thorough
@given(
    kind=st.sampled_from(KINDS),
    variant=st.fixed_dictionaries(VARIANTS),
    dropped=st.frozensets(st.sampled_from(["lm_head.decoder.", "position_ids", "relative_position_index"])),
    legacy=st.booleans(),
    bare=st.booleans(),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_variant_is_the_same_model(tmp_path: Path, kind, variant, dropped, legacy, bare) -> None:
    state = tiny_file(tmp_path / "a.th", kind)
    expected, told = convert(tmp_path / "a.th", *choices(kind))
    kept = (name for name in state if not any(part in name for part in dropped))
    state = {respelt(name, **variant): state[name] for name in kept}
    options = {"_use_new_zipfile_serialization": not legacy}
    if bare:
        torch.save(state, tmp_path / "b.th", **options)
    else:
        write(tmp_path / "b.th", state, {"epoch": 3, "sizes": [1, 2.5, None]}, **options)
    found, report = convert(tmp_path / "b.th", *choices(kind))
    assert same(native_state(found), native_state(expected))
    assert report.layout == told.layout


def test_the_report_accounts_for_every_tensor(tmp_path: Path) -> None:
    state = tiny_file(tmp_path / "a.th", "reasoning")
    write(tmp_path / "a.th", state | {"extra.weight": torch.ones(3)})
    with pytest.raises(UserError, match=r"extra\.weight"):
        convert(tmp_path / "a.th", *choices())
    _, report = convert(tmp_path / "a.th", *choices(ignore=("extra.",)))
    assert report.used + sum(map(len, report.ignored.values())) == len(state) + 1
    assert report.ignored["as asked"] == ["extra.weight"]
    assert "fusion_encoder.lm_head.decoder.weight" in report.ignored["tied copies"]
    assert any(name.startswith("vision_encoder") for why in report.ignored for name in report.ignored[why])
    fresh = {"temperature", "vision_proj", "text_proj", "itm_head", "bbox_head", "language_head"}
    assert set(report.fresh) == fresh


def test_the_number_of_heads_is_never_guessed(tmp_path: Path) -> None:
    state = tiny_file(tmp_path / "a.th")
    with pytest.raises(UserError, match="--heads"):
        xfm.load(tmp_path / "a.th")
    assert xfm.load(tmp_path / "a.th", heads=2).model.config.language.heads == 2
    with pytest.raises(UserError, match="divide"):
        xfm.load(tmp_path / "a.th", heads=5)
    four, eight = ({"num_attention_heads": heads} for heads in (4, 8))
    write(tmp_path / "a.th", state, {"text": eight, "more": [eight]})
    assert xfm.load(tmp_path / "a.th").model.config.fusion.heads == 8
    write(tmp_path / "a.th", state, {"text": eight, "more": four})
    with pytest.raises(UserError, match="--heads"):
        xfm.load(tmp_path / "a.th")


def test_text_and_pair_classification_are_told_apart_by_the_user(tmp_path: Path) -> None:
    tiny_file(tmp_path / "a.th", "text-classification")
    with pytest.raises(UserError, match=r"text-classification or image-text-classification.*--task"):
        xfm.load(tmp_path / "a.th", heads=4)
    for kind in TEXT_LIKE:
        found = xfm.load(tmp_path / "a.th", heads=4, task=str(kind)).task
        assert found is not None
        assert found.task.kind == kind
    with pytest.raises(UserError, match="not of vqa"):
        xfm.load(tmp_path / "a.th", heads=4, task="vqa")
    with pytest.raises(UserError, match="unknown task"):
        xfm.load(tmp_path / "a.th", heads=4, task="translation")


def test_the_tokenizer_is_the_users(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.save(tmp_path / "tokenizer.json")
    config = tiny_config()
    vocabulary = tokenizer.vocab_size
    fitting = replace(config, language=replace(config.language, vocab_size=vocabulary))
    export(tiny(None, fitting), tmp_path / "a.th")
    with pytest.raises(UserError, match="--tokenizer"):
        _ = xfm.load(tmp_path / "a.th").tokenizer
    loaded = xfm.load(tmp_path / "a.th", tokenizer=tmp_path)
    assert loaded.tokenizer.to_json() == tokenizer.to_json()
    export(tiny(None, config), tmp_path / "b.th")
    with pytest.raises(UserError, match=f"has {vocabulary} tokens"):
        xfm.load(tmp_path / "b.th", tokenizer=tmp_path / "tokenizer.json")
    assert main(["convert", str(tmp_path / "a.th"), str(tmp_path / "m")]) == 0
    assert load_model(tmp_path / "m").given_tokenizer is None
    tokenizer.save(tmp_path / "m" / "tokenizer.json")
    assert xfm.load(tmp_path / "m").tokenizer.vocab_size == vocabulary
