"""Every task, a row each, and those that others add. Nothing here imports torch. A package adds tasks by
`xfm.register_task`, or by an entry point of the group `xfm.tasks` that names a `TaskSpec`: the command line
knows those, too."""

import re
import sys
import warnings
from collections.abc import Iterable
from dataclasses import MISSING, fields, is_dataclass
from importlib.util import find_spec

from xfm.config.image import BOX_VIEW, VIEW, ImageTrainingConfig
from xfm.config.inference import Generation
from xfm.config.pipelines import AnswerOptions, RetrievalOptions, TopK, ZeroShotOptions
from xfm.config.task_spec import Field, FieldKind, TaskSpec, TextRule
from xfm.core.errors import UserError, excerpt, suggest

GROUP = "xfm.tasks"
"""Entry points by which installed packages add tasks."""

_HEADS, _INFERENCE = "xfm.models.task_models", "xfm.inference"
_ALL = ("language", "vision", "fusion")
_IMAGE = Field("image", holds=FieldKind.PICTURE)
_SEVERAL = "a caption, or a list of captions; rows of one picture are put together"
_CAPTIONS = Field("caption", _SEVERAL, FieldKind.TEXTS, target=True)
_EITHER = (Field("text", optional=True), Field("image", holds=FieldKind.PICTURE, optional=True))
TEXT_VECTORS = "text_proj."
"""Beginning of the names of what makes a vector of a text."""
_CONTRAST = ("vision_proj.", TEXT_VECTORS)
_LABELS = ("multi_label", "label_separator", "threshold")
_LABELLED = '`[{"label", "score"}]`; of several labels a row with `"chosen"` besides'

