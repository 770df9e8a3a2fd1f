"""torchvision, imported when something has to come from it."""

from __future__ import annotations

from typing import Any

from problems.names import UsageError


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
