"""Convolutional nets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from problems.bounds import Count, Natural, NonNegative
from problems.data import cifar, mnist_family
from problems.data.splits import held_out, test_drops_partial
from problems.layout import Piece
from problems.models import classifier, cnn_2c2d, cnn_3c3d, resnet
from problems.problem import UNCHECKED, Pieces, Problem, Target, problem
from problems.starts import glorot_normal, glorot_uniform, he_normal, start, truncated_normal

if TYPE_CHECKING:
    from torch import Generator, Tensor


def _measure(valid: int) -> str:
    return "valid_accuracy" if valid else "test_accuracy"


def _2c2d(name: str, valid: int, value: float, origin: str) -> Problem:
    """DeepOBS's mnist_2c2d on any set of 28 × 28 images."""
    model = cnn_2c2d(channels=1, side=28, classes=10)
    return classifier(
        f"{name}_2c2d",
        model,
        test_drops_partial(held_out(mnist_family.load(name), valid, f"{name}_2c2d")),
        start=start(model.layout, truncated_normal(0.05)),
        target=Target(_measure(valid), value, "higher", origin),
        batch_size=128,
        epochs=10,
    )


@problem(source="DeepOBS mnist_2c2d (Schneider et al. 2019)", data="mnist")
def mnist_2c2d(valid: Natural = 0) -> Problem:
    """Two convolutions and two dense layers on MNIST.

    conv 5×5-32, max-pool 2, conv 5×5-64, max-pool 2, 3136-1024-10, ReLU, convolutions that keep
    the size; softmax cross-entropy, pixels/255. Starts at weights from a normal of σ = 0.05
    truncated at 2σ, biases 0.05. The test split drops its partial last batch. The source trains for 100
    epochs, ten times the default here.

    Args:
        valid: the last so many of the 60000 training images become a validation split; the
            source has none.

    Source: DeepOBS (Schneider, Balles & Hennig 2019).
    """
    return _2c2d("mnist", valid, 0.985, "reached by Adam at rate 0.001 in 2 epochs")


@problem(source="DeepOBS fmnist_2c2d (Schneider et al. 2019)", data="fashion_mnist", aliases=("fmnist_2c2d",))
def fashion_mnist_2c2d(valid: Natural = 0) -> Problem:
    """``mnist_2c2d`` on Fashion-MNIST, pictures of ten kinds of clothing.

    Args:
        valid: as for ``mnist_2c2d``.

    Source: DeepOBS (Schneider, Balles & Hennig 2019); data of Xiao, Rasul & Vollgraf 2017.
    """
    return _2c2d("fashion_mnist", valid, 0.9, UNCHECKED)


@problem(source="Clanuwat et al. 2018", data="kmnist")
def kmnist_2c2d(valid: Natural = 0) -> Problem:
    """``mnist_2c2d`` on Kuzushiji-MNIST, ten cursive Japanese characters.

    Args:
        valid: as for ``mnist_2c2d``.

    Source: DeepOBS's mnist_2c2d (Schneider et al. 2019); data of Clanuwat et al. 2018.
    """
    return _2c2d("kmnist", valid, 0.95, UNCHECKED)


def glorot_by_layer(weight: Tensor, piece: Piece, generator: Generator) -> None:
    """Glorot normal for convolutions, Glorot uniform for dense layers."""
    draw = glorot_normal if len(piece.shape) == 4 else glorot_uniform
    draw(weight, piece, generator)


def _3c3d(name: str, classes: int, decay: float, valid: int, value: float, origin: str) -> Problem:
    model = cnn_3c3d(classes)
    weights = [piece.name for piece in model.layout if piece.role == "weight"]

    def penalty(pieces: Pieces) -> Tensor:
        squares = [pieces[weight].square().sum() for weight in weights]
        return 0.5 * decay * sum(squares[1:], squares[0])

    return classifier(
        f"{name}_3c3d",
        model,
        held_out(cifar.standardized(name, valid), valid, f"{name}_3c3d"),
        penalty=penalty if decay else None,
        start=start(model.layout, glorot_by_layer),
        target=Target(_measure(valid), value, "higher", origin),
        batch_size=128,
        epochs=100,
    )


@problem(source="DeepOBS cifar10_3c3d (Schneider et al. 2019)", data="cifar10")
def cifar10_3c3d(decay: NonNegative = 0.002, valid: Natural = 0) -> Problem:
    """Three convolutions and three dense layers on CIFAR-10.

    conv 5×5-64, conv 3×3-96, both without padding, conv 3×3-128 that keeps the size, each
    followed by max-pool 3 with stride 2, then 1152-512-256-10; ReLU. Softmax cross-entropy
    + ½·decay·Σ‖W‖² over all weights. Starts at Glorot normal convolutions, Glorot uniform dense
    layers, biases 0.

    Each colour is standardized by the training images, where the source standardizes each image by
    itself, and there is no augmentation, where the source crops, flips, and changes brightness,
    saturation and contrast at random.

    Args:
        valid: the last so many of the 50000 training images become a validation split.

    Source: DeepOBS (Schneider, Balles & Hennig 2019).
    """
    return _3c3d("cifar10", 10, decay, valid, 0.7, "reached by Adam at rate 0.0003 in 4 epochs")


@problem(source="DeepOBS cifar100_3c3d (Schneider et al. 2019)", data="cifar100")
def cifar100_3c3d(decay: NonNegative = 0.002, valid: Natural = 0) -> Problem:
    """``cifar10_3c3d`` on the hundred classes of CIFAR-100.

    Args:
        decay, valid: as for ``cifar10_3c3d``.

    Source: DeepOBS (Schneider, Balles & Hennig 2019).
    """
    return _3c3d("cifar100", 100, decay, valid, 0.35, UNCHECKED)


@problem(source="He et al. 2016; De & Smith 2020", data="cifar10")
def cifar10_resnet(blocks: Count = 1, width: Count = 16, skip: bool = True, valid: Natural = 0) -> Problem:
    """A small residual net on CIFAR-10: 6·blocks + 2 layers of 16, 32 and 64 channels.

    Identity shortcuts, before-activation order, and a scalar α on every residual branch that
    starts at 1/√(3·blocks) in place of normalization. Starts at weights N(0, 2/m), biases 0. Each colour
    is standardized by the training images; no augmentation.

    Args:
        blocks: pairs of convolutions in each of the three stages; 2 and 3 give 14 and 20 layers.
        width: channels in the first stage; the second and the third have twice and four times as many.
        skip: False leaves the shortcuts (and α) out, for comparison.
        valid: the last so many of the 50000 training images become a validation split.

    Source: He et al. 2016 (architecture); De & Smith 2020 (α); *Deep Learning*, section 8.7.5.
    """
    model = resnet(10, blocks, (width, 2 * width, 4 * width), skip=skip)
    return classifier(
        "cifar10_resnet",
        model,
        held_out(cifar.standardized("cifar10", valid), valid, "cifar10_resnet"),
        start=start(model.layout, he_normal),
        target=Target(_measure(valid), 0.65, "higher", "reached by Adam at rate 0.003 in 4 epochs"),
        batch_size=128,
        epochs=50,
    )
