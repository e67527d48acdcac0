"""Choosing an intermediate task before training on the target: features, predicted gains, and a search on a budget."""
