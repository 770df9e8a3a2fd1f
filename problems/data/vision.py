"""torchvision, imported when something has to come from it: any of its image-classification sets by name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from problems.data import download, folders
from problems.data.splits import Splits
from problems.names import UsageError
from problems.problem import Data

if TYPE_CHECKING:
    from torch import Tensor


def datasets() -> Any:
    """The module ``torchvision.datasets``.

    Raises:
        UsageError: torchvision is missing, or does not belong to the torch beside it.
    """
    try:
        import torchvision.datasets as found
    except ImportError as error:
        raise UsageError(f"torchvision cannot be imported ({error}); pip install torchvision") from error
    except RuntimeError as error:  # such as "operator torchvision::nms does not exist"
        import torch

        raise UsageError(
            f"torchvision does not match torch {torch.__version__} ({error}); install two that belong together: "
            "pip install --force-reinstall torch torchvision, both from the same index"
        ) from error
    return found


@lru_cache(maxsize=2)
def load(name: str, variant: str = "") -> Splits:
    """The training and test part of a set that torchvision has, x [n, channels, h, w] in [0, 1], labels [n].

    Looked for where torchvision keeps it below ``SUITE_DATA`` and below the cache, in the
    folder itself or one named as the set; else torchvision downloads it into the cache.

    Args:
        name: a class of ``torchvision.datasets``, such as ``SVHN``.
        variant: the ``split`` of a set that has several, such as ``balanced`` for ``EMNIST``.

    Raises:
        DataMissing: not here, and torchvision could not download it.
        UsageError: no such set, not one for classification by image, or images of several sizes.
    """
    module = datasets()
    found = getattr(module, name, None)
    known = [n for n in module.__all__ if "root" in inspect.signature(getattr(module, n)).parameters]
    if found is None or name not in known:
        near = difflib.get_close_matches(name, known, n=2, cutoff=0.4)
        raise UsageError(
            f"torchvision has no set {name!r}; did you mean {' or '.join(near) or 'one of ' + str(known)}?"
        )
    train, test = (Data(_tensors(name, _opened(name, found, part, variant))) for part in ("train", "test"))
    return Splits(train, test=test)


def _opened(name: str, found: Any, part: str, variant: str) -> Any:
    """One part of a set, from the first folder that has it."""
    accepted = inspect.signature(found).parameters
    options: dict[str, Any] = {"train": part == "train"} if "train" in accepted else {"split": part}
    if variant:
        options["split"] = variant
    if not set(options) <= set(accepted):
        raise UsageError(f"torchvision's {name} has no training and test part to choose ({', '.join(accepted)})")
    tried = []
    for root, fetch in _roots(name, "download" in accepted):
        try:
            return found(root=str(root), **options, **({"download": True} if fetch else {}))
        except (RuntimeError, OSError) as error:  # not found, not complete, or not to be had
            tried.append(f"{root}: {str(error).splitlines()[0]}")
    raise folders.DataMissing(f"{name}: data not found; {'; '.join(tried)}. Set SUITE_DATA to a folder that has it")


def _roots(name: str, downloads: bool) -> Iterator[tuple[Any, bool]]:
    """Folders to try, and whether torchvision may download into them; the lock is held while it does."""
    for root in folders.roots():
        yield root, False
        yield root / name.lower(), False
    if downloads:
        with download.locked(folders.cache()):
            yield folders.cache(), True


def _tensors(name: str, part: Any) -> tuple[Tensor, Tensor]:
    import numpy as np
    import torch

    pictures, labels = zip(*(part[i] for i in range(len(part))), strict=True)
    arrays = [np.asarray(picture, dtype=np.uint8) for picture in pictures]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1 or not all(isinstance(label, int | np.integer) for label in labels):
        raise UsageError(f"{name}: needs images of one size with a class each, found sizes {sorted(shapes)[:3]}")
    pixels = torch.from_numpy(np.stack(arrays))
    channels_first = pixels.unsqueeze(1) if pixels.dim() == 3 else pixels.permute(0, 3, 1, 2)
    return channels_first.float().div_(255).contiguous(), torch.tensor([int(label) for label in labels])
