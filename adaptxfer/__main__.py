"""``python -m adaptxfer``, and ``torchrun -m adaptxfer`` for several processes."""

from __future__ import annotations

from adaptxfer.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
