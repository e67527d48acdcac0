"""``python -m adaptxfer.cli`` is the command line."""

from __future__ import annotations

import sys

from adaptxfer.cli import main

sys.exit(main())
