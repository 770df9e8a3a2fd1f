"""Settings of all tests. Since it lies here, pytest lets tests import ``oracles`` and the like from this folder."""

from __future__ import annotations

import torch

torch.set_num_threads(1)  # results must not depend on the machine, and the tests are small
