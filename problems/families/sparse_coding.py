"""Sparse coding: two blocks of variables, each easy when the other is fixed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from problems.bounds import Bound, Count, NonNegative
from problems.data import builtin
from problems.layout import Layout, Piece
from problems.problem import Batch, Data, Pieces, Problem, Target, problem
from problems.starts import lecun_uniform, start

if TYPE_CHECKING:
    from torch import Tensor


@problem(source="Deep Learning, section 8.7.2; Olshausen & Field 1996", data="digits", embedded=True)
def digits_sparse_coding(
    atoms: Count = 96,
    examples: Annotated[int, Bound(1, 1197)] = 256,
    sparsity: NonNegative = 0.1,
    decay: NonNegative = 0.01,
) -> Problem:
    """Sparse coding of digits: mean over examples of ‖x − Wh‖² + λ Σ|h|, and ½·decay·‖W‖².

    θ holds the dictionary W [64, atoms] and a code h [atoms] for every example: the first
    ``examples`` training digits, pixels/16. Convex in W and in the codes, not in both, as for
    block-coordinate descent (the blocks are the pieces ``dictionary`` and ``codes``). The decay
    keeps W from growing while codes shrink. Starts at W ~ U(−1/√m, 1/√m) and codes of 0.

    Args:
        sparsity: λ.

    Source: *Deep Learning*, equation 8.38; Olshausen & Field 1996.
    """
    import torch

    from problems.layers import linear

    x = builtin.digits().train.tensors[0][:examples]
    layout = Layout((Piece("dictionary", (64, atoms), "weight", atoms, 64), Piece("codes", (examples, atoms), "other")))

    def value(pieces: Pieces, batch: Batch) -> Tensor:
        code = pieces["codes"][batch[1]]
        misfit = (batch[0] - linear(code, pieces["dictionary"])).square().sum(1)
        return misfit + sparsity * code.abs().sum(1)

    def penalty(pieces: Pieces) -> Tensor:
        return 0.5 * decay * pieces["dictionary"].square().sum()

    return Problem(
        "digits_sparse_coding",
        layout,
        value,
        lambda values, batch: values.mean(),
        Data((x, torch.arange(examples))),
        penalty=penalty if decay else None,
        start=start(layout, lecun_uniform),
        target=Target("train_loss", 1.5, "lower", "reached by Adam at rate 0.01"),
        batch_size=examples,
        epochs=500,
    )
