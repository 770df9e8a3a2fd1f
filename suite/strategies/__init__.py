"""Strategies: optimizers made of optimizers."""
