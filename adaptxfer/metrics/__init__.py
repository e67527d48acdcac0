"""Scorers as pure functions over plain Python lists, in points (0-100); torch only in ``retrieval``."""
