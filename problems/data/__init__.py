"""Where examples come from: one adapter per source, all of which end as tensors.

Nothing here imports torch before data are asked for.
"""
