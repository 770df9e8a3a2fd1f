"""Autoencoders; linear ones have PCA as their global minimum."""

from __future__ import annotations

from functools import lru_cache

from problems.bounds import Natural, Unit, Widths
from problems.data import builtin, mnist_family
from problems.data.splits import Splits, centred_inputs, corrupted, flattened
from problems.models import mlp, regressor
from problems.problem import Data, Known, Problem, Target, problem
from problems.starts import glorot_uniform, lecun_uniform, start


@lru_cache  # of 784 columns it takes half a second
def pca_residual(train: Data, rank: int) -> Known:
    """The least mean of ‖x − Mx‖² over matrices M of a rank: Σ_{i > rank} λ_i of XᵀX/n.

    Source: Baldi & Hornik 1989; that no saddle is a minimum holds for every depth (Kawaguchi 2016).
    """
    import torch

    x = train.tensors[0].double()
    eigenvalues = torch.linalg.eigvalsh(x.T @ x / len(x))
    return Known(float(eigenvalues[: max(len(eigenvalues) - rank, 0)].clamp(min=0).sum()), None, "PCA's residual")


def _linear_autoencoder(name: str, data: Splits, hidden: tuple[int, ...], excess: float, epochs: int) -> Problem:
    size = data.train.tensors[0].shape[1]
    model = mlp((size, *hidden, size), activation=None, bias=None)
    least = pca_residual(data.train, min(hidden, default=size))
    return regressor(
        name,
        model,
        data,
        start=start(model.layout, lecun_uniform),
        target=Target("train_loss", (1 + excess) * least.loss, "lower", f"{100 * excess:g} % above PCA's residual"),
        minimum=least,
        batch_size=32,
        epochs=epochs,
    )


@problem(source="Baldi & Hornik 1989; UCI digits", data="digits", embedded=True, compare_steps=400)
def digits_autoencoder(hidden: Widths = (32, 8, 32)) -> Problem:
    """A deep linear autoencoder on scikit-learn's 8 × 8 digits: 64-32-8-32-64 by default.

    Mean over examples of ‖x − W_l … W₁x‖² for pixels/16 less their mean over the training split.
    No biases. 1197 training, 300 validation, 300 test images. Starts at weights U(−1/√m, 1/√m).

    The minimum is PCA's residual with as many components as the narrowest layer has units; the
    loss is not convex but has no other minima.

    Args:
        hidden: widths of the hidden layers.

    Source: Baldi & Hornik 1989; *Deep Learning*, sections 8.2.2 and 14.2.
    """
    return _linear_autoencoder("digits_autoencoder", centred_inputs(builtin.digits()), hidden, excess=0.05, epochs=50)


@problem(source="Baldi & Hornik 1989; LeCun et al. 1998", data="mnist")
def mnist_autoencoder(hidden: Widths = (64, 32, 64)) -> Problem:
    """A deep linear autoencoder on MNIST: 784-64-32-64-784 by default.

    As ``digits_autoencoder``, for pixels/255 less their mean over the training split.

    Args:
        hidden: widths of the hidden layers.

    Source: Baldi & Hornik 1989; *Deep Learning*, sections 8.2.2 and 14.2; data of LeCun et al. 1998.
    """
    return _linear_autoencoder("mnist_autoencoder", _mnist_inputs(), hidden, excess=0.05, epochs=10)


@lru_cache
def _mnist_inputs() -> Splits:
    return centred_inputs(flattened(mnist_family.load("mnist")))


def _denoising(name: str, data: Splits, hidden: tuple[int, ...], target: Target, batch_size: int) -> Problem:
    size = data.train.tensors[0].shape[1]
    model = mlp((size, *hidden, size), activation="sigmoid")
    return regressor(
        name,
        model,
        data,
        start=start(model.layout, glorot_uniform),
        target=target,
        batch_size=batch_size,
        epochs=30,
    )


@problem(source="Vincent et al. 2008; UCI digits", data="digits", embedded=True)
def digits_denoising(hidden: Widths = (96,), masked: Unit = 0.25, data_seed: Natural = 0) -> Problem:
    """A nonlinear denoising autoencoder on scikit-learn's 8 × 8 digits: 64-96-64 with sigmoid units.

    Mean over examples of ‖x − f(x̃)‖², where x̃ is x (pixels/16) with a share of its pixels set
    to 0. Each example has one x̃, drawn once from the seed, so that the problem is a fixed
    function. The output is linear. Starts at weights U(−√(6/(m+n)), √(6/(m+n))), biases 0.

    Args:
        hidden: widths of the hidden layers.
        masked: the probability that a pixel is set to 0.

    Source: Vincent et al. 2008; *Deep Learning*, section 14.5; start of Glorot & Bengio 2010.
    """
    target = Target("valid_loss", 2.0, "lower", "reached by Adam at rate 0.003")
    return _denoising("digits_denoising", corrupted(builtin.digits(), masked, data_seed), hidden, target, 32)


@problem(source="Vincent et al. 2008; LeCun et al. 1998", data="mnist")
def mnist_denoising(hidden: Widths = (500,), masked: Unit = 0.25, data_seed: Natural = 0) -> Problem:
    """``digits_denoising`` on MNIST: 784-500-784, pixels/255.

    Args:
        hidden, masked: as for ``digits_denoising``.

    Source: Vincent et al. 2008, with squared error instead of cross-entropy.
    """
    data = corrupted(flattened(mnist_family.load("mnist")), masked, data_seed)
    target = Target("test_loss", 10.0, "lower", "reached by Adam at rate 0.001 in 2 epochs")
    return _denoising("mnist_denoising", data, hidden, target, 128)
