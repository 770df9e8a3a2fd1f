"""Problems on any data set of the Hugging Face hub or of torchvision."""

from __future__ import annotations

from problems.bounds import Count, Natural, Real, Widths
from problems.data import cifar, hugging_face, mnist_family, text, vision
from problems.data.splits import Splits, flattened, held_out
from problems.families.recurrent import characters
from problems.models import Model, classifier, cnn_2c2d, mlp, regressor
from problems.names import UsageError
from problems.problem import Problem, problem
from problems.starts import Draw, he_normal, start, truncated_normal


def _classes(data: Splits) -> int:
    return 1 + max(int(part.tensors[1].max()) for part in data if part is not None)


@problem(source="the user's data set", changes=True)
def hub_mlp(
    dataset: str,
    inputs: str = "image",
    target: str = "label",
    hidden: Widths = (128, 64),
    config: str = "",
    limit: Natural = 0,
    data_seed: Natural = 0,
) -> Problem:
    """A perceptron with ReLU layers on a set of the Hugging Face hub, a parquet, CSV or JSON file or images in folders.

    Softmax cross-entropy where the target is a class, squared error of the standardized target
    where it is a fraction (``problems.data.hugging_face.load`` says what columns become). Starts
    at weights N(0, 2/m), biases 0.

    Args:
        dataset: a name on the hub such as 'ylecun/mnist', a file, or a folder with one of images for each class.
        inputs: columns, separated by commas: one of images, or any of numbers and texts.
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


@problem(source="the user's data set; DeepOBS char-RNN (Schneider et al. 2019)", changes=True)
def hub_lstm(
    dataset: str,
    inputs: str = "text",
    length: Count = 50,
    embedding: Count = 128,
    hidden: Count = 128,
    depth: Count = 2,
    forget_bias: Real = 1.0,
    carry: bool = True,
    config: str = "",
    limit: Natural = 0,
) -> Problem:
    """``shakespeare_lstm`` on a column of text of a set of the Hugging Face hub, or of a local file.

    The rows of each part are joined by line breaks.

    Args:
        dataset: a name on the hub such as 'karpathy/tiny_shakespeare', or a .parquet, .arrow, .csv,
            .json, .jsonl or .txt file.
        inputs: the column of text; of a .txt file it is text.
        length, embedding, hidden, depth, forget_bias, carry: as for ``shakespeare_lstm``.
        config: the hub's name for a variant of the set.
        limit: read only so many rows of each part, as a stream; 0 for all.

    Source: the data set; DeepOBS's tolstoi_char_rnn (Schneider, Balles & Hennig 2019) in architecture.
    """
    data = text.cut(dataset, hugging_face.texts(dataset, inputs, config, limit), length)
    net = {"embedding": embedding, "hidden": hidden, "depth": depth, "forget_bias": forget_bias, "carry": carry}
    return characters("hub_lstm", data, None, **net)


def _images(dataset: str, variant: str) -> Splits:
    """A set by torchvision's name, by a reader of our own where there is one: that also reads compressed files."""
    idx = {theirs: name for name, theirs in mnist_family.NAMES.items()}
    if dataset in idx and not variant:
        return mnist_family.load(idx[dataset])
    pickled = {known.theirs: name for name, known in cifar.SETS.items()}
    if dataset in pickled and not variant:
        return cifar.load(pickled[dataset])
    return vision.load(dataset, variant)


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
    data = flattened(_images(dataset, variant))
    model = mlp((data.train.tensors[0].shape[1], *hidden, _classes(data)))
    return _of_torchvision("vision_mlp", model, data, valid, he_normal)


@problem(source="torchvision's data set; DeepOBS 2c2d (Schneider et al. 2019)")
def vision_2c2d(dataset: str, variant: str = "", valid: Natural = 0) -> Problem:
    """The net of ``mnist_2c2d`` on any set of square images that torchvision has.

    Args:
        dataset, variant, valid: as for ``vision_mlp``; the images' side must be a multiple of 4.

    Source: the data set; DeepOBS (Schneider, Balles & Hennig 2019) for the net and its start.
    """
    data = _images(dataset, variant)
    channels, height, width = data.train.tensors[0].shape[1:]
    if height != width or height % 4:
        found = f"{dataset} has {height} × {width}"
        raise UsageError(f"vision_2c2d: images must be square with a side divisible by 4, {found}")
    model = cnn_2c2d(channels, height, _classes(data))
    return _of_torchvision("vision_2c2d", model, data, valid, truncated_normal(0.05))
