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
# # Time to target on two machines
#
# Which optimizer is quickest depends on what a step costs, and that depends on the machine; how many steps it takes does
# not. So the two are measured apart and multiplied. The runs come from a comparison, the prices from `cost`, run once on each
# machine into the same folder:
#
# ```sh
# python -m suite compare --problems digits_mlp,linear_regression --optimizers sgd,momentum,adam
# python -m suite cost digits_mlp sgd,momentum,adam
# ```

# %%
import os

import pandas as pd

import suite
from analysis import figures
from analysis.statistics import time_to_target, times_to_target

RESULTS = os.environ.get("SUITE_RESULTS", "results")
runs, traces = suite.load(RESULTS)
costs = suite.load_costs(RESULTS)
costs[["optimizer", "environment.processor", "environment.threads", "seconds", "spread"]]

# %% [markdown]
# ## Pricing the curves
#
# `suite.price` multiplies each trace's steps by what one costs, on every machine that has a price for it.

# %%
comparison = next(c for c in suite.load_comparisons(RESULTS) if "digits_mlp" in {p["problem"] for p in c["problems"]})
rows = [r for r in comparison["rows"] if r["problem"] == "digits_mlp" and r["initializer"] == "default"]
named = {run: row["optimizer"] for row in rows for run in row["runs"]}
own = runs[runs["run"].isin(list(named))]
priced = suite.price(traces[traces["run"].isin(list(named))], costs, own)
priced["optimizer"] = priced["run"].map(named)
machines = sorted(priced["machine"].unique())
machines

# %% [markdown]
# ## Runs that never arrive
#
# The target is a validation accuracy, and not every run reaches it before its budget ends. Such a run is *censored*: it
# would have needed longer than it had. To leave it out would flatter the optimizer that fails most often, so the median is
# Kaplan and Meier's, who met the same question with patients.

# %%
target = next(p for p in comparison["problems"] if p["problem"] == "digits_mlp")["target"]
level = traces[traces["run"].isin(list(named)) & (traces["measure"] == target["measure"])]["value"].quantile(0.6)
level = min(target["value"], float(level))  # short budgets reach less
found = []
for machine in machines:
    on = priced[priced["machine"] == machine]
    times = times_to_target(on, target["measure"], level, target["better"], clock="seconds")
    times["optimizer"] = times.index.map(named)
    for name, group in times.groupby("optimizer"):
        estimate = time_to_target(group["time"].to_numpy(), group["reached"].to_numpy())
        found.append({"machine": machine, "optimizer": name, "reached": int(group["reached"].sum()), **vars(estimate)})
table = pd.DataFrame(found)
table

# %% [markdown]
# ## The same curves, two clocks

# %%
medians = priced[priced["measure"] == target["measure"]].groupby(["machine", "optimizer", "step"])
medians = medians.agg(median=("value", "median"), seconds=("seconds", "median"), n=("value", "size")).reset_index()
medians = medians.assign(low=float("nan"), high=float("nan"))
charts = [
    figures.learning_curves(own, measure=target["measure"], against="seconds", target=level, title=str(machine))
    for machine, own in medians.groupby("machine")
]
figures.beside("two-machines", "Accuracy against seconds", charts)

# %% [markdown]
# ## Finding

# %%
for machine, own in table.groupby("machine"):
    ordered = own.assign(median=own["median"].astype(float)).sort_values("median")
    first, last = ordered.iloc[0], ordered.iloc[-1]
    print(
        f"On {machine}: {first['optimizer']} is first at a {target['measure']} of {level:.3f}, after {first['median']:.3g} s, "
        f"{last['optimizer']} last"
        + (f", after {last['median']:.3g} s." if last["median"] < float("inf") else ", or never.")
    )
