"""Probes: what is measured along training, and at which steps, found by name."""

from suite.probes.base import Probe, Seen, When, probe

__all__ = ["Probe", "Seen", "When", "probe"]
