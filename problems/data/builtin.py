"""Data sets that ship with scikit-learn: nothing has to be downloaded."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from problems.data.splits import Splits, shuffled
from problems.names import UsageError

DIGITS = (1797, 65)


def digits_file() -> Path | None:
    """The table of handwritten digits inside the installed scikit-learn; None without scikit-learn."""
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"


@lru_cache
def digits(seed: int = 0) -> Splits:
    """Optical recognition of handwritten digits, test part (Alpaydin & Kaynak 1998; UCI): 1797 images of 8 × 8.

    Pixels [n, 64], counts of 0 … 16 divided by 16; labels [n] in 0 … 9. A permutation drawn
    from the seed gives 1197 training, 300 validation and 300 test images. As
    ``sklearn.datasets.load_digits``, whose file is read without importing scikit-learn, which
    takes longer than most trainings on it.

    Raises:
        UsageError: scikit-learn is not installed, or its file is not what it should be.
    """
    import numpy as np
    import torch

    file = digits_file()
    if file is None or not file.is_file():
        raise UsageError(f"digits: scikit-learn's data file is missing ({file}); pip install scikit-learn")
    table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    if table.shape != DIGITS:
        raise UsageError(f"digits: {file} must hold a table of {DIGITS}, found {table.shape}; reinstall scikit-learn")
    images, labels = torch.from_numpy(table[:, :-1] / 16), torch.from_numpy(table[:, -1].astype(np.int64))
    return shuffled((images, labels), valid=300, test=300, seed=seed)
