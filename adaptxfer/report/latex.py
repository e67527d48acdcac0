"""Tables for LaTeX (booktabs)."""

from __future__ import annotations

import re

from adaptxfer.console import Table

SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--", "→": r"$\to$", "·": r"$\cdot$",
    "<": r"\textless{}", ">": r"\textgreater{}", "×": r"$\times$",
}  # fmt: skip
PATTERN = re.compile("|".join(map(re.escape, SPECIAL)))


def escape(text: str) -> str:
    """Text with everything LaTeX would take as a command made harmless."""
    return PATTERN.sub(lambda match: SPECIAL[match[0]], text)


def to_latex(table: Table) -> str:
    """A ``table`` environment with its caption; needs the package booktabs."""
    columns = "".join("r" if align == "right" else "l" for align in table.aligns())
    lines = [table.names(), *table.texts()]
    head, *body = (" & ".join(map(escape, line)) + r" \\" for line in lines)
    caption = escape(f"{table.title}. {table.caption}".strip(". ") + ".")
    return "\n".join(
        [r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule", *body,
         r"\bottomrule", r"\end{tabular}", rf"\caption{{{caption}}}", r"\end{table}", ""]
    )  # fmt: skip
