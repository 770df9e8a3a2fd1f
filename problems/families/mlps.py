"""Multilayer perceptrons."""

from __future__ import annotations

from typing import Annotated

from problems.bounds import Count, Natural, OneOf, Widths
from problems.data import builtin, cifar, mnist_family
from problems.data.splits import flattened, held_out, test_drops_partial
from problems.models import classifier, mlp
from problems.problem import UNCHECKED, Problem, Target, problem
from problems.starts import he_normal, lecun_uniform, start, truncated_normal


@problem(source="Deep Learning, chapter 6; UCI digits", data="digits", embedded=True, compare_steps=400)
def digits_mlp(hidden: Widths = (32,)) -> Problem:
    """A perceptron with ReLU layers on scikit-learn's 8 × 8 digits: 64-32-10 by default.

    Softmax cross-entropy. 1197 training, 300 validation, 300 test images, pixels/16. Starts at
    weights U(−1/√m, 1/√m), biases 0.

    Args:
        hidden: widths of the hidden layers; () is softmax regression.

    Source: *Deep Learning*, chapter 6 and section 8.4 for the start; data of Alpaydin & Kaynak 1998.
    """
    model = mlp((64, *hidden, 10))
    return classifier(
        "digits_mlp",
        model,
        builtin.digits(),
        start=start(model.layout, lecun_uniform),
        target=Target("valid_accuracy", 0.95, "higher", "reached by SGD at rate 0.1 in 14 to 27 epochs"),
        batch_size=32,
        epochs=30,
    )


@problem(source="Romero et al. 2015; UCI digits", data="digits", embedded=True)
def digits_deep_mlp(
    depth: Count = 11, width: Count = 32, activation: Annotated[str, OneOf(("relu", "tanh"))] = "relu"
) -> Problem:
    """A thin deep perceptron on scikit-learn's 8 × 8 digits: ``depth`` weight layers, ReLU between them.

    Data as in ``digits_mlp``. Starts at weights N(0, 2/m), biases 0, which keeps the signal's size in
    a net of ReLU. Up to a thousand layers run; whether the deepest train is a matter of their start.

    Source: Romero et al. 2015, FitNets (thin nets of 11 to 19 layers); *Deep Learning*, section
    8.7.5; start of He et al. 2015.
    """
    model = mlp((64, *[width] * (depth - 1), 10), activation)
    return classifier(
        "digits_deep_mlp",
        model,
        builtin.digits(),
        start=start(model.layout, he_normal),
        target=Target("valid_accuracy", 0.93, "higher", "reached by Adam at rate 0.001 in the default budget"),
        batch_size=32,
        epochs=30,
    )


def _like_mnist(name: str, hidden: tuple[int, ...], valid: int, value: float, origin: str) -> Problem:
    """DeepOBS's mnist_mlp on any set of 28 × 28 images."""
    model = mlp((784, *hidden, 10))
    data = flattened(held_out(mnist_family.load(name), valid, f"{name}_mlp"))
    return classifier(
        f"{name}_mlp",
        model,
        test_drops_partial(data),
        start=start(model.layout, truncated_normal(0.03)),
        target=Target("valid_accuracy" if valid else "test_accuracy", value, "higher", origin),
        batch_size=128,
        epochs=10,
    )


@problem(source="DeepOBS mnist_mlp (Schneider et al. 2019)", data="mnist")
def mnist_mlp(hidden: Widths = (1000, 500, 100), valid: Natural = 0) -> Problem:
    """A perceptron with ReLU layers on MNIST: 784-1000-500-100-10 by default.

    Softmax cross-entropy, pixels/255. Starts at weights from a normal of σ = 0.03 truncated at
    2σ, biases 0. The test split drops its partial last batch. The source trains for 100 epochs, ten
    times the default here.

    Args:
        hidden: widths of the hidden layers.
        valid: the last so many of the 60000 training images become a validation split; the
            source has none.

    Source: DeepOBS (Schneider, Balles & Hennig 2019).
    """
    return _like_mnist("mnist", hidden, valid, 0.97, "reached by Adam at rate 0.001 in 3 epochs")


@problem(source="DeepOBS fmnist_mlp (Schneider et al. 2019)", data="fashion_mnist", aliases=("fmnist_mlp",))
def fashion_mnist_mlp(hidden: Widths = (1000, 500, 100), valid: Natural = 0) -> Problem:
    """``mnist_mlp`` on Fashion-MNIST, pictures of ten kinds of clothing.

    Args:
        hidden, valid: as for ``mnist_mlp``.

    Source: DeepOBS (Schneider, Balles & Hennig 2019); data of Xiao, Rasul & Vollgraf 2017.
    """
    return _like_mnist("fashion_mnist", hidden, valid, 0.87, UNCHECKED)


@problem(source="Clanuwat et al. 2018", data="kmnist")
def kmnist_mlp(hidden: Widths = (1000, 500, 100), valid: Natural = 0) -> Problem:
    """``mnist_mlp`` on Kuzushiji-MNIST, ten cursive Japanese characters.

    Args:
        hidden, valid: as for ``mnist_mlp``.

    Source: DeepOBS's mnist_mlp (Schneider et al. 2019); data of Clanuwat et al. 2018.
    """
    return _like_mnist("kmnist", hidden, valid, 0.9, UNCHECKED)


@problem(source="Deep Learning, chapter 6; Krizhevsky 2009", data="cifar10")
def cifar10_mlp(hidden: Widths = (512, 256), valid: Natural = 0) -> Problem:
    """A perceptron with ReLU layers on CIFAR-10: 3072-512-256-10 by default.

    Softmax cross-entropy; each colour standardized by the training images. Starts at weights
    N(0, 2/m), biases 0.

    Args:
        hidden: widths of the hidden layers.
        valid: the last so many of the 50000 training images become a validation split.

    Source: *Deep Learning*, chapter 6; data of Krizhevsky 2009; start of He et al. 2015.
    """
    model = mlp((3072, *hidden, 10))
    measure = "valid_accuracy" if valid else "test_accuracy"
    return classifier(
        "cifar10_mlp",
        model,
        held_out(flattened(cifar.standardized("cifar10", valid)), valid, "cifar10_mlp"),
        start=start(model.layout, he_normal),
        target=Target(measure, 0.5, "higher", "reached by SGD at rate 0.03 in 4 epochs"),
        batch_size=128,
        epochs=10,
    )
