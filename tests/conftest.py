"""Settings of all tests. Since it lies here, pytest lets tests import ``oracles`` and the like from this folder."""

from __future__ import annotations

import hypothesis
import pytest
import torch

# A busy machine makes any example slow now and then, which says nothing of the code.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")
torch.set_num_threads(1)  # results must not depend on the machine, and the tests are small


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thorough", action="store_true", help="also what takes many minutes, as all claims do")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes many minutes unless it is asked for."""
    left_out = [item for item in items if item.get_closest_marker("thorough") and not config.getoption("--thorough")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
