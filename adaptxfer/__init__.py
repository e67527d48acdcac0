"""Lightweight cross-lingual transfer with adapters, LoRA and full fine-tuning.

Importing this package loads neither torch nor transformers; the public functions do when they are called::

    import adaptxfer as ax

    bundle = ax.train_intermediate("hellaswag", model="mini", data_dir="data")
    result = ax.transfer(to="xcopa", bundles=[bundle], how="stack", model="mini", data_dir="data")
    print(result.to_markdown())
"""

from __future__ import annotations

__version__ = "0.1.0"

__all__ = [
    "AdaptxferError",
    "__version__",
    "evaluate",
    "list_tasks",
    "load_bundle",
    "load_task",
    "merge",
    "train_intermediate",
    "transfer",
]


def __getattr__(name: str):
    if name in __all__:
        from adaptxfer import api

        return getattr(api, name)
    raise AttributeError(f"module 'adaptxfer' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
