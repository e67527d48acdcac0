"""Merging modules into one: average, task arithmetic, TIES and DARE, for every method.

What is merged are differences from the module that changes nothing: zero weights for a bottleneck, no update for a
LoRA, the base model for full fine-tuning. A LoRA's difference is its update ``scale * B A``, never A and B apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from adaptxfer.errors import data_error, use_error
from adaptxfer.files import derived_seed
from adaptxfer.modules.method import Method
from adaptxfer.modules.recipe import DENSITY, DROP, Recipe
from adaptxfer.modules.weights import copy_into

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Merged:
    """A merged module.

    Attributes:
        weights: under the keys of its parts.
        kept: share of the merged LoRA update (squared norm) that its rank holds; 1 for the other methods.
    """

    weights: Weights
    kept: float = 1.0


class Merger:
    """Attaches a merged module to an encoder; it may be filled again with other parts.

    Args:
        method: an encoder to which nothing was attached under ``name`` and, for full fine-tuning, nothing loaded.
        name: of the merged module.
        folders: of the saved modules.
        rank: of a merged LoRA; None for the largest of them.
    """

    def __init__(self, method: Method, name: str, folders: Sequence[Path], rank: int | None = None) -> None:
        self.method, self.name, self.folders = method, name, folders
        ranks = [found for folder in folders if (found := method.rank(folder)) is not None]
        self.rank = rank or max(ranks, default=None)
        method.attach(name, folders[0], self.rank)

    def fill(self, recipe: Recipe, chosen: Sequence[int] | None = None) -> float:
        """Give the module the merged weights of the ``chosen`` parts (None: all).

        Returns:
            the share of the merged update that the rank holds (see `Merged`).

        Raises:
            AdaptxferError: if the parts do not fit together, or a weight is not finite.
        """
        folders = [self.folders[i] for i in chosen] if chosen is not None else self.folders
        weights = [self.method.read(self.name, folder) for folder in folders]
        if self.rank is None:
            origin = None if recipe.by in ("average", "soup") else self.method.origin(self.name)
            merged = merge(weights, recipe, origin)
        else:
            scales = [self.method.scale(folder) for folder in folders]
            merged = merge_updates(weights, scales, recipe, self.rank, self.method.scale(self.folders[0]))
        copy_into(self.method.parameters(self.name), merged.weights, "the merged module")
        return merged.kept


def merge(modules: Sequence[Weights], recipe: Recipe, origin: Mapping[str, Tensor] | None = None) -> Merged:
    """Merge bottlenecks or full encoders, weight by weight.

    Args:
        modules: the weights of each module under the same keys.
        recipe: what is done with them; a soup of all of these is their average.
        origin: weights of the module that changes nothing; None for zeros.

    Raises:
        AdaptxferError: if the modules do not have the same weights.
    """
    _check_alike([{key: tuple(value.shape) for key, value in module.items()} for module in modules])
    merged: Weights = {}
    for key in modules[0]:
        zero = torch.zeros(()) if origin is None else origin[key].detach().double()
        merged[key] = (combine([module[key].double() - zero for module in modules], recipe, key) + zero).float()
    return Merged(merged)


def merge_updates(
    modules: Sequence[Weights], scales: Sequence[float], recipe: Recipe, rank: int, scale: float
) -> Merged:
    """Merge LoRAs by their updates ``scale * B A``, factored again at ``rank`` by a singular value decomposition.

    A weighted sum is exact if the rank is at least the sum of the modules' ranks; otherwise the result is the closest
    update of that rank (Eckart and Young 1936).

    Args:
        modules: weights of each LoRA, A (r, in) and B (out, r); ranks may differ.
        scales: what each update is multiplied by, alpha / r.
        recipe: what is done with them.
        rank: of the result.
        scale: what the result is multiplied by.

    Raises:
        AdaptxferError: if the modules adapt different layers, or a factor is missing.
    """
    _check_alike([_update_shapes(module) for module in modules])
    merged: Weights = {}
    held = whole = 0.0
    for key_a in (key for key in modules[0] if ".lora_A." in key):
        key_b = _partner(key_a)
        pairs = [
            (module[key_a].double(), s * module[key_b].double()) for module, s in zip(modules, scales, strict=True)
        ]
        u, sigma, v = _sum_svd(pairs, recipe) if recipe.is_linear else _dense_svd(pairs, recipe, key_a)
        root = (sigma[:rank, None] / scale).sqrt()
        merged[key_a] = _padded(root * v[:rank], rank).float()
        merged[key_b] = _padded(root * u.T[:rank], rank).T.float().contiguous()
        held, whole = held + float(sigma[:rank].square().sum()), whole + float(sigma.square().sum())
    return Merged(merged, held / whole if whole else 1.0)


def combine(differences: Sequence[Tensor], recipe: Recipe, key: str) -> Tensor:
    """One weight of the merged module from the same weight of each module, all as differences (equal shapes).

    Args:
        differences: one per module.
        recipe: what is done with them.
        key: name of the weight; DARE drops differently in each.
    """
    shares = recipe.shares(len(differences))
    if recipe.by == "ties":
        return _ties(differences, shares, DENSITY if recipe.density is None else recipe.density)
    if recipe.by == "dare":
        drop = DROP if recipe.drop is None else recipe.drop
        differences = [_dropped(d, drop, derived_seed(recipe.seed, str(i), key)) for i, d in enumerate(differences)]
    return _weighted(differences, shares)


def _weighted(differences: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    total = shares[0] * differences[0]
    for share, difference in zip(shares[1:], differences[1:], strict=True):
        total += share * difference
    return total


def _ties(differences: Sequence[Tensor], shares: Sequence[float], density: float) -> Tensor:
    """Trim, elect, merge disjointly; every weight matrix is trimmed for itself."""
    kept = torch.stack([_trimmed(difference, density) for difference in differences])
    weight = torch.tensor(shares, dtype=kept.dtype).reshape(-1, *[1] * (kept.dim() - 1))
    elected = (weight * kept).sum(0).sign()
    agrees = (kept.sign() == elected) & (kept != 0)
    mass = (weight * agrees).sum(0)
    return torch.where(mass > 0, (weight * kept * agrees).sum(0) / mass.clamp_min(1e-30), 0.0)


def _trimmed(difference: Tensor, density: float) -> Tensor:
    """The largest share of the entries, by magnitude; the others are zero."""
    size = difference.abs().flatten()
    out = size.numel() - max(1, round(density * size.numel()))
    return difference if out < 1 else difference * (difference.abs() > size.kthvalue(out).values)


def _dropped(difference: Tensor, drop: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    stays = torch.rand(difference.shape, generator=generator, dtype=torch.float64) >= drop
    return difference * stays / (1 - drop)


def _sum_svd(pairs: Sequence[tuple[Tensor, Tensor]], recipe: Recipe) -> tuple[Tensor, Tensor, Tensor]:
    """The decomposition of a weighted sum of products B A, by way of their small inner matrix."""
    wide = torch.cat([a for a, _ in pairs])
    tall = torch.cat([share * b for share, (_, b) in zip(recipe.shares(len(pairs)), pairs, strict=True)], dim=1)
    (left, inner), (right, outer) = torch.linalg.qr(tall), torch.linalg.qr(wide.T)
    u, sigma, v = torch.linalg.svd(inner @ outer.T, full_matrices=False)
    return left @ u, sigma, v @ right.T


def _dense_svd(pairs: Sequence[tuple[Tensor, Tensor]], recipe: Recipe, key: str) -> tuple[Tensor, Tensor, Tensor]:
    return torch.linalg.svd(combine([b @ a for a, b in pairs], recipe, key), full_matrices=False)


def _padded(rows: Tensor, count: int) -> Tensor:
    """Zero rows added up to ``count``."""
    return torch.cat([rows, rows.new_zeros(count - len(rows), rows.shape[1])])


def _partner(key_a: str) -> str:
    return key_a.replace(".lora_A.", ".lora_B.")


def _update_shapes(module: Weights) -> dict[str, tuple[int, ...]]:
    found = {}
    for key_a in (key for key in module if ".lora_A." in key):
        a, b = module[key_a], module.get(_partner(key_a), torch.zeros(()))
        if a.dim() != 2 or b.dim() != 2 or len(a) != b.shape[1]:
            raise data_error(f"{key_a} and {_partner(key_a)} are no factors of one update.", "Train the module again.")
        found[key_a] = (len(b), a.shape[1])
    return found


def _check_alike(shapes: Sequence[Mapping[str, tuple[int, ...]]]) -> None:
    for other in shapes[1:]:
        if other == shapes[0]:
            continue
        different = sorted(key for key in {*shapes[0], *other} if shapes[0].get(key) != other.get(key))
        raise use_error(
            f"These modules cannot be merged: they differ in size or in the layers they adapt, e.g. {different[0]}: "
            f"{_told(shapes[0].get(different[0]))} and {_told(other.get(different[0]))}.",
            "Train them with the same options (variant, reduction, target modules).",
        )


def _told(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else " x ".join(map(str, shape)) or "a number"
