"""The part of a card that shows how to load the module with adaptxfer, `adapters`, `peft` and `transformers`."""

from __future__ import annotations

from collections.abc import Iterator

from adaptxfer.hub.facts import Facts
from adaptxfer.hub.text import block, command
from adaptxfer.modules.composition import Fuse, Leaf, Tree, fusions, leaves


def usage_blocks(facts: Facts) -> Iterator[str]:
    """Headings and blocks, one per library that can read the module."""
    yield "### With adaptxfer"
    yield block(_adaptxfer(facts), "sh")
    if facts.bundle.method == "bottleneck":
        yield "### With `adapters`, without the head"
        yield block(_adapters(facts), "python")
    elif facts.bundle.method == "lora":
        yield "### With `peft`, without the head"
        yield block(_peft(facts), "python")
    else:
        yield "### With `transformers`, without the head"
        yield block(
            f"from transformers import AutoModel\n\nmodel = AutoModel.from_pretrained({facts.repo!r})", "python"
        )


def _adaptxfer(facts: Facts) -> str:
    folder = facts.repo.split("/")[-1]
    lines = [command(["adaptxfer", "pull", facts.repo, "--to", folder])]
    if facts.scores:
        lines.append(command(["adaptxfer", "evaluate", folder, "--on", facts.scores[0].record.task]))
    if isinstance(facts.bundle.tree, Leaf):
        method = [] if facts.bundle.method == "bottleneck" else ["--method", facts.bundle.method]
        model = ["--model", facts.bundle.base.id]
        lines.append(command(["adaptxfer", "transfer", "--to", "xnli", "--from", f"hub:{facts.repo}", *model, *method]))
    return "\n".join(lines)


def _base(facts: Facts) -> str:
    return f"model = AutoModel.from_pretrained({facts.bundle.base.id!r})"


def _adapters(facts: Facts) -> str:
    tree = facts.bundle.tree
    single = isinstance(tree, Leaf)
    kinds = sorted({type(part).__name__ for part in (tree, *fusions(tree)) if not isinstance(part, Leaf)})
    lines = ["import adapters", *([f"from adapters.composition import {', '.join(kinds)}"] if kinds else []),
             "from huggingface_hub import snapshot_download", "from transformers import AutoModel", "",
             f"folder = snapshot_download({facts.repo!r})", _base(facts), "adapters.init(model)"]  # fmt: skip
    for name in leaves(tree):
        place = "folder" if single else f'folder + "/{name}"'
        lines.append(f'model.load_adapter({place}, load_as="{name}", use_safetensors=True)')
    if fusions(tree):
        lines.append('model.load_adapter_fusion(folder + "/fusion", use_safetensors=True)')
    return "\n".join([*lines, f"model.set_active_adapters({_composed(tree)})"])


def _composed(tree: Tree) -> str:
    if isinstance(tree, Leaf):
        return f'"{tree.name}"'
    kind = "Fuse" if isinstance(tree, Fuse) else "Stack"
    return f"{kind}({', '.join(_composed(child) for child in tree.children)})"


def _peft(facts: Facts) -> str:
    tree = facts.bundle.tree
    lines = ["from peft import PeftModel", "from transformers import AutoModel", "", _base(facts)]
    if isinstance(tree, Leaf):
        return "\n".join([*lines, f"model = PeftModel.from_pretrained(model, {facts.repo!r})"])
    (first, *others), repo = leaves(tree), repr(facts.repo)
    lines.append(f'model = PeftModel.from_pretrained(model, {repo}, adapter_name="{first}", subfolder="{first}")')
    lines += [f'model.load_adapter({repo}, adapter_name="{name}", subfolder="{name}")' for name in others]
    return "\n".join([*lines, f"model.base_model.set_adapter({leaves(tree)})"])
