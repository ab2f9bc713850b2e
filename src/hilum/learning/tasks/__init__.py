"""Tasks: what a training step does."""

from hilum.learning.tasks.classify import MultiClass, MultiLabel
from hilum.learning.tasks.detect import Detect
from hilum.learning.tasks.generate import Generate
from hilum.learning.tasks.join import Joined
from hilum.learning.tasks.pretrain import Pretrain
from hilum.learning.tasks.segment import Segment
from hilum.learning.tasks.task import Task

TASKS: dict[str, type[Task]] = {
    "multilabel": MultiLabel,
    "multiclass": MultiClass,
    "segment": Segment,
    "detect": Detect,
    "generate": Generate,
    "pretrain": Pretrain,
}

__all__ = [
    "TASKS",
    "Detect",
    "Generate",
    "Joined",
    "MultiClass",
    "MultiLabel",
    "Pretrain",
    "Segment",
    "Task",
]
