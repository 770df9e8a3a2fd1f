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
# # What the chapter says, and how to doubt it
#
# A textbook is full of sentences such as "momentum speeds up learning in the face of high curvature". Each claim of the suite is
# such a sentence with an experiment that may find otherwise: it says where a quantity must lie, and
# holds only if an interval lies within. This chapter looks behind two of the verdicts.
#
# ```sh
# python -m suite claims momentum_in_ravines momentum_against_noise --controls
# ```

# %%
import os
import sys

import pandas as pd

import suite
from analysis import figures

RESULTS = os.environ.get("SUITE_RESULTS", "results")
claims = suite.load_claims(RESULTS)
runs, traces = suite.load(f"{RESULTS}/claims")  # the runs of all experiments are kept there
claims.loc[
    claims["name"].str.startswith("momentum_"),
    ["name", "what", "value", "low", "high", "above", "below", "claim_verdict"],
]

# %% [markdown]
# ## One that holds
#
# In a ravine of condition κ gradient descent should need about κ steps and momentum √κ (section 8.3.2). Every run of the experiment
# is there to be looked at. With the rates that are best for each κ:

# %%
ravines = runs[runs["problem"] == "ravine"].set_index("run")
course = traces[traces["run"].isin(ravines.index) & (traces["measure"] == "minibatch_loss")].astype({"run": str})
course = course.assign(
    optimizer=[f"{ravines.at[run, 'optimizer']}, κ = {ravines.at[run, 'problem.condition']:g}" for run in course["run"]]
)
first = course.groupby("run")["value"].transform("first")
course = course.assign(value=course["value"] / first)
shown = course[
    course["optimizer"].str.contains("κ = (?:10|1000)$") & (course["value"] > 1e-9) & (course["step"] % 5 == 0)
]
curves = shown.assign(median=shown["value"], low=shown["value"], high=shown["value"], n=1)
figures.learning_curves(curves, measure="loss / first loss", title="Steps in two ravines")

# %% [markdown]
# The verdict is about the slope of the next table on logarithmic axes: how steps grow where κ grows a hundredfold.

# %%
arrived = course[course["value"] <= 1e-8].groupby("run")["step"].min()
steps = pd.DataFrame({"steps": arrived, "optimizer": ravines["optimizer"], "κ": ravines["problem.condition"]})
steps.pivot(index="κ", columns="optimizer", values="steps").astype(int)

# %% [markdown]
# ## One that does not
#
# The book's other reason for momentum is "variance in the stochastic gradient". Where there is nothing but noise to help against, on
# a well conditioned problem, the experiment compares momentum with gradient descent that is as fast, at a rate of ε/(1 − α). The
# ratio of their errors by seed would have to be below 0.9:

# %%
record = next(one for one in pd.DataFrame(claims).to_dict("records") if one["name"] == "momentum_against_noise")
noisy = runs[(runs["problem"] == "linear_regression") & (runs["steps"] == 4000)]
noisy.groupby("optimizer")["final_train_excess"].describe(percentiles=[0.5]).round(5)

# %% [markdown]
# Averaging gradients spreads the noise of each over several steps, but all of it goes into θ in the end. What looks like a gain from
# momentum on noisy problems is often the gain of a better rate, or of the ravine.
#
# ## Asking it elsewhere
#
# A claim has settings, as optimizers have: its problem, its bounds, its seeds. Would the ravine still need √κ steps if we insisted
# on less than half a power?

# %%
command = f"{sys.executable} -m suite"  # python -m suite, by the Python that runs this notebook
# !{command} claims "momentum_in_ravines(most=0.5)" --results {RESULTS} --quiet

# %% [markdown]
# ## Finding

# %%
power = claims[(claims["claim"] == "momentum_in_ravines") & claims["what"].str.contains("momentum")]["value"].item()
print(
    f"From κ = 10 to 1000 the steps of momentum grow as κ to the power {power:.2f}, not quite ½, for the slowest mode of the best momentum "
    f"is a double root, and those of gradient descent as κ. Against noise alone momentum leaves {record['value']:.2f} "
    f"[{record['low']:.2f}, {record['high']:.2f}] of the error of a plain step that is as fast, so that claim "
    f"{'holds' if record['claim_verdict'] == 'holds' else 'does not hold'} here."
)
