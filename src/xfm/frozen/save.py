"""A linear probe as a model folder."""

from pathlib import Path

from xfm.config.linear import LinearEvaluationConfig, Method
from xfm.config.task import TaskConfig
from xfm.config.tasks import IMAGE_CLASSIFICATION
from xfm.errors import UserError
from xfm.frozen.cache import Featuriser
from xfm.frozen.linear_probe import LinearProbe
from xfm.modeling.folder import Pretrained, save_model
from xfm.modeling.task_models import ImageClassifier


def check_savable(config: LinearEvaluationConfig) -> None:
    """Refuse, before anything is computed, a probe that a model folder could not hold.

    Raises:
        UserError: no linear probe is fitted.
    """
    if Method.LINEAR not in config.methods:
        raise UserError("only the linear probe can be saved: add linear to --methods")


def save_probe(pretrained: Pretrained, featuriser: Featuriser, probe: LinearProbe, folder: Path) -> None:
    """Write a linear probe as a fine-tuned model of image classification, which `xfm predict` takes.

    Args:
        pretrained: the model whose features were fitted.
        featuriser: how pictures became its pixels.
        probe: the classifier.
        folder: the model folder.

    Raises:
        UserError: the folder cannot be written.
    """
    labels = tuple(str(label) for label in probe.classes.tolist())
    task = TaskConfig(IMAGE_CLASSIFICATION.name, len(labels), labels=labels)
    module = ImageClassifier(pretrained.model, task)
    state = {"weight": probe.classifier.weight.T, "bias": probe.classifier.bias}
    module.head.load_state_dict(state)
    provenance = {
        "task": task.kind,
        "probe_of": featuriser.weights,
        "C": probe.chosen,
        "licences": pretrained.provenance.get("licences", {}),
        "began_with": pretrained.provenance,
    }
    save_model(
        folder,
        pretrained.model.cpu(),
        pretrained.given_tokenizer,
        featuriser.preprocessing,
        provenance,
        module.cpu(),
    )
