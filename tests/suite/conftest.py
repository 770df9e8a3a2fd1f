"""One thread, as the engine trains with: a run's bits depend on nothing else."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """Calibrations and compiled chains of the tests go to a folder of their own."""
    patch = pytest.MonkeyPatch()
    patch.setenv("SUITE_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()
