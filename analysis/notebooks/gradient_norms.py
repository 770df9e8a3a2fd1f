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
# # Gradient norms that do not shrink
#
# If training came to rest in a local minimum, the gradient would vanish there. Figure 8.1 of *Deep Learning* shows a network
# that is trained with success while its gradients *grow*. This chapter draws the same figure for a network of one's own. The
# run measures the norm of the minibatch gradient at every step, which costs next to nothing:
#
# ```sh
# python -m suite run digits_mlp "sgd(lr=0.1)" --probes gradient_norm
# ```

# %%
import os

import pandas as pd

import suite
from analysis import figures

RESULTS = os.environ.get("SUITE_RESULTS", "results")
runs, traces = suite.load(RESULTS)
probed = traces[traces["measure"] == "gradient_norm"]
run = str(probed["run"].iloc[0])
about = runs.set_index("run").loc[run]
norms = probed[probed["run"] == run].astype({"run": str}).assign(optimizer=about["optimizer_text"])
about[["problem", "optimizer_text", "steps", "status"]]

# %% [markdown]
# ## The norm of every step
#
# Each dot is one minibatch; the line is a running median.

# %%
figures.traces(norms, title=f"Gradient norm, {about['problem']}")

# %% [markdown]
# ## What the loss did meanwhile

# %%
of_run = traces[(traces["run"] == run) & traces["measure"].isin(["train_loss", "valid_loss"])]
losses = of_run.rename(columns={"value": "median"}).astype({"measure": str})
losses = losses.assign(optimizer=losses["measure"], low=float("nan"), high=float("nan"), n=1)
figures.learning_curves(losses, measure="loss", title="Loss of the same run")

# %% [markdown]
# ## Tenths of the run
#
# Noise hides a trend from the eye but not from a median: the run cut into ten, and the norm's quartiles in each.

# %%
tenth = pd.cut(norms["step"], 10, labels=range(1, 11))
quartiles = norms.groupby(tenth, observed=True)["value"].quantile([0.25, 0.5, 0.75]).unstack()
quartiles

# %% [markdown]
# ## Finding

# %%
early, late = quartiles[0.5].iloc[0], quartiles[0.5].iloc[-1]
loss = of_run[of_run["measure"] == "train_loss"].sort_values("step")["value"]
grew = "grew" if late > early else "shrank"
print(
    f"While the training loss went from {loss.iloc[0]:.3g} to {loss.iloc[-1]:.3g}, the median gradient norm {grew} from {early:.3g} in the "
    f"first tenth to {late:.3g} in the last. The run did not end because the gradient vanished: its largest norm, "
    f"{norms['value'].max():.3g}, came at step {norms.loc[norms['value'].idxmax(), 'step']}."
)
