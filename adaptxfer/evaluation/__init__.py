"""Evaluation: predictions per language, scores, and sentence retrieval."""

from adaptxfer.evaluation.evaluate import DevSet, LanguageResult, evaluate_languages, scores_document
from adaptxfer.evaluation.score import main_metric, score_records

__all__ = ["DevSet", "LanguageResult", "evaluate_languages", "main_metric", "score_records", "scores_document"]
