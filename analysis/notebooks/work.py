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
# # What a step is worth
#
# Papers count steps. But a step of plain SGD looks at one minibatch, a step of sharpness-aware minimization at the same one
# twice, a step of Rprop at every example there is, and a line search at all of them as often as it has to. A figure against
# steps compares what was paid differently for. This chapter puts four such methods on one scale. The runs come from
#
# ```sh
# python -m suite compare --problems digits_logistic --optimizers "sgd,sam(sgd),rprop,lbfgs" --initializers default
# ```

# %%
import os

import pandas as pd

import suite
from analysis import figures
from analysis.statistics import interval, with_clocks

RESULTS = os.environ.get("SUITE_RESULTS", "results")
runs, traces = suite.load(RESULTS)
comparison = next(c for c in suite.load_comparisons(RESULTS) if c["problems"][0]["problem"] == "digits_logistic")
about, rows = comparison["problems"][0], comparison["rows"]

# %% [markdown]
# ## The same epochs, not the same steps
#
# All had the same budget: as many *epochs*, looks at each training example. So the methods that take all examples at once
# took few steps. `per_step` has what a step evaluates: losses, gradients and curvature products count alike.

# %%
budget = pd.DataFrame(
    [
        {
            "optimizer": row["optimizer"],
            "steps": row["steps"],
            "evaluations a step": row["per_step"]["evaluations"],
            "epochs a step": row["per_step"]["epochs"],
        }
        for row in rows
    ]
).set_index("optimizer")
budget

# %% [markdown]
# ## Two clocks
#
# `with_clocks` gives every measurement the evaluations and epochs that had been spent by then. Where a line search
# evaluates now once and now five times, the trace itself has counted.

# %%
named = {run: row["optimizer"] for row in rows for run in row["runs"]}
own = runs[runs["run"].isin(list(named))]
small = next(row for row in rows if not row["full_batch"])["per_step"]
examples = about["batch_size"] * small["evaluations"] / small["epochs"]
clocked = with_clocks(traces[traces["run"].isin(list(named))], own.assign(train_examples=examples))
course = clocked[clocked["measure"] == "train_loss"].assign(optimizer=lambda t: t["run"].map(named))
points = []
for (name, step), at in course.groupby(["optimizer", "step"]):
    e = interval(at["value"].to_numpy())
    points.append((name, step, at["epochs"].median(), e.value, e.low, e.high, e.n))
curves = pd.DataFrame(points, columns=["optimizer", "step", "epochs", "median", "low", "high", "n"])
charts = [
    figures.learning_curves(curves, measure="train_loss", against=clock, title=f"against {clock}")
    for clock in ("step", "epochs")
]
figures.beside("what-a-step-is-worth", "The same runs by two clocks", charts)

# %% [markdown]
# ## Who arrives first depends on the clock

# %%
arrivals = pd.DataFrame(
    {
        row["optimizer"]: {
            clock: float("inf") if (t := row["time_to_target"].get(clock, {}).get("median")) is None else t
            for clock in ("steps", "epochs")
        }
        for row in rows
    }
).T
arrivals.sort_values("epochs")

# %% [markdown]
# ## Finding

# %%
by_steps, by_epochs = arrivals["steps"].idxmin(), arrivals["epochs"].idxmin()
print(
    f"On digits_logistic {by_steps} reaches {about['target']['measure']} {about['target']['value']:g} in the fewest steps, "
    f"{arrivals.loc[by_steps, 'steps']:.0f}; but these are worth {arrivals.loc[by_steps, 'epochs']:.3g} epochs, and "
    f"{by_epochs} is there after {arrivals.loc[by_epochs, 'epochs']:.3g}."
    if by_steps != by_epochs
    else f"On digits_logistic {by_steps} is first by steps and by epochs alike."
)
