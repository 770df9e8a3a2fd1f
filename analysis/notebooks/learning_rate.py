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
# # Sensitivity to the learning rate
#
# "The learning rate is perhaps the most important hyperparameter" (*Deep Learning*, section 11.4.1). An optimizer that is best at one
# rate and useless beside it has cost somebody the search for that rate. This chapter looks at the whole valley and not only
# at its floor. The tuning of any comparison has the runs:
#
# ```sh
# python -m suite compare --problems digits_mlp,linear_regression --optimizers sgd,momentum,adam
# ```

# %%
import os

import pandas as pd

import suite
from analysis import figures
from analysis.statistics import sensitivity, tuning_curves

RESULTS = os.environ.get("SUITE_RESULTS", "results")
runs, traces = suite.load(RESULTS)
comparison = next(c for c in suite.load_comparisons(RESULTS) if "digits_mlp" in {p["problem"] for p in c["problems"]})
rows = [r for r in comparison["rows"] if r["problem"] == "digits_mlp" and r["initializer"] == "default"]
tried = pd.DataFrame(
    [
        (run, row["optimizer"], trial["settings"]["lr"])
        for row in rows
        for trial in row["trials"]
        for run in trial["runs"]
    ],
    columns=["run", "name", "lr"],
).merge(runs[["run", "status", "final_valid_loss", "final_valid_accuracy"]], on="run")
tried.groupby(["name", "lr"])["final_valid_loss"].median().unstack("name")

# %% [markdown]
# ## The valley
#
# Each optimizer searched a range of rates that its author thought sensible, at evenly spaced points of the logarithm. Runs
# that diverged have no final loss; they are counted, not drawn.

# %%
grouped = tried.groupby(["name", "lr"], sort=False)
valley = grouped["final_valid_loss"].agg(median="median", low="min", high="max").reset_index()
valley["diverged"] = grouped["status"].agg(lambda s: (s == "diverged").mean()).to_numpy()
valley = valley.rename(columns={"name": "optimizer", "lr": "value"})
start = traces[(traces["measure"] == "valid_loss") & (traces["step"] == 0) & traces["run"].isin(tried["run"])][
    "value"
].median()
figures.sensitivity(valley, setting="lr", measure="valid_loss", within=(0, 2 * start), title="digits_mlp")

# %% [markdown]
# ## How wide is it?
#
# Two numbers per valley: between which rates is the accuracy within 2 % of the best, and how many factors of ten is that?
# A wide valley forgives a guess.

# %%
widths = {}
for name, own in tried.groupby("name"):
    trial = own.groupby("lr")["final_valid_accuracy"].median()
    widths[name] = vars(
        sensitivity(trial.index.to_numpy(), trial.fillna(float("-inf")).to_numpy(), "higher", within=0.02)
    )
pd.DataFrame(widths).T

# %% [markdown]
# ## What a search would have cost
#
# A narrow valley is found late. The expected best of $k$ trials says how late: it is what somebody with a budget of $k$ runs
# would have got on average.

# %%
values = {
    str(name): own.groupby("lr")["final_valid_loss"].median().fillna(start).clip(upper=start).to_numpy()
    for name, own in tried.groupby("name")
}
budget = tuning_curves(values, "lower")
figures.tuning_curves(budget.rename(columns={"contestant": "optimizer"}), measure="valid_loss")

# %% [markdown]
# ## Finding

# %%
table = pd.DataFrame(widths).T.astype(float, errors="ignore")
decades = table["width"].astype(float)
wide, narrow = decades.idxmax(), decades.idxmin()
print(
    f"On digits_mlp {wide} is the most forgiving: its accuracy stays within 2 % of its best over {decades[wide]:.1f} "
    f"factors of ten of the learning rate, against {decades[narrow]:.1f} for {narrow}. "
    f"One guess at random has an expected loss of {budget[budget['trials'] == 1].set_index('contestant')['expected'][wide]:.2f} "
    f"with {wide} and {budget[budget['trials'] == 1].set_index('contestant')['expected'][narrow]:.2f} with {narrow}."
)