TEXT_CLASSIFICATION = TaskSpec(
    "text-classification",
    "the class of a text or of two; with --regression a value",
    (
        Field("text", "the text, or the first of two"),
        Field("text_pair", "the second text of a pair", optional=True, also=("second",)),
        Field("label", "name of the class; with --regression the value", FieldKind.LABEL, target=True),
    ),
    f"{_LABELLED}; of a regression the label is `value`, the score the value",
    text=TextRule.WRITTEN,
    encoders=("language",),
    settings=_LABELS,
    classes=True,
    options=TopK,
    head=f"{_HEADS}:TextClassifier",
    task="xfm.tasks.text_classification:TextClassificationTask",
    values="xfm.tasks.text_classification:TextRegressionTask",
    pipeline_tag="text-classification",
)
SENTENCE_SIMILARITY = TaskSpec(
    "sentence-similarity",
    "how near two texts are; training brings the vectors of texts that belong together near each other",
    (
        Field("anchor", "a text, such as a question"),
        Field("positive", "a text that belongs to it"),
        Field("negative", "a text that does not, or a list", FieldKind.TEXTS, optional=True, target=True),
    ),
    '`{"score"}`, the cosine of their vectors',
    asked=(Field("anchor", "a text"), Field("positive", "the text that it is compared with")),
    text=TextRule.WRITTEN,
    encoders=("language",),
    settings=("dimensions",),
    uses=(TEXT_VECTORS,),
    head=f"{_HEADS}:TaskModel",
    task="xfm.tasks.sentence_similarity:SentenceSimilarityTask",
    pipeline=f"{_INFERENCE}.heads:SentenceSimilarity",
    ranks=True,
    pipeline_tag="sentence-similarity",
)
IMAGE_CLASSIFICATION = TaskSpec(
    "image-classification",
    "the class of a picture",
    (_IMAGE, Field("label", holds=FieldKind.LABEL, target=True)),
    _LABELLED,
    encoders=("vision",),
    settings=("image", "image_head", "framing", "colours", "grey", *_LABELS),
    classes=True,
    options=TopK,
    head=f"{_HEADS}:ImageClassifier",
    task="xfm.tasks.image_classification:ImageClassificationTask",
    pipeline_tag="image-classification",
)
IMAGE_TEXT_CLASSIFICATION = TaskSpec(
    "image-text-classification",
    "the class of a picture with a text",
    (_IMAGE, Field("text"), Field("label", "name of the class of the two", FieldKind.LABEL, target=True)),
    _LABELLED,
    text=TextRule.LONG_CAPTION,
    encoders=_ALL,
    settings=(*VIEW, "rows_per_picture", *_LABELS),
    classes=True,
    options=TopK,
    head=f"{_HEADS}:PairClassifier",
    task="xfm.tasks.image_text_classification:ImageTextClassificationTask",
)
REASONING = TaskSpec(
    "reasoning",
    "whether a sentence is true of two pictures, or another class of the three",
    (
        Field("images", holds=FieldKind.TWO_PICTURES, parts=("left", "right")),
        Field("text", "the sentence"),
        Field("label", "name of the class, such as true and false", FieldKind.LABEL, target=True),
    ),
    also=("visual-reasoning",),
    text=TextRule.LONG_CAPTION,
    encoders=_ALL,
    settings=(*VIEW, "rows_per_picture", "max_words"),
    classes=True,
    options=TopK,
    head=f"{_HEADS}:Reasoner",
    task="xfm.tasks.reasoning:ReasoningTask",
)
RETRIEVAL = TaskSpec(
    "retrieval",
    "which picture fits a text, and which text a picture",
    (_IMAGE, _CAPTIONS),
    '`[{"index", "score", "similarity", "match", ...}]`',
    asked=_EITHER,
    encoders=_ALL,
    settings=(*VIEW, "hard_negatives"),
    options=RetrievalOptions,
    uses=(*_CONTRAST, "itm_head.", "fusion."),
    head=f"{_HEADS}:TaskModel",
    task="xfm.tasks.retrieval:RetrievalTask",
    pipeline=f"{_INFERENCE}.gallery:Retrieval",
    gallery=True,
    ranks=True,
)
VQA = TaskSpec(
    "vqa",
    "the answer to a question about a picture",
    (
        _IMAGE,
        Field("question", "the question"),
        Field("answer", "the answer, or a list of several people's", FieldKind.TEXTS, target=True),
        Field("kind", "groups the questions in the scores", optional=True, target=True),
    ),
    '`[{"score", "answer"}]`',
    also=("visual-question-answering",),
    encoders=_ALL,
    settings=(*VIEW, "rows_per_picture", "max_words", "max_answers"),
    options=AnswerOptions,
    head=f"{_HEADS}:Answerer",
    task="xfm.tasks.vqa:VqaTask",
    pipeline=f"{_INFERENCE}.generation:QuestionAnswering",
    pipeline_tag="visual-question-answering",
)
GROUNDING = TaskSpec(
    "grounding",
    "the box of what a phrase refers to",
    (
        _IMAGE,
        Field("text", "what is to be found", also=("phrase",)),
        Field("box", "four numbers, or a list, see --box-format and --box-unit", FieldKind.BOX, target=True),
    ),
    '`{"label", "score", "box": {"xmin", "ymin", "xmax", "ymax"}}`',
    encoders=_ALL,
    settings=(*BOX_VIEW, "rows_per_picture", "box_format", "box_unit"),
    uses=("bbox_head.", "fusion."),
    head=f"{_HEADS}:Grounder",
    task="xfm.tasks.grounding:GroundingTask",
    pipeline=f"{_INFERENCE}.heads:Grounding",
    pipeline_tag="zero-shot-object-detection",
)
CAPTIONING = TaskSpec(
    "captioning",
    "what a picture shows, in words",
    (_IMAGE, _CAPTIONS),
    '`[{"generated_text"}]`',
    encoders=("vision",),
    settings=(*VIEW, "label_smoothing", "prompt"),
    options=Generation,
    head=f"{_HEADS}:Captioner",
    task="xfm.tasks.captioning:CaptioningTask",
    pipeline=f"{_INFERENCE}.generation:Captioning",
    pipeline_tag="image-to-text",
)
ZERO_SHOT = TaskSpec(
    "zero-shot-image-classification",
    "the class of a picture, by the names of the classes alone",
    (_IMAGE,),
    '`[{"score", "label"}]`',
    options=ZeroShotOptions,
    uses=_CONTRAST,
    pipeline=f"{_INFERENCE}.heads:ZeroShotImageClassification",
    pipeline_tag="zero-shot-image-classification",
)
FILL_MASK = TaskSpec(
    "fill-mask",
    "the word behind a mask, in a text or in a text about a picture",
    (Field("text", "a text with <mask> in it"), Field("image", holds=FieldKind.PICTURE, optional=True)),
    '`[{"score", "token", "token_str", "sequence"}]`; a list of these for each of several masks',
    options=TopK,
    uses=("language_head.",),
    pipeline=f"{_INFERENCE}.generation:FillMask",
    pipeline_tag="fill-mask",
)
EMBED = TaskSpec(
    "embed",
    "a vector of a text or of a picture",
    _EITHER,
    "a unit vector, float32; of a list an array",
    uses=_CONTRAST,
    pipeline=f"{_INFERENCE}.heads:Embed",
    pipeline_tag="feature-extraction",
)
MATCHING = TaskSpec(
    "image-text-matching",
    "whether a text fits a picture",
    (_IMAGE, Field("text")),
    '`{"score", "similarity"}`',
    uses=("itm_head.", "fusion.", *_CONTRAST),
    pipeline=f"{_INFERENCE}.heads:ImageTextMatching",
)

