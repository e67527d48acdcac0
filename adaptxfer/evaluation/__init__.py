"""Evaluation: predictions per language, scores, retrieval, suites and the XTREME export."""
