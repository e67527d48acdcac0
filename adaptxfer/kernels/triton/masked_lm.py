"""The masked-language-modelling loss: a product per chunk of rows, then one kernel that makes logits gradients."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from adaptxfer.kernels.parts import in_one_dtype
from adaptxfer.kernels.reference.masked_lm import IGNORE
from adaptxfer.kernels.tiles import Tile
from adaptxfer.kernels.triton.parts import on_device, options, rounded

NONE = tl.constexpr(IGNORE)
TILE = Tile(1, 4096, 8, 1)
ALIGNED = 64
"""Rows of logits start at multiples of this many numbers, whatever the vocabulary."""


@triton.jit
def load_logits(row_ptr, bias_ptr, cols, V: tl.constexpr, BIAS: tl.constexpr, WHOLE: tl.constexpr):
    """Float32 logits with their bias at ``cols``; WHOLE: all of them below V, else -inf beyond it."""
    if WHOLE:
        logit = tl.load(row_ptr + cols).to(tl.float32)
        if BIAS:
            logit += tl.load(bias_ptr + cols).to(tl.float32)
    else:
        logit = tl.load(row_ptr + cols, mask=cols < V, other=float("-inf")).to(tl.float32)
        if BIAS:
            logit += tl.load(bias_ptr + cols, mask=cols < V, other=0.0).to(tl.float32)
    return logit


@triton.jit
def joined(top, total, logit):
    """Largest logit so far and the sum of exponentials below it, per lane."""
    higher = tl.maximum(top, logit, propagate_nan=tl.PropagateNan.ALL)
    base = tl.where(higher == float("-inf"), 0.0, higher)
    return higher, total * tl.exp(top - base) + tl.exp(logit - base)


@triton.jit
def rows_kernel(
    logits_ptr, bias_ptr, labels_ptr, loss_ptr,
    V: tl.constexpr, STRIDE: tl.constexpr, COLS: tl.constexpr, BIAS: tl.constexpr, GRADIENT: tl.constexpr,
):  # fmt: skip
    """Loss = log sum exp - logit of the label; logits become softmax - one at the label. One row per block.

    Rows without a label get a loss and a gradient of 0.
    """
    row = tl.program_id(0).to(tl.int64)
    label = tl.load(labels_ptr + row)
    counts = label != NONE
    label = tl.where(counts, label, 0)
    row_ptr = logits_ptr + row * STRIDE
    cols = tl.arange(0, COLS)
    whole: tl.constexpr = V // COLS * COLS
    top = tl.full((COLS,), float("-inf"), tl.float32)
    total = tl.zeros((COLS,), tl.float32)
    for first in range(0, whole, COLS):
        top, total = joined(top, total, load_logits(row_ptr, bias_ptr, first + cols, V, BIAS, True))
    if whole < V:
        top, total = joined(top, total, load_logits(row_ptr, bias_ptr, whole + cols, V, BIAS, False))
    peak = tl.max(top, 0)
    total = tl.sum(total * tl.exp(top - peak), 0)
    chosen = tl.load(row_ptr + label).to(tl.float32)
    if BIAS:
        chosen += tl.load(bias_ptr + label).to(tl.float32)
    tl.store(loss_ptr + row, tl.where(counts, tl.log(total) + (peak - chosen), 0.0))
    if GRADIENT:
        dtype: tl.constexpr = logits_ptr.dtype.element_ty
        tl.debug_barrier()  # the logit of the label is read before it is overwritten
        for first in range(0, whole, COLS):
            share = tl.exp(load_logits(row_ptr, bias_ptr, first + cols, V, BIAS, True) - peak) / total
            share = tl.where(first + cols == label, share - 1.0, share)
            tl.store(row_ptr + first + cols, rounded(tl.where(counts, share, 0.0), dtype))
        if whole < V:
            share = tl.exp(load_logits(row_ptr, bias_ptr, whole + cols, V, BIAS, False) - peak) / total
            share = tl.where(whole + cols == label, share - 1.0, share)
            tl.store(row_ptr + whole + cols, rounded(tl.where(counts, share, 0.0), dtype), mask=whole + cols < V)


@torch.library.custom_op("adaptxfer::cross_entropy_rows", mutates_args={"logits"})
def cross_entropy_rows(logits: Tensor, bias: Tensor | None, labels: Tensor, gradient: bool) -> Tensor:
    """Losses of rows of logits, and in place of the logits their gradient.

    Args:
        logits: (R, V), columns side by side; overwritten with d loss / d (logits + bias) if ``gradient``.
        bias: (V,) to add to every row, or None.
        labels: (R,) int64, between 0 and V - 1, or IGNORE for a loss and a gradient of 0.
        gradient: whether to write it.

    Returns:
        (R,) float32.
    """
    loss = torch.empty(len(logits), dtype=torch.float32, device=logits.device)
    with on_device(logits):
        rows_kernel[(len(logits),)](
            logits, bias, labels.contiguous(), loss, V=logits.shape[1], STRIDE=logits.stride(0), COLS=TILE.cols,
            BIAS=bias is not None, GRADIENT=gradient, **options(TILE),
        )  # fmt: skip
    return loss


@cross_entropy_rows.register_fake
def _(logits, bias, labels, gradient):
    return logits.new_empty(len(logits), dtype=torch.float32)


@torch.library.custom_op("adaptxfer::masked_lm", mutates_args=())
def forward(
    rows: Tensor, labels: Tensor, weight: Tensor, bias: Tensor | None, chunks: int, needs: list[bool]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(sum of losses, d rows, d weight, d bias); gradients without need are left empty."""
    drows = torch.empty_like(rows) if needs[0] else rows.new_empty(0)
    dweight = torch.zeros_like(weight) if needs[1] else rows.new_empty(0)
    dbias = torch.zeros(len(weight), device=rows.device) if needs[2] else rows.new_empty(0, dtype=torch.float32)
    size, width = triton.cdiv(len(rows), chunks), triton.cdiv(len(weight), ALIGNED) * ALIGNED
    buffer, losses = rows.new_empty(size, width), []
    buffer[:, len(weight) :].zero_()  # some products in 16 bits on a CPU read beyond the last column
    for first in range(0, len(rows), size):
        x = rows[first : first + size]
        logits = buffer[: len(x), : len(weight)]
        torch.mm(x, weight.t(), out=logits)
        losses.append(cross_entropy_rows(logits, bias, labels[first : first + size], any(needs)))
        if needs[0]:
            torch.mm(logits, weight, out=drows[first : first + size])
        if needs[1]:
            dweight.addmm_(logits.t(), x)
        if needs[2]:
            dbias += logits.sum(0, dtype=torch.float32)
    return torch.cat(losses).sum(), drows, dweight, dbias


