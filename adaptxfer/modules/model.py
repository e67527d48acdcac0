"""Encoder, composition and head as one network that trains and predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from adaptxfer.encoder.first import encode_first
from adaptxfer.encoder.packed import encode_auto
from adaptxfer.errors import nearest, use_error
from adaptxfer.modules.heads import Head
from adaptxfer.modules.method import Method, check_module_name


def make_method(name: str, network: nn.Module) -> Method:
    """Attach the machinery of a method to an encoder; its library is imported here and not before.

    Raises:
        AdaptxferError: for an unknown method.
    """
    if name == "bottleneck":
        from adaptxfer.modules.bottleneck import Bottleneck

        return Bottleneck(network)
    if name == "lora":
        from adaptxfer.modules.lora import Lora

        return Lora(network)
    if name == "full":
        from adaptxfer.modules.full import Full

        return Full(network)
    raise use_error(f"--method {name!r} is unknown.", "Choose bottleneck, lora or full.")


class AdaptedModel(nn.Module):
    """What is trained and scored: an encoder with its modules, and one head per task (none for retrieval)."""

    def __init__(self, method: Method, heads: Mapping[str, Head]) -> None:
        super().__init__()
        self.network = method.network
        self.method = method
        self.heads = nn.ModuleDict({check_module_name(task): head for task, head in heads.items()})

    def head(self, task: str) -> Head:
        """The head of one task.

        Raises:
            AdaptxferError: if the task has none here.
        """
        if task not in self.heads:
            raise use_error(f"There is no head for {task} here.", nearest(task, self.heads))
        return self.heads[task]  # type: ignore[return-value]

    def forward(self, task: str, ids: Tensor, bounds: Tensor, targets: Mapping[str, Tensor] | None = None) -> Tensor:
        """Scores of the task's head in packed order, or with ``targets`` the sum of the losses.

        ``targets["lengths"]``, on the host, saves reading ``bounds`` back; see `adaptxfer.encoder.packed.run`.
        """
        head = self.head(task)
        lengths = targets["lengths"].tolist() if targets and "lengths" in targets else None
        encode = encode_first if head.reads_first else encode_auto
        hidden = encode(self.network, ids, bounds, lengths=lengths)
        assert isinstance(hidden, Tensor)  # one layer, since none was named
        bounds = head.bounds_of(bounds)
        return head(hidden, bounds) if targets is None else head.train_loss(hidden, bounds, targets)

    def set_trainable(self, modules: Sequence[str], fusions: Sequence[str] = ()) -> dict[str, nn.Parameter]:
        """Freeze all but the named modules and fusions and the heads; weights that train, by name.

        The set is fixed here once, after everything is attached: both libraries unfreeze modules on their own.
        """
        trained = {f"network.{name}": p for name, p in self.method.set_trainable(modules, fusions).items()}
        for task, head in self.heads.items():
            for name, parameter in head.requires_grad_(bool(head.trains)).named_parameters():
                if head.trains:
                    trained[f"heads.{task}.{name}"] = parameter
        return trained
