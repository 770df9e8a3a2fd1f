"""What data sets there are, where each is on this machine, and how to get it.

Importing this module and asking where things are does not import torch.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from problems.data import builtin, cifar, housing, mnist_family, text
from problems.data.download import Progress, on_stderr
from problems.names import UsageError


@dataclass(frozen=True)
class Source:
    """A data set by name.

    Args:
        summary: what it is, in one line.
        size: bytes to download; 0 for what ships with a dependency.
        locate: the folder or file that it is in, None where it is not on this machine.
        get: brings it into the cache and says where it is; None where there is nothing to fetch.
    """

    name: str
    summary: str
    size: int
    locate: Callable[[], Path | None]
    get: Callable[[Progress], Path] | None = None

    @property
    def needed_by(self) -> list[str]:
        """The names of the problems on it: those declared with ``@problem(data=name)``."""
        from problems.problem import problem

        return [entry.name for entry in problem if entry.meta.get("data") == self.name]

    def where(self) -> Path | None:
        """The folder or file that it is in; None where it is not on this machine. Never touches the network."""
        return self.locate()

    def fetch(self, progress: Progress = on_stderr) -> Path:
        """Bring it onto this machine unless it is there already, and say where it is.

        Args:
            progress: called with (file, bytes so far, bytes in all or 0 where not known).

        Raises:
            FetchFailed: no network, a wrong checksum, or no right to write into the cache.
            UsageError: it cannot be fetched, as it comes with a package.
        """
        present = self.where()
        if present is not None:
            return present
        if self.get is None:
            raise UsageError(f"{self.name}: cannot be fetched by itself; pip install scikit-learn brings it")
        return self.get(progress)


def _of_mnist_family(name: str, summary: str, size: int) -> Source:
    return Source(name, summary, size, partial(mnist_family.where, name), partial(mnist_family.fetch, name))


def _of_cifar(name: str, summary: str, size: int) -> Source:
    return Source(name, summary, size, partial(cifar.where, name), partial(cifar.fetch, name))


def catalog() -> list[Source]:
    """Every data set that a built-in problem reads from files, in alphabetical order."""
    return [
        Source(
            "california",
            "20640 districts of California, 1990: median house values",
            1_423_529,
            housing.where,
            housing.fetch,
        ),
        _of_cifar("cifar10", "60000 colour images of 32 x 32 pixels, 10 classes", 170_498_071),
        _of_cifar("cifar100", "60000 colour images of 32 x 32 pixels, 100 classes", 169_001_437),
        Source("digits", "1797 handwritten digits of 8 x 8 pixels, with scikit-learn", 0, builtin.digits_file),
        _of_mnist_family("fashion_mnist", "70000 pictures of clothing of 28 x 28 pixels", 30_878_645),
        _of_mnist_family("kmnist", "70000 cursive Japanese characters of 28 x 28 pixels", 20_926_713),
        _of_mnist_family("mnist", "70000 handwritten digits of 28 x 28 pixels", 11_594_722),
        Source("shakespeare", "tiny Shakespeare: 1115394 characters of plays", 1_115_394, text.where, text.fetch),
    ]


def source(name: str) -> Source:
    """The data set of a name.

    Raises:
        UsageError: there is none; known names are listed.
    """
    known = {found.name: found for found in catalog()}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        raise UsageError(f"unknown data set {name!r}; {hint}")
    return known[name]
