"""Question answering after a short fine-tuning, against the same fine-tuning with the picture blanked."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from xfm.data.tokenizer import normalise_caption
from xfm.evaluation.context import Context
from xfm.evaluation.examples import QuestionExample, pick_examples, plain
from xfm.evaluation.fine_tuned import fine_tuned
from xfm.reports.results import PartResult
from xfm.reports.scores import SPLITS
from xfm.tasks.base import Blanked, TaskSettings
from xfm.tasks.rows import Question
from xfm.tasks.splits import SplitRows
from xfm.tasks.vqa import VqaTask, is_right, kind_key

SHOWN = 12
BLANK = "blank picture"


def run_vqa(context: Context) -> PartResult:
    """Accuracy over all questions, and for each kind of question.

    Chance is the accuracy of always giving the most frequent training answer of the question's kind.
    """
    config, result, seed = context.config.vqa, PartResult(), context.config.seed
    train = context.rows(VqaTask.read, "vqa", "train", config.train_rows)
    tests = {
        split: context.rows(VqaTask.read, "vqa", split, config.test_rows) for split in context.splits(SPLITS)
    }

    def build(settings: TaskSettings) -> VqaTask:
        return VqaTask(context.pretrained, context.pictures, SplitRows(train), settings)

    tuned = fine_tuned(context, build, config, tests, keep_as="vqa")
    baseline = fine_tuned(context, build, config, tests, Blanked.PICTURE)
    usual = most_frequent_answers(train)
    for split, rows in tests.items():
        kinds = {f"accuracy_{kind_key(kind)}": kind for kind in sorted({row.kind for row in rows})}
        for metric, value in tuned.metrics[split].items():
            asked = [row for row in rows if metric == "accuracy" or row.kind == kinds[metric]]
            chance = sum(is_right(row, usual.get(row.kind, "")) for row in asked) / len(asked)
            floor = {BLANK: baseline.metrics[split][metric]}
            result.add(f"vqa/{split}/{metric}", value, chance, len(asked), seed, floor)
        result.examples[split] = plain(_examples(context, rows, tuned.predictions[split]))
    result.curves = {"vqa": tuned.losses, f"vqa, {BLANK}": baseline.losses}
    return result


def most_frequent_answers(rows: Sequence[Question]) -> dict[str, str]:
    """The most frequent answer of each kind of question, normalised."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        counts[row.kind][normalise_caption(row.answer)] += 1
    return {kind: found.most_common(1)[0][0] for kind, found in counts.items()}


def _examples(context: Context, rows: Sequence[Question], predicted: Sequence[str]) -> list[QuestionExample]:
    right = [is_right(row, guess) for row, guess in zip(rows, predicted, strict=True)]
    return [
        QuestionExample(
            context.relative(rows[place].image),
            rows[place].question,
            rows[place].kind,
            rows[place].answer,
            predicted[place],
            right[place],
        )
        for place in pick_examples(right, SHOWN, context.config.seed)
    ]
