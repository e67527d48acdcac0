"""A plan over the small world."""

from __future__ import annotations

PLAN = """
name = "small"
models = ["MODEL"]
intermediates = ["none", "weather", "both"]
targets = ["weather", "seasons", "twins"]
seeds = [1, 2]
[joint.both]
tasks = ["weather", "endings"]
[together.pair]
intermediates = ["weather", "endings"]
compositions = ["fuse", "merge"]
[train]
max_steps = 2
evaluations = 1
[evaluate]
layer = 1
"""
