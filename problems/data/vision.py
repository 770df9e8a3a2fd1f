"""torchvision, imported when something has to come from it: any of its image-classification sets by name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from problems.data import download, folders
from problems.data.silence import unheard
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
        hint = f"did you mean {' or '.join(near)}?" if near else "its classes are named, such as SVHN"
        folder = f"; a folder of images is read by hub_mlp({name!r})" if Path(name).is_dir() else ""
        raise UsageError(f"torchvision has no set {name!r}; {hint}{folder}")
    train, test = (Data(_tensors(name, _opened(name, found, part, variant))) for part in ("train", "test"))
    return Splits(train, test=test)


def _opened(name: str, found: Any, part: str, variant: str) -> Any:
    """One part of a set, from the first folder that has it."""
    accepted = _settings(found)
    options: dict[str, Any] = {"train": part == "train"} if "train" in accepted else {"split": part}
    if variant:
        options["split"] = variant
    elif "train" in accepted and "split" in accepted:
        raise UsageError(f"{name}: has several kinds; say which as variant, one of {', '.join(found.splits)}")
    if not set(options) <= set(accepted):
        raise UsageError(
            f"torchvision's {name} has no training and test part to choose ({', '.join(sorted(accepted))})"
        )
    tried = []
    for root, fetch in _roots(name, "download" in accepted):
        try:
            with unheard():
                return found(root=str(root), **options, **({"download": True} if fetch else {}))
        except ValueError as error:  # such as an unknown variant
            raise UsageError(f"{name}: {error}") from error
        except (RuntimeError, OSError) as error:  # not found, not complete, or not to be had
            tried.append(f"{root}: {str(error).splitlines()[0]}")
    raise folders.DataMissing(f"{name}: data not found; {'; '.join(tried)}. Set SUITE_DATA to a folder that has it")


def _settings(found: Any) -> set[str]:
    """The names of what a class can be given, those included that it hands on to its base by ``**kwargs``."""
    names: set[str] = set()
    for kind in found.__mro__ if inspect.isclass(found) else (found,):
        parameters = inspect.signature(kind).parameters.values()
        names |= {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
        if not any(p.kind == p.VAR_KEYWORD for p in parameters):
            break
    return names


def _roots(name: str, downloads: bool) -> Iterator[tuple[Any, bool]]:
    """Folders to try, and whether torchvision may download into them; the lock is held while it does."""
    for root in folders.roots():
        yield root, False
        yield root / name.lower(), False
    if downloads:
        with download.locked(folders.cache()):
            yield folders.cache(), True


def _tensors(name: str, part: Any) -> tuple[Tensor, Tensor]:
    """The images of a part as floats, filled in one by one into a tensor that is allocated once, and their classes."""
    import numpy as np
    import torch

    if not len(part):
        raise UsageError(f"{name}: has no images")
    first = np.asarray(part[0][0], dtype=np.uint8)
    whole = torch.empty(len(part), *((1, *first.shape) if first.ndim == 2 else (first.shape[2], *first.shape[:2])))
    labels = torch.empty(len(part), dtype=torch.int64)
    for i in range(len(part)):
        picture, label = part[i]
        pixels = np.array(picture, dtype=np.uint8)
        if pixels.shape != first.shape:
            raise UsageError(f"{name}: needs images of one size, found {first.shape} and {pixels.shape}")
        if not isinstance(label, int | np.integer):
            raise UsageError(f"{name}: needs images with a class each, found the target {label!r}")
        whole[i] = torch.from_numpy(pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1))
        labels[i] = int(label)
    return whole.div_(255), labels
