"""Training: options, optimiser, the loop, checkpoints that resume exactly, and a watch for divergence."""

from adaptxfer.training.loop import TrainingResult, train
from adaptxfer.training.options import TrainingOptions
from adaptxfer.training.steps import Steps, TaskData

__all__ = ["Steps", "TaskData", "TrainingOptions", "TrainingResult", "train"]
