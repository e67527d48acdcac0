"""The composition tree: how modules are arranged over the frozen encoder.

hellaswag                           one module
stack(hellaswag, xnli)              xnli works on what hellaswag passes on
fuse(hellaswag, mnli)               AdapterFusion over both
stack(fuse(hellaswag, mnli), xnli)  the target's own module above the fusion
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adaptxfer.errors import AdaptxferError, data_error, nearest, use_error
from adaptxfer.files import check_name

METHODS = ("bottleneck", "lora", "full")
HOWS = ("none", "continue", "stack", "fuse", "merge")

WORKS = {
    "bottleneck": HOWS,
    "lora": ("none", "continue", "stack", "merge"),
    "full": ("none", "continue", "merge"),
}
"""Which ways of using intermediate modules each method supports."""


@dataclass(frozen=True)
class Leaf:
    """One module by name."""

    name: str


@dataclass(frozen=True)
class Fuse:
    """AdapterFusion over two or more modules; names are kept sorted, since the libraries key a fusion by its order."""

    children: tuple[Leaf, ...]

    @property
    def key(self) -> str:
        """The name under which a fusion layer is stored."""
        return ",".join(leaf.name for leaf in self.children)


@dataclass(frozen=True)
class Stack:
    """Modules one above the other, first one lowest."""

    children: tuple[Leaf | Fuse, ...]


Tree = Leaf | Fuse | Stack


def fuse(names: Sequence[str]) -> Fuse:
    """A fusion over ``names`` in sorted order."""
    return Fuse(tuple(Leaf(name) for name in sorted(names)))


def leaves(tree: Tree) -> list[str]:
    """Names of all modules, lowest first."""
    return [tree.name] if isinstance(tree, Leaf) else [name for child in tree.children for name in leaves(child)]


def fusions(tree: Tree) -> list[Fuse]:
    """All fusion layers of the tree."""
    if isinstance(tree, Leaf):
        return []
    return [tree] if isinstance(tree, Fuse) else [found for child in tree.children for found in fusions(child)]


def to_json(tree: Tree) -> Any:
    """The tree as stored in a bundle: a name, ``{"fuse": [...]}`` or ``{"stack": [...]}``."""
    if isinstance(tree, Leaf):
        return tree.name
    return {type(tree).__name__.lower(): [to_json(child) for child in tree.children]}


def from_json(value: Any) -> Tree:
    """Rebuild a tree.

    Raises:
        AdaptxferError: if the value is not one of the supported shapes.
    """
    if isinstance(value, str):
        return Leaf(check_name(value, "module name"))
    if isinstance(value, dict) and len(value) == 1:
        ((kind, children),) = value.items()
        if kind == "fuse" and isinstance(children, list) and all(isinstance(child, str) for child in children):
            return fuse([check_name(child, "module name") for child in children])
        if kind == "stack" and isinstance(children, list):
            parts = [from_json(child) for child in children]
            if all(isinstance(part, Leaf | Fuse) for part in parts):
                return Stack(tuple(parts))  # type: ignore[arg-type]
    raise data_error(f"{str(value)[:200]} is not a composition.", "Expected a name, {fuse: names} or {stack: parts}.")


def check_tree(tree: Tree, method: str) -> None:
    """Refuse a tree that makes no sense or that ``method`` cannot build, before anything is loaded.

    Raises:
        AdaptxferError: with a sentence that says what works instead.
    """
    arranged = [part for part in (tree, *fusions(tree)) if not isinstance(part, Leaf)]
    if len(set(leaves(tree))) < len(leaves(tree)) or any(len(part.children) < 2 for part in arranged):
        raise data_error(f"{to_json(tree)} is not a composition.", "A stack or fusion has two or more different parts.")
    for how, found in (("fuse", fusions(tree)), ("stack", arranged)):
        if found and how not in WORKS[method]:
            raise _cannot(how, method)


def check_works(how: str, method: str) -> None:
    """Refuse a way of using intermediates that a method does not have.

    Raises:
        AdaptxferError: with a sentence that says what works instead.
    """
    if how not in HOWS:
        raise use_error(f"--how {how!r} is unknown.", nearest(how, HOWS))
    if method not in METHODS:
        raise use_error(f"--method {method!r} is unknown.", f"Choose one of {', '.join(METHODS)}.")
    if how not in WORKS[method]:
        raise _cannot(how, method)


def check_how(how: str, method: str, intermediates: int, own_module: bool = False) -> None:
    """Refuse what a method cannot do before anything is loaded.

    Raises:
        AdaptxferError: with a sentence that says what works instead.
    """
    check_works(how, method)
    least, most = {"none": (0, 0), "fuse": (2, 64), "merge": (2, 64)}.get(how, (1, 1))
    if not least <= intermediates <= most:
        wanted = str(least) if least == most else f"{least} or more"
        raise use_error(
            f"--how {how} needs {wanted} intermediate bundles, got {intermediates}.",
            "Repeat --from to give several; stack and continue take one, fuse and merge take two or more.",
        )
    if own_module and how != "fuse":
        raise use_error(f"--own-module belongs to --how fuse, not {how}.", "A stack has its own target module anyway.")


def _cannot(how: str, method: str) -> AdaptxferError:
    why = f"peft has no {how} for LoRA."
    if method == "full":
        why = "full fine-tuning changes the encoder itself, there is no module to arrange."
    return use_error(
        f"--how {how} does not work with --method {method}: {why}",
        f"With {method} use {', '.join(WORKS[method])}" + ("; --method bottleneck can fuse." if how == "fuse" else "."),
    )


def target_tree(how: str, target: str, intermediates: Sequence[str], own_module: bool = False) -> Tree:
    """The tree that is trained for a target task.

    ``continue`` and ``merge`` train one module that starts from the intermediate weights.
    """
    if how == "stack":
        return Stack((Leaf(intermediates[0]), Leaf(target)))
    if how == "fuse":
        fused = fuse(intermediates)
        return Stack((fused, Leaf(target))) if own_module else fused
    return Leaf(target)


def trained_parts(how: str, tree: Tree, target: str) -> tuple[list[str], list[str]]:
    """Names of the modules and keys of the fusions that train; all else stays frozen."""
    modules = [target] if target in leaves(tree) else []
    return modules, [fused.key for fused in fusions(tree)] if how == "fuse" else []


def draw(tree: Tree, trained: Sequence[str] = (), indent: str = "") -> str:
    """The tree as indented lines, top of the network first, for ``--dry-run`` and reports."""
    if isinstance(tree, Leaf):
        return f"{indent}{tree.name}  ({'trains' if tree.name in trained else 'frozen'})"
    mark = f"  ({'trains' if isinstance(tree, Fuse) and tree.key in trained else 'frozen'})"
    head = f"{indent}{type(tree).__name__.lower()}{mark if isinstance(tree, Fuse) else ''}"
    children = reversed(tree.children) if isinstance(tree, Stack) else tree.children
    return "\n".join([head, *(draw(child, trained, indent + "  ") for child in children)])
