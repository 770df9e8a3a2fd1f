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
# # A first look at a comparison
#
# Somebody says that momentum is better than plain SGD. Better at what, by how much, and how sure is that? This chapter
# goes from a folder of results to one sentence that can be defended. The folder comes from
#
# ```sh
# python -m suite compare --problems digits_mlp,linear_regression --optimizers sgd,momentum,adam
# ```
#
# which tuned each optimizer with the same number of trials, ran the best setting again on fresh seeds, and kept every run.

# %%
import os

import pandas as pd

import suite
from analysis import figures
from analysis.statistics import interval, pairwise

RESULTS = os.environ.get("SUITE_RESULTS", "results")
runs, traces = suite.load(RESULTS)
runs.groupby(["problem", "optimizer", "status"]).size().unstack(fill_value=0)

# %% [markdown]
# ## Which runs count
#
# Most of these runs tuned something, and nobody should report the best of many tries on the data that chose it. The
# record of the comparison says which runs were made on fresh seeds with the setting that had won.

# %%
comparison = next(c for c in suite.load_comparisons(RESULTS) if "digits_mlp" in {p["problem"] for p in c["problems"]})
rows = [row for row in comparison["rows"] if row["problem"] == "digits_mlp"]
reported = pd.DataFrame(
    [(run, row["optimizer"], row["initializer"]) for row in rows for run in row["runs"]],
    columns=["run", "name", "start"],
)
final = reported.merge(runs[["run", "seed", "final_test_accuracy"]], on="run")
summary = final.groupby(["name", "start"])["final_test_accuracy"].apply(lambda v: interval(v.to_numpy()))
pd.DataFrame([vars(e) for e in summary], index=summary.index).sort_values("value", ascending=False)

# %% [markdown]
# Medians over seeds, with the interval that holds the true median 95 % of the time. Where two intervals overlap the
# eye cannot decide; and it should not try, for the runs are *paired*: seed 3 of one optimizer saw the same minibatches
# as seed 3 of another. What differs within pairs is a much sharper question.
#
# ## Who is better than whom

# %%
wide = final.pivot(index="seed", columns=["name", "start"], values="final_test_accuracy")
wide.columns = [f"{name}, {start}" for name, start in wide.columns]
verdicts = pairwise(wide, "higher")
verdicts[verdicts["outcome"] == "better"]

# %% [markdown]
# Each line is a difference that stands up to a signed-rank test, corrected for how many pairs were asked about. What is
# *not* in this table was not shown to differ, which is another thing than being shown to be equal.
#
# ## How they got there

# %%
course = traces[traces["run"].isin(reported["run"]) & (traces["measure"] == "test_accuracy")]
course = course.astype({"run": str}).merge(reported, on="run")
best = final.groupby(["name", "start"])["final_test_accuracy"].median().reset_index()
best = best.sort_values("final_test_accuracy").groupby("name").tail(1)
points = []
for (name, step), own in course.merge(best[["name", "start"]], on=["name", "start"]).groupby(["name", "step"]):
    estimate = interval(own["value"].to_numpy())
    points.append((name, step, estimate.value, estimate.low, estimate.high, estimate.n))
curves = pd.DataFrame(points, columns=["optimizer", "step", "median", "low", "high", "n"])
figures.learning_curves(curves, measure="test_accuracy", title="digits_mlp, each from its best start")

# %% [markdown]
# ## Finding

# %%
first = max(rows, key=lambda row: row["final"]["test_accuracy"]["value"])
winner = f"{first['optimizer']}, {first['initializer']}"
beaten = verdicts[(verdicts["a"] == winner) & (verdicts["outcome"] == "better")]["b"].tolist()
tied = [name for name in wide.columns if name not in {winner, *beaten}]
print(
    f"On digits_mlp {winner} has the highest median test accuracy, {first['final']['test_accuracy']['value']:.4f} "
    f"over {first['final']['test_accuracy']['n']} seeds. It is better than {len(beaten)} of the other {len(wide.columns) - 1} "
    f"({'; '.join(beaten) or 'none'}); the rest ({'; '.join(tied) or 'none'}) cannot be told from it."
)