@forward.register_fake
def _(rows, labels, weight, bias, chunks, needs):
    dbias = rows.new_empty(weight.shape[0] if needs[2] else 0, dtype=torch.float32)
    sizes = [torch.empty_like(t) if need else rows.new_empty(0) for t, need in zip((rows, weight), needs, strict=False)]
    return rows.new_empty((), dtype=torch.float32), *sizes, dbias


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.needs, ctx.dtypes = inputs[5], [None if t is None else t.dtype for t in (inputs[0], inputs[2], inputs[3])]
    ctx.save_for_backward(*output[1:])


def _gradients(ctx: Any, grad: Tensor, *_: Tensor):
    drows, dweight, dbias = (
        (kept * grad).to(dtype) if need else None
        for kept, need, dtype in zip(ctx.saved_tensors, ctx.needs, ctx.dtypes, strict=True)
    )
    return drows, None, dweight, dbias, None, None


forward.register_autograd(_gradients, setup_context=_keep)


def masked_lm_loss(rows: Tensor, labels: Tensor, weight: Tensor, bias: Tensor | None, chunks: int) -> Tensor:
    """As `adaptxfer.kernels.masked_lm.masked_lm_loss`, in ``chunks`` pieces.

    Args:
        rows: (R, H).
        labels: (R,) token ids below V, or IGNORE.
        weight: (V, H) decoder.
        bias: (V,) or None.
        chunks: pieces that the rows are cut into; logits exist for one at a time.

    Returns:
        A float32 scalar.
    """
    wanted = torch.is_grad_enabled()
    needs = [wanted and t is not None and t.requires_grad for t in (rows, weight, bias)]
    return in_one_dtype(forward, rows, labels, weight, bias, chunks, needs)[0]
