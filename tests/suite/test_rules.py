"""Rules of one's own, with the mistakes that are made in them: the result is right, or the mistake is said."""

from __future__ import annotations

import textwrap

import pytest

from suite.checks import check_optimizer
from suite.engine import train
from suite.spec import Run

OWN = """
    import random
    import torch
    from suite import Fraction, Positive, first_order, log_range, optimizer

    TAKEN = 0
    nothing = lambda theta: theta.new_zeros(1)


    def plain(lr: Positive = 0.1):
        return first_order(nothing, lambda g, state, theta: (theta - lr * g, state))

    def in_theta(lr: Positive = 0.1):
        def update(g, state, theta):
            theta -= lr * g
            return theta, state
        return first_order(nothing, update)

    def in_gradient(lr: Positive = 0.1):
        def update(g, state, theta):
            return theta - g.mul_(lr), state
        return first_order(nothing, update)

    def closure(lr: Positive = 0.1):
        t = 0
        def update(g, state, theta):
            nonlocal t
            t += 1
            return theta - lr / t**0.5 * g, state
        return first_order(nothing, update)

    def module_count(lr: Positive = 0.1):
        def update(g, state, theta):
            global TAKEN
            TAKEN += 1
            return theta - lr / TAKEN * g, state
        return first_order(nothing, update)

    def python_random(lr: Positive = 0.1):
        return first_order(nothing, lambda g, state, theta: (theta - lr * random.random() * g, state))

    def torch_random(lr: Positive = 0.1):
        return first_order(nothing, lambda g, state, theta: (theta - lr * (g + torch.randn_like(g)), state))

    def no_state(lr: Positive = 0.1):
        return first_order(nothing, lambda g, state, theta: theta - lr * g)

    def no_rule(lr: Positive = 0.1):
        first_order(nothing, lambda g, state, theta: (theta - lr * g, state))

    def grows(lr: Positive = 0.1):
        return first_order(lambda theta: [], lambda g, state, theta: (theta - lr * g, [*state, g]))

    def not_finite(lr: Positive = 0.1):
        '''Divides by nothing, 2026.'''
        return first_order(nothing, lambda g, state, theta: (theta - lr * g / (g - g), state))

    @optimizer(tune={"lr": log_range(1e-4, 1.0)})
    def demanding(lr: Positive):
        '''Wants its rate.'''
        return first_order(nothing, lambda g, state, theta: (theta - lr * g, state))

    class Rebinds(torch.optim.Optimizer):
        '''SGD that gives each parameter new memory.'''

        def __init__(self, params, lr=0.1):
            super().__init__(params, {"lr": lr})

        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    p.data = p.data - group["lr"] * p.grad

    class Forgets(torch.optim.Optimizer):
        '''Changes a name, not a parameter.'''

        def __init__(self, params, lr=0.1):
            super().__init__(params, {"lr": lr})

        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    p = p - group["lr"] * p.grad
"""


@pytest.fixture
def own(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(textwrap.dedent(OWN))
    return str(file)


def results(texts, seeds=(0,), steps=5):
    runs = [
        Run.make("digits_logistic", text, seed=seed, steps=steps, eval_every=steps, batch_size=32, dtype="float64")
        for text in texts
        for seed in seeds
    ]
    found = {}
    train(runs, on_result=lambda result: found.update({result.run: result}))
    return [found[run] for run in runs]


@pytest.mark.parametrize("name", ["plain", "in_theta", "in_gradient", "Rebinds"])
def test_what_is_changed_in_place_or_elsewhere_is_as_sgd(own, name):
    settings = ("lr=0.1", "lr=0.3")
    mine = results([f"{own}:{name}({setting})" for setting in settings], seeds=(0, 1))
    theirs = results([f"sgd({setting})" for setting in settings], seeds=(0, 1))
    assert [r.status for r in mine] == ["done"] * 4
    assert [r.summary["final_train_loss"] for r in mine] == [r.summary["final_train_loss"] for r in theirs]


@pytest.mark.parametrize("name", ["closure", "module_count", "python_random", "torch_random"])
def test_a_rule_that_is_no_function_of_its_state_is_not_trained_with(own, name):
    (result,) = results([f"{own}:{name}"])
    assert result.status == "failed"
    assert "two steps from one state differ" in result.detail
    assert "not in Python variables" in result.detail
    held = {check.name: check.holds for check in check_optimizer(f"{own}:{name}")}
    assert held["takes a step"]
    assert not held["pure"]
    assert "loss falls" not in held  # nothing else is asked of it


def test_a_strategy_around_such_a_rule_is_refused_too(own):
    (result,) = results([f"polyak({own}:closure)"])
    assert "two steps from one state differ" in result.detail


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_state", "a step must return theta and the state, (theta, state); got Tensor"),
        ("no_rule", "it must return an Optimizer, as first_order(init, update) does; got NoneType"),
        ("grows", "the state keeps the form that init gave it; [0] goes from nothing to (650,)"),
    ],
)
def test_a_run_says_what_check_says(own, name, words):
    (result,) = results([f"{own}:{name}"])
    assert result.status == "failed"
    assert words in result.detail


def test_nan_is_called_nan_and_nothing_else(own):
    found = {check.name: check for check in check_optimizer(f"{own}:not_finite")}
    for name in ("pure", "inputs untouched", "reproducible", "lanes equal alone"):
        assert found[name].holds, found[name].words
    assert not found["finite"].holds
    assert not found["zero gradients"].holds


def test_an_optimizer_that_moves_nothing_is_told_so(own):
    found = {check.name: check for check in check_optimizer(f"{own}:Forgets")}
    assert not found["loss falls"].holds
    assert "theta never moves: write into the parameters" in found["loss falls"].words


def test_what_has_no_paper_is_no_fault_of_ones_own(own):
    found = check_optimizer(f"{own}:demanding")  # whose rate is the middle of its range
    assert all(check.holds for check in found), [check for check in found if not check.holds]
    assert "of your own" in next(check.words for check in found if check.name == "source")
