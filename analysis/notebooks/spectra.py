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
# # Hessian spectra along training
#
# The gradient says where downhill is; the Hessian says how far to go. Its eigenvalues are the curvatures in all directions at
# once, and three of their habits decide how training feels: most are nearly zero, a few are large, and some are negative.
# This chapter watches them from the first step on. The spectra come from
#
# ```sh
# python -m suite spectrum digits_mlp "sgd(lr=0.1)" --at 0,10,100 --top 5 --bottom 2 --density
# ```

# %%
import os

import numpy as np

import suite
from analysis import figures

RESULTS = os.environ.get("SUITE_RESULTS", "results")
runs, traces = suite.load(RESULTS)
spectra = suite.load_spectra(RESULTS)
spectra = spectra[(spectra["request"] == spectra["request"].iloc[0]) & (spectra["layer"] == "")]
spectra[["step", "loss", "gradient_norm", "sharpness", "negative"]]

# %% [markdown]
# ## The whole spectrum
#
# On a logarithmic scale, since otherwise there would be nothing to see but a needle at zero: nearly all directions are
# flat. The ticks below are eigenvalues that Lanczos's iteration found one by one.

# %%
figures.densities(spectra, title=f"{spectra['problem'].iloc[0]}, {spectra['optimizer'].iloc[0]}")

# %% [markdown]
# ## Its ends
#
# Gradient descent with rate $\epsilon$ is stable on a quadratic while the largest curvature is below $2/\epsilon$; momentum
# $\alpha$ allows $2(1+\alpha)/\epsilon$. Steps of adaptive methods do not grow with the curvature, so these have no such limit.

# %%
figures.course(spectra)

# %% [markdown]
# ## Saddle or valley?
#
# The share of negative eigenvalues is the index of the point, over $D$. Dauphin et al. (2014) found that it falls with the loss:
# bad places are saddle points, and good ones are nearly minima.

# %%
figures.index(spectra)

# %% [markdown]
# ## Finding

# %%
first, last = spectra.iloc[0], spectra.iloc[-1]
limit = last["stable_below"]
beside = (
    f" ({last['sharpness'] / limit:.0%} of the limit of stability, {limit:.0f})" if limit and limit == limit else ""
)
ratio = np.array(last["top"]) / last["top"][0]
print(
    f"From step {first['step']} to {last['step']} the loss fell from {first['loss']:.2f} to {last['loss']:.2f}, the sharpness went "
    f"from {first['sharpness']:.2f} to {last['sharpness']:.2f}{beside}, "
    f"and the share of negative eigenvalues from {first['negative']:.2f} to {last['negative']:.2f}. "
    f"The fifth eigenvalue is {ratio[-1]:.0%} of the first."
)
