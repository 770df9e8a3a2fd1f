"""Settings of all tests. Since it lies here, pytest lets tests import ``oracles`` and the like from this folder."""

from __future__ import annotations

import hypothesis
import torch

# A busy machine makes any example slow now and then, which says nothing of the code.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")
torch.set_num_threads(1)  # results must not depend on the machine, and the tests are small
