"""Results as two tidy tables.

``runs`` has one row per run: its settings (``problem``, ``optimizer`` and ``initializer`` by
name, each setting of theirs in a column such as ``optimizer.lr``, the full text in
``optimizer_text``), ``status``, ``detail``, the columns of its summary, what it ran on
(``environment.processor``, …), and whether it is ``superseded``: another has its settings, by the definitions
as they are now. ``traces`` has one row per measurement: ``run``, ``step``,
``measure``, ``value``. ``run`` is the run's identity and joins the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from problems.names import Spec, parse

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_SPECS = ("problem", "optimizer", "initializer")


def traces_frame(tables: Mapping[str, pa.Table]) -> pd.DataFrame:
    """The table of measurements, of the runs' traces by identity; ``run`` and ``measure`` are categories."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    if not tables:
        columns = {"run": "category", "step": "int64", "measure": "category", "value": "float64"}
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns.items()})
    lengths = [table.num_rows for table in tables.values()]
    index = pa.array(np.repeat(np.arange(len(tables), dtype=np.int32), lengths))
    run = pa.DictionaryArray.from_arrays(index, pa.array(list(tables)))
    whole = pa.concat_tables(table.replace_schema_metadata(None) for table in tables.values())
    return whole.add_column(0, "run", run).unify_dictionaries().to_pandas()


def row(record: Mapping[str, Any]) -> dict[str, Any]:
    """One row of the table of runs, of a record as ``Result.to_dict`` makes it."""
    settings = dict(record["run"])
    found = {"run": settings.pop("id")}
    texts = {key: settings.pop(key) for key in _SPECS}
    specs = {key: parse(text) for key, text in texts.items()}
    found |= {key: outline(spec) for key, spec in specs.items()}
    found |= settings
    found |= {"status": record["status"], "detail": record["detail"]}
    found |= record["summary"]
    for key, spec in specs.items():
        found |= _columns(key, spec)
    found |= {f"{key}_text": text for key, text in texts.items()}
    return found | {f"environment.{key}": value for key, value in record["environment"].items()}


def outline(spec: Spec) -> str:
    """The names in a spec without their settings: ``polyak(adam)``, ``sgd(linear)``."""
    inner = [outline(value) for value in (*spec.args, *spec.options.values()) if isinstance(value, Spec)]
    return f"{spec.name}({', '.join(inner)})" if inner else spec.name


def _columns(prefix: str, spec: Spec) -> dict[str, Any]:
    """Every setting by its path: ``optimizer.lr``, or ``optimizer.optimizer.lr`` inside a strategy."""
    found: dict[str, Any] = {}
    for key, value in spec.kwargs:
        path = f"{prefix}.{key}"
        found |= {path: outline(value), **_columns(path, value)} if isinstance(value, Spec) else {path: value}
    return found
