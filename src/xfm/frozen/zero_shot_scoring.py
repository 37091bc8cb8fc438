"""Zero-shot evaluation on labelled pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from xfm.config.linear import FeatureConfig, LinearEvaluationConfig
from xfm.data.left_out import LeftOut
from xfm.errors import UserError
from xfm.frozen.class_scores import class_scores
from xfm.frozen.prompt_templates import load_templates
from xfm.frozen.scoring import CACHE, METRICS, build_featuriser, frozen_maker
from xfm.frozen.usable import usable_features
from xfm.frozen.zero_shot import class_vectors, zero_shot_logits
from xfm.locks import holds
from xfm.modeling.features import Encoder
from xfm.modeling.folder import load_model, require_seeing
from xfm.modeling.named import model_folder
from xfm.reports.scores import Score, write_scores
from xfm.results_folder import require_free, sign
from xfm.tasks.rows import Labelled
from xfm.training.cpu_runtime import prepare_process


@holds("out")
def evaluate_zero_shot(
    model: Path,
    rows: Sequence[Labelled],
    templates: str,
    out: Path,
    config: FeatureConfig | None = None,
    names: Mapping[str, str] | None = None,
    cache: Path | None = None,
    progress: bool = True,
    left_out: LeftOut | None = None,
) -> dict[str, Score]:
    """Classify pictures by prompts, and write `metrics.json`.

    Args:
        model: a folder written by `save_model`, or that of a finished run.
        rows: pictures with the labels of their classes.
        templates: name of a list of templates, or a text file.
        out: folder for the results.
        config: how pictures become features.
        names: what labels are called in prompts; others are called by their label. Every label in it is a
            candidate, whether a picture has it or not: few pictures do not make the task easier.
        cache: folder of the cached features, which `evaluate_frozen` shares; `out/features` if not given.
        progress: show bars.
        left_out: told of the rows whose picture cannot be read; they are written to `out/bad.jsonl`.

    Returns:
        Accuracy, mean per class and, of more than five classes, top 5.

    Raises:
        UserError: model, pictures or templates cannot be read, the model has no tokenizer, or `out` holds
            other results.
    """
    prepare_process()
    if not rows:
        raise UserError("there are no pictures to classify; check the file")
    chosen = load_templates(templates)
    folder = model_folder(model)
    maker = frozen_maker("zero-shot", folder, rows)
    require_free(out, maker)
    require_seeing(folder, "zero-shot classification")
    pretrained = load_model(folder)
    settings = LinearEvaluationConfig(features=config or FeatureConfig())
    featuriser = build_featuriser(pretrained, maker.subject["model"], settings, both=False)
    left_out = left_out or LeftOut()
    features, rows = usable_features(featuriser, rows, cache or out / CACHE, "test", left_out, progress)
    left_out.write(out)
    encoding = pretrained.model.to(featuriser.device).eval()
    encoder = Encoder(
        encoding,
        pretrained.tokenizer,
        settings.features.precision,
        featuriser.device,
        settings.features.batch_size,
        progress,
    )
    labels = np.array([row.label for row in rows])
    known = names or {}
    classes = np.unique([*labels.tolist(), *known])
    called = [known.get(str(label), str(label)) for label in classes.tolist()]
    logits = zero_shot_logits(encoder, features, class_vectors(encoder, called, chosen))
    scores = class_scores("zero_shot", logits.numpy(), classes, labels, seed=0)
    sign(out, maker)
    write_scores(out / METRICS, scores)
    return scores
