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
# # Bring your own optimizer
#
# You have an idea for an update rule. Within a few minutes you can know whether it is better than a tuned Adam, and on what. Write
# the rule as it stands in the paper, for one vector of parameters; the suite tunes it and trains all its runs together.

# %%
# %%writefile mine.py
from suite import Fraction, Positive, first_order, log_range, optimizer


@optimizer(reference="Bernstein et al. 2018, signSGD", tune={"lr": log_range(1e-5, 1.0)})
def sign_momentum(lr: Positive = 0.001, rho: Fraction = 0.9):
    """Momentum that steps by the sign of its velocity: v ← ρv + (1 − ρ)g, θ ← θ − ε sign(v)."""

    def update(g, v, theta):
        v = rho * v + (1 - rho) * g
        return theta - lr * v.sign(), v

    return first_order(lambda theta: theta.new_zeros(theta.shape), update)


# %% [markdown]
# Does it keep what the suite relies on? Are its updates pure, its bounds enforced, its runs the same alone and among others?

# %%
import sys

command = f"{sys.executable} -m suite"  # python -m suite, by the Python that runs this notebook
# !{command} check mine.py:sign_momentum

# %% [markdown]
# Then let it compete. The budget is small here; leave the last options out for one that decides something.

# %%
# !{command} compare --problems digits_mlp --optimizers mine.py:sign_momentum,adam --initializers default --trials 5 --seeds 7 --steps 100 --jobs 1 --results own --quiet

# %%
import suite
from analysis import figures
from analysis.statistics import interval, verdict

runs, traces = suite.load("own")
(comparison,) = suite.load_comparisons("own")
rows = {row["optimizer"]: row for row in comparison["rows"]}
final = {name: runs.set_index("run").loc[row["runs"], "final_test_accuracy"].to_numpy() for name, row in rows.items()}
{name: interval(values) for name, values in final.items()}

# %% [markdown]
# ## Its learning rate
#
# A rule that steps by signs moves every parameter by the same amount, so its rate means something else than Adam's. Look at the whole
# range before you look at the best.

# %%
import pandas as pd

known = runs.set_index("run")["final_valid_accuracy"]
trials = pd.DataFrame(
    [
        {
            "optimizer": name,
            "value": trial["settings"]["lr"],
            **known.loc[trial["runs"]].agg(["median", "min", "max"]).to_dict(),
        }
        for name, row in rows.items()
        for trial in row["trials"]
    ]
).rename(columns={"min": "low", "max": "high"})
figures.sensitivity(trials.assign(diverged=0.0), setting="lr", measure="valid_accuracy")

# %% [markdown]
# ## Finding

# %%
mine, adam = final["mine.py:sign_momentum"], final["adam"]
found = verdict(mine, adam, "higher")
print(
    f"With {comparison['question']['trials']} trials each, sign_momentum reaches {interval(mine).value:.4f} and adam {interval(adam).value:.4f}. "
    f"Over {found.n} seeds that is: {found.outcome} (p = {found.p:.3f}, a run of it beats one of adam's with probability {found.improvement:.2f})."
)
