"""California housing: a table of the 1990 census."""

from __future__ import annotations

import csv
import io
from functools import lru_cache
from pathlib import Path

from problems.data import download, folders, tables
from problems.data.splits import Splits

NAME, FILE, PLACES = "california", "housing.csv", ("california-housing", "california")
TARGET, CATEGORY = "median_house_value", "ocean_proximity"
KINDS = ("<1H OCEAN", "INLAND", "ISLAND", "NEAR BAY", "NEAR OCEAN")
REMOTE = download.Remote(
    FILE,
    ("https://raw.githubusercontent.com/ageron/handson-ml/master/datasets/housing/housing.csv",),
    "d1c47305887e2252bf1ccbd74ff159a6",
)


def where() -> Path | None:
    """The folder that the table is in; None where it is not on this machine."""
    found = folders.find([FILE], PLACES)
    return None if found is None else found[FILE].parent


def fetch(progress: download.Progress = download.on_stderr) -> Path:
    """Download the table into the cache; the folder it is in.

    Raises:
        FetchFailed: no network, a wrong checksum, or no right to write.
    """
    folder = folders.cache() / PLACES[0]
    download.fetch([REMOTE], folder, progress)
    return folder


@lru_cache
def load(seed: int = 0) -> Splits:
    """Inputs [n, 13] and targets [n, 1], all standardized by the training part.

    The eight numbers of each district and five indicators of its distance to the ocean; the
    target is the median house value. Districts without a number of bedrooms (207) are left out:
    20433 remain, 70 % for training, 15 % each for validation and test, by the seed.

    Source: Pace & Barry 1997, in the form of Géron's *Hands-On Machine Learning*.

    Raises:
        DataMissing: not here, and it could not be fetched.
        DataDamaged: the table is not what it should be.
    """
    import numpy as np

    path = folders.present_or_fetched(NAME, [FILE], PLACES, lambda name: fetch())[FILE]
    lines = list(csv.DictReader(io.StringIO(folders.contents(path).decode(errors="replace"))))
    if not lines or not {TARGET, CATEGORY} <= set(lines[0]):
        raise folders.damaged(path, f"needs a header line with {TARGET} and {CATEGORY}, and rows")
    numbers = [name for name in lines[0] if name not in (TARGET, CATEGORY)]
    x, y = [], []
    for i, line in enumerate(lines, 1):
        if any(line[name] == "" for name in numbers):
            continue
        if line[CATEGORY] not in KINDS:
            raise folders.damaged(
                path, f"row {i}: {CATEGORY} must be one of {', '.join(KINDS)}, got {line[CATEGORY]!r}"
            )
        row = [tables.number(path, line[name], f"row {i}, column {name!r}") for name in (*numbers, TARGET)]
        x.append(row[:-1] + [float(line[CATEGORY] == kind) for kind in KINDS])
        y.append(row[-1])
    inputs, values = np.array(x), np.array(y)
    tables.need_finite(path, inputs, values)
    return tables.divided(NAME, inputs, values, classes=False, seed=seed)
