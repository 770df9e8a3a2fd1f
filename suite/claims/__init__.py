"""What chapter 8 says, as experiments that may find otherwise."""

from suite.claims.base import Experiment, Observation, claim, exactly, share, typical

__all__ = ["Experiment", "Observation", "claim", "exactly", "share", "typical"]
