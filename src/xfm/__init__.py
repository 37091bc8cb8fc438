"""X-FM: one general foundation model for language, vision and vision-language (arXiv 2301.05065).

Nothing heavy is imported before it is used.
"""

from importlib import import_module

TYPE_CHECKING = False  # type checkers know the name; its import would be the first place that a Ctrl-C finds
if TYPE_CHECKING:
    from xfm.config.load import load_recipe as load_recipe
    from xfm.config.model import ModelConfig as ModelConfig
    from xfm.config.recipe import Recipe as Recipe
    from xfm.config.tables import BoxFormat as BoxFormat
    from xfm.config.tables import BoxUnit as BoxUnit
    from xfm.config.task_spec import TaskSpec as TaskSpec
    from xfm.config.tasks import register_task as register_task
    from xfm.core.errors import UserError as UserError
    from xfm.data.tokenizer import Tokenizer as Tokenizer
    from xfm.data.transforms import Boxes as Boxes
    from xfm.evaluation.suite import evaluate as evaluate
    from xfm.finetuning.finetune import finetune as finetune
    from xfm.finetuning.rescoring import score as score
    from xfm.inference.columns import ColumnPipeline as ColumnPipeline
    from xfm.inference.loading import load as load
    from xfm.inference.pipeline import pipeline as pipeline
    from xfm.models.folder import load_model as load_model
    from xfm.models.gradients import GradientPolicy as GradientPolicy
    from xfm.models.model_files import save_model as save_model
    from xfm.models.xfm import XFM as XFM
    from xfm.training.pretrain import pretrain as pretrain

_HOMES = {
    "Boxes": "xfm.data.transforms",
    "BoxFormat": "xfm.config.tables",
    "BoxUnit": "xfm.config.tables",
    "ColumnPipeline": "xfm.inference.columns",
    "GradientPolicy": "xfm.models.gradients",
    "ModelConfig": "xfm.config.model",
    "Recipe": "xfm.config.recipe",
    "TaskSpec": "xfm.config.task_spec",
    "Tokenizer": "xfm.data.tokenizer",
    "UserError": "xfm.core.errors",
    "XFM": "xfm.models.xfm",
    "evaluate": "xfm.evaluation.suite",
    "finetune": "xfm.finetuning.finetune",
    "load": "xfm.inference.loading",
    "load_model": "xfm.models.folder",
    "load_recipe": "xfm.config.load",
    "pipeline": "xfm.inference.pipeline",
    "pretrain": "xfm.training.pretrain",
    "register_task": "xfm.config.tasks",
    "save_model": "xfm.models.model_files",
    "score": "xfm.finetuning.rescoring",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'xfm' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
