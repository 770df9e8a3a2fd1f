"""Problems on any data set of the Hugging Face hub or of torchvision."""

from __future__ import annotations

from problems.bounds import Natural, Widths
from problems.data import hugging_face, vision
from problems.data.splits import Splits, flattened, held_out
from problems.models import Model, classifier, cnn_2c2d, mlp, regressor
from problems.names import UsageError
from problems.problem import Problem, problem
from problems.starts import Draw, he_normal, start, truncated_normal


def _classes(data: Splits) -> int:
    return 1 + max(int(part.tensors[1].max()) for part in data if part is not None)


@problem(source="the user's data set")
def hub_mlp(
    dataset: str,
    inputs: str = "image",
    target: str = "label",
    hidden: Widths = (128, 64),
    config: str = "",
    limit: Natural = 0,
    data_seed: Natural = 0,
) -> Problem:
    """A perceptron with ReLU layers on a set of the Hugging Face hub or a local parquet, CSV or JSON file.

    Softmax cross-entropy where the target is a class, squared error of the standardized target
    where it is a fraction (``problems.data.hugging_face.load`` says what columns become). Starts
    at weights N(0, 2/m), biases 0.

    Args:
        dataset: a name on the hub such as 'ylecun/mnist', or a file.
        inputs: columns, separated by commas: one of images, or any of numbers.
        target: the column to predict.
        hidden: widths of the hidden layers.
        config: the hub's name for a variant of the set.
        limit: read only so many examples of each part, as a stream; 0 for all.

    Source: the data set; *Deep Learning*, chapter 6; start of He et al. 2015.
    """
    data = flattened(hugging_face.load(dataset, inputs, target, config, limit, data_seed))
    x, y = data.train.tensors
    outputs = 1 if y.is_floating_point() else _classes(data)
    model = mlp((x.shape[1], *hidden, outputs))
    make = regressor if y.is_floating_point() else classifier
    return make(
        "hub_mlp", model, data, start=start(model.layout, he_normal), batch_size=min(64, len(data.train)), epochs=10
    )


def _of_torchvision(name: str, model: Model, data: Splits, valid: int, draw: Draw) -> Problem:
    return classifier(
        name,
        model,
        held_out(data, valid, name),
        start=start(model.layout, draw),
        batch_size=min(128, len(data.train)),
        epochs=10,
    )


@problem(source="torchvision's data set")
def vision_mlp(dataset: str, hidden: Widths = (256, 128), variant: str = "", valid: Natural = 0) -> Problem:
    """A perceptron with ReLU layers on any image-classification set that torchvision has.

    Softmax cross-entropy, pixels/255. Starts at weights N(0, 2/m), biases 0.

    Args:
        dataset: a class of ``torchvision.datasets``, such as SVHN.
        hidden: widths of the hidden layers.
        variant: its ``split``, where it has several kinds, such as balanced for EMNIST.
        valid: the last so many of the training images become a validation split.

    Source: the data set; *Deep Learning*, chapter 6; start of He et al. 2015.
    """
    data = flattened(vision.load(dataset, variant))
    model = mlp((data.train.tensors[0].shape[1], *hidden, _classes(data)))
    return _of_torchvision("vision_mlp", model, data, valid, he_normal)


@problem(source="torchvision's data set; DeepOBS 2c2d (Schneider et al. 2019)")
def vision_2c2d(dataset: str, variant: str = "", valid: Natural = 0) -> Problem:
    """The net of ``mnist_2c2d`` on any set of square images that torchvision has.

    Args:
        dataset, variant, valid: as for ``vision_mlp``; the images' side must be a multiple of 4.

    Source: the data set; DeepOBS (Schneider, Balles & Hennig 2019) for the net and its start.
    """
    data = vision.load(dataset, variant)
    channels, height, width = data.train.tensors[0].shape[1:]
    if height != width or height % 4:
        found = f"{dataset} has {height} × {width}"
        raise UsageError(f"vision_2c2d: images must be square with a side divisible by 4, {found}")
    model = cnn_2c2d(channels, height, _classes(data))
    return _of_torchvision("vision_2c2d", model, data, valid, truncated_normal(0.05))
