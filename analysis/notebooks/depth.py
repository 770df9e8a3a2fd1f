# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Initialization and depth
#
# A signal that passes through many layers is multiplied many times. If each layer shrinks it a little, a deep network hears
# nothing of its input, and its first layers nothing of the loss (*Deep Learning*, section 8.4). How deep can one go before the start
# decides everything? Two widths of hidden layers, shallow and deep, from several starts:
#
# ```sh
# python -m suite compare --problems "digits_mlp(hidden=(16,)), digits_mlp(hidden=(16,16,16,16,16,16))" \
#     --optimizers momentum --initializers default,glorot_normal,he_normal,orthogonal
# ```
#
# Where depth is a setting of the problem, as in `linear_net(depth=30)` or `digits_deep_mlp(depth=19)`, the report sets
# problems of all depths side by side, and `python -m suite table scaling` prints them.

# %%
import os

import pandas as pd

import suite
from analysis import figures

RESULTS = os.environ.get("SUITE_RESULTS", "results")
runs, traces = suite.load(RESULTS)
comparison = next(
    c
    for c in suite.load_comparisons(RESULTS)
    if all(p["problem"].startswith("digits_mlp(hidden") for p in c["problems"])
)
rows = pd.DataFrame(comparison["rows"])
rows["depth"] = rows["problem"].str.extract(r"hidden=\(([^)]*)\)")[0].str.strip(",").str.split(",").str.len()
rows["accuracy"] = [row["test_accuracy"]["value"] for row in rows["final"]]
rows.pivot(index="initializer", columns="depth", values="accuracy")

# %% [markdown]
# ## Starts against depth
#
# Every cell has been tuned by itself: a bad start is not being punished with the learning rate of a good one.

# %%
cells = rows.assign(
    median=rows["accuracy"],
    low=[row["test_accuracy"]["low"] for row in rows["final"]],
    high=[row["test_accuracy"]["high"] for row in rows["final"]],
    depth=rows["depth"].astype(str) + " hidden",
)
figures.heat_map(cells, rows="initializer", columns="depth", better="higher", title="Final test accuracy")

# %% [markdown]
# ## The first steps
#
# What a start does shows at once. The deep network's training loss, step by step:

# %%
deep = rows[rows["depth"] == rows["depth"].max()]
named = {run: row["initializer"] for row in deep.to_dict("records") for run in row["runs"]}
course = traces[traces["run"].isin(list(named)) & (traces["measure"] == "train_loss")].astype({"run": str})
course = course.assign(optimizer=course["run"].map(named)).groupby(["optimizer", "step"])["value"]
curves = course.agg(median="median", low="min", high="max", n="size").reset_index()
figures.learning_curves(curves, measure="train_loss", title=f"{rows['depth'].max()} hidden layers")

# %% [markdown]
# ## Finding

# %%
table = rows.pivot(index="initializer", columns="depth", values="accuracy")
shallow, deepest = table.columns.min(), table.columns.max()
spread = table.max() - table.min()
best, worst = table[deepest].idxmax(), table[deepest].idxmin()
print(
    f"With {shallow} hidden layer the choice of the start moves the tuned test accuracy by {spread[shallow]:.3f}, with {deepest} by "
    f"{spread[deepest]:.3f}. At {deepest} layers {best} reaches {table.loc[best, deepest]:.3f} and {worst} {table.loc[worst, deepest]:.3f}."
)