_OWN = tuple(found for found in globals().values() if isinstance(found, TaskSpec))
_known = {name: spec for spec in _OWN for name in spec.names}
_asked: set[str] = set()


def register_task(spec: TaskSpec) -> TaskSpec:
    """Make the task of a `spec` known to `xfm.finetune`, pipelines and model folders, and return it.

    ValueError: another task has one of its names, or it could not work (see `check_task`).
    """
    check_task(spec, _OWN)
    for name in spec.names:
        if _known.get(name, spec) != spec:
            raise ValueError(f"there is a task {name} already; choose another name")
    _known.update(dict.fromkeys(spec.names, spec))
    return spec


def task_spec(name: str) -> TaskSpec:
    """The task of a name, its other names included; a UserError for an unknown one."""
    if name not in _known:
        _ask_packages()
    if (found := _known.get(name)) is None:
        own = ", ".join(one.name for one in task_specs())
        raise UserError(f"unknown task {excerpt(name)}; {suggest(name, [*_known], f'known: {own}')}")
    return found


def task_specs(tunable: bool = False) -> tuple[TaskSpec, ...]:
    """Every task; or those that models are fine-tuned for."""
    _ask_packages()
    return tuple(one for one in dict.fromkeys(_known.values()) if one.tunable or not tunable)


def task_names() -> list[str]:
    """Their names, and after them the other names that are understood."""
    found = task_specs()
    return [*(one.name for one in found), *(name for one in found for name in one.also)]


def _ask_packages() -> None:
    """Register the tasks of installed packages, once; one that cannot be used is a warning."""
    from importlib.metadata import entry_points

    for point in entry_points(group=GROUP):
        if point.value in _asked:
            continue
        _asked.add(point.value)
        try:
            register_task(point.load())
        except (Exception, SystemExit) as error:  # other people's code may not cost the command
            package = point.dist.name if point.dist else point.module
            said = f"{package}: the task {point.name} ({point.value}) is left out, it cannot be used: {error}"
            warnings.warn(said, stacklevel=3)


# ---------------------------------------------------------------- tasks of other packages
_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")

_PREDICT = """help task model input out columns keep pictures max_bad restart allow_urls batch_size
    precision device workers quiet gallery draw engine array processes unit_size"""
PREDICT = frozenset(_PREDICT.split())
"""Options of `xfm predict`, where the fields of an input and a pipeline's own options become options, too."""


def chosen_settings(specs: Iterable[TaskSpec]) -> tuple[str, ...]:
    """The settings that tasks name as their own, `image` by its fields."""
    named = [name for spec in specs for name in spec.settings if name != "image"]
    return tuple(dict.fromkeys([*named, *(f"image.{field.name}" for field in fields(ImageTrainingConfig))]))


def check_task(spec: object, own: Iterable[TaskSpec]) -> None:
    """Refuse an unusable task by a ValueError; settings that no `own` task has, all tasks read."""
    if not isinstance(spec, TaskSpec):
        raise ValueError(f"{spec!r} is no TaskSpec")
    known = ["image", *chosen_settings(own)]
    if wrong := [name for name in spec.settings if name not in known]:
        hint = suggest(wrong[0], known, f"a task names those of {', '.join(known)} that it reads")
        raise ValueError(f"{spec.name}: {wrong[0]} is no setting that only some tasks read; {hint}")
    for what in ("head", "task", "values", "pipeline"):
        reference: str = getattr(spec, what)
        module = reference.partition(":")[0]
        if reference and not _REFERENCE.fullmatch(reference):
            raise ValueError(f"{spec.name}: {what} is {reference!r}; write package.module:Class")
        if reference and not _is_there(module):
            raise ValueError(f"{spec.name}: {what} is {reference}, and there is no module {module}")
    given = is_dataclass(spec.options) and [one for one in fields(spec.options) if one.init]
    if given is False or any(one.default is one.default_factory is MISSING for one in given):
        raise ValueError(f"{spec.name}: options is no dataclass whose fields all have defaults")
    asked = [name for one in spec.inputs for name in (*one.names, *one.parts)]
    asked += [one.name for one in fields(spec.options)]
    if twice := [name for name in asked if name in PREDICT or asked.count(name) > 1]:
        raise ValueError(f"{spec.name}: xfm predict has an option {twice[0]} already; choose another name")


def _is_there(module: str) -> bool:
    try:
        return module in sys.modules or find_spec(module) is not None  # a script or notebook has no spec
    except (ImportError, ValueError):
        return False
