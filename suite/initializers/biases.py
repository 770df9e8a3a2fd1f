"""Rules for biases, which go with any draw of the weights: ``biased(orthogonal, marginal)``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from problems.bounds import Positive, Real
from problems.names import NotApplicable
from problems.parameters import In
from problems.problem import Pieces, Problem
from suite.initializers.base import Bias, Initializer, bias, initializer

if TYPE_CHECKING:
    from torch import Generator, Tensor

LSTM_GATES = 4  # input, forget, candidate, output


@initializer(section="8.4")
def biased(initializer: Initializer, bias: Annotated[Bias, In(bias)]) -> Initializer:
    """Weights as another initializer draws them, and the biases that a rule concerns set by that rule.

    For several rules, ``biased(biased(he_normal, relu), marginal)``.

    Args:
        bias: a rule (python -m suite list biases).

    Raises:
        NotApplicable: the problem has no biases that the rule concerns.
    """
    inner = initializer

    def start(problem: Problem, generator: Generator) -> Tensor:
        theta = inner(problem, generator).clone()
        try:
            bias(problem, problem.layout.split(theta))
        except NotApplicable as reason:
            raise NotApplicable(f"{reason}; leave that rule for biases out") from None
        return theta

    return start


@bias(section="8.4")
def zero() -> Bias:
    """Every bias is 0, also those that the problem's source sets otherwise, such as that of a forget gate."""

    def rule(problem: Problem, pieces: Pieces) -> None:
        names = [piece.name for piece in problem.layout if piece.role == "bias"]
        if not names:
            raise NotApplicable(f"{problem.name} has no biases to set")
        for name in names:
            pieces[name].zero_()

    return rule


@bias(section="8.4")
def relu(value: Real = 0.1) -> Bias:
    """Biases of ReLU layers are 0.1, so that at first their units are active for most inputs.

    Raises:
        NotApplicable: the hidden layers are not rectified, or have no biases.
    """

    def rule(problem: Problem, pieces: Pieces) -> None:
        names = [f"{layer}.bias" for layer in problem.hidden if f"{layer}.bias" in pieces]
        if problem.activation != "relu" or not names:
            raise NotApplicable(f"{problem.name} has no ReLU layers with biases, which relu sets")
        for name in names:
            pieces[name].fill_(value)

    return rule


@bias(section="8.4")
def marginal() -> Bias:
    """Output biases from the marginal statistics of the training targets, as if there were no inputs.

    For K classes softmax(b) = c with the share c of each class among the training labels (one without
    examples counts half an example), so that with small weights the initial loss is the entropy of
    the labels. For real targets b is their mean, which minimizes the squared error.

    Raises:
        NotApplicable: there are no biases that add to the outputs, or no targets of their shape.
    """

    def rule(problem: Problem, pieces: Pieces) -> None:
        import torch

        name, outputs = _output_bias(problem.plain, pieces)
        target = problem.train.tensors[-1]
        if not target.is_floating_point():
            counts = torch.bincount(target.flatten().cpu(), minlength=len(pieces[name])).float().clamp(min=0.5)
            if len(counts) > len(pieces[name]):
                raise NotApplicable(
                    f"{problem.name} has labels above its {len(pieces[name])} outputs, so that their shares are no bias"
                )
            pieces[name].copy_((counts / counts.sum()).log())
        elif target.shape[1:] == outputs.shape[1:]:
            pieces[name].copy_(target.flatten(0, -2).mean(0))
        else:
            raise NotApplicable(
                f"{problem.name} has targets of another shape than its outputs, so that their mean is no bias"
            )

    return rule


def _output_bias(problem: Problem, pieces: Pieces) -> tuple[str, Tensor]:
    """The bias that adds to the outputs, 1 for 1, and the outputs on a few examples."""
    import torch

    batch = tuple(t[:4] for t in problem.train.tensors)
    with torch.no_grad():
        at = {name: piece.to(problem.like) for name, piece in pieces.items()}
        outputs = problem.outputs(at, batch)
        for piece in reversed(problem.layout):
            if piece.role != "bias" or outputs.dim() < 2 or piece.shape != outputs.shape[-1:]:
                continue
            raised = problem.outputs({**at, piece.name: at[piece.name] + 1}, batch)
            if torch.allclose(raised - outputs, torch.ones_like(outputs), atol=1e-3):
                return piece.name, outputs
    raise NotApplicable(f"{problem.name} has no biases that add to its outputs, as marginal asks")


@bias(section="8.4, 10.10.1", reference="Gers et al. 2000; Jozefowicz et al. 2015")
def forget_gate(value: Real = 1.0) -> Bias:
    """The biases of an LSTM's forget gates are 1, so that its memory is kept at first.

    Those of its other gates stay as they are.

    Raises:
        NotApplicable: there is no LSTM.
    """

    def rule(problem: Problem, pieces: Pieces) -> None:
        cells = [p.name.removesuffix(".hidden") for p in problem.layout if p.recurrent and p.gates == LSTM_GATES]
        if not cells:
            raise NotApplicable(f"{problem.name} has no LSTM, whose forget gate could be opened")
        for cell in cells:
            of_sums = f"{cell}.bias" if f"{cell}.bias" in pieces else f"{cell}.beta"  # where the sums are normalized
            pieces[of_sums].chunk(LSTM_GATES)[1].fill_(value)

    return rule


@bias(section="8.4")
def precision(value: Positive = 1.0) -> Bias:
    """The precision β of a conditional Gaussian N(y | f(x), 1/β), where it is learned, is 1.

    Raises:
        NotApplicable: the problem learns no precision.
    """

    def rule(problem: Problem, pieces: Pieces) -> None:
        names = [piece.name for piece in problem.layout if piece.role == "precision"]
        if not names:
            raise NotApplicable(f"{problem.name} learns no precision, as that of gaussian_regression")
        for name in names:
            pieces[name].fill_(math.log(value))

    return rule
