"""The figure of ``python -m suite trace``: a panel for each kind of measurement, and one for the evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from analysis.figures import Chart, Palette, beside, traces

if TYPE_CHECKING:
    import pandas as pd

TOGETHER = {  # measures that are to be held against each other: the panel's title, and the name of each there
    "first_order": ("change of the loss by a step", "εgᵀg"),
    "second_order": ("change of the loss by a step", "½ε²gᵀHg"),
    "gradient_variance": ("variance of gradients", "of examples"),
    "minibatch_variance": ("variance of gradients", "of minibatches"),
    "gradient_norm_mean": ("gradient norm", "running mean"),
    "distance": ("way from the start", "distance"),
    "path_length": ("way from the start", "length of the way"),
}
IN_OTHERS = {"gTg": "first_order", "gTHg": "second_order"}  # not drawn where these are, which they differ from by ε


def trace_chart(table: pd.DataFrame, name: str, window: int, title: str) -> Chart:
    """Every kind of measure over steps, each measurement a dot, with a running mean over ``window`` steps.

    Args:
        table: as ``suite.trace_command.frame`` gives it; the seeds' measurements are drawn together.
        name: of the only line of a panel.
    """
    panels = [_panel(head, own, name, window) for head, own in _panels(table, name)]
    return beside("trace", title, panels, columns=min(3, len(panels)), size=(5.0, 3.3))


def _panels(table: pd.DataFrame, name: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """The title of each panel, and its rows with the name of their ``line``."""
    measures = list(dict.fromkeys(table["measure"][table["probed"]]))
    heads: dict[str, list[tuple[str, str]]] = {}
    for measure in measures:
        kind, _, piece = measure.partition("/")
        if IN_OTHERS.get(kind) in measures:
            continue
        head, line = TOGETHER.get(kind, (kind.replace("_", " "), name))
        heads.setdefault(head, []).append((measure, piece or line))
    for head, lines in heads.items():
        named = dict(lines)
        own = table[table["measure"].isin(named)]
        yield head, own.assign(line=own["measure"].map(named))
    yield from _evaluation(table, name)


def _evaluation(table: pd.DataFrame, name: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """The error of the validation split, or of the test split without one; the loss where nothing is classified."""
    splits = {"valid": "validation", "test": "test", "train": "training"}
    for kind in ("accuracy", "loss"):
        for split, said in splits.items():
            own = table[table["measure"] == f"{split}_{kind}"]
            if own.empty:
                continue
            own = own.groupby("step", as_index=False)["value"].mean().assign(line=name)
            yield (f"{said} error", own.assign(value=1 - own["value"])) if kind == "accuracy" else (f"{said} loss", own)
            return


def _panel(head: str, own: pd.DataFrame, name: str, window: int) -> Chart:
    lines = list(dict.fromkeys(own["line"]))
    per_step = max(1.0, len(own) / len(lines) / max(1, own["step"].nunique()))
    apart = max(1, int(own["step"].max()) / max(1, own["step"].nunique() - 1))
    wide = max(1, round(window / apart * per_step))
    return traces(own, measure=head, by="line", title=head.capitalize(), window=wide, palette=Palette(lines))
