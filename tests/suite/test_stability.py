"""The limit of stability, found from an optimizer's steps, against the closed forms of linear ones."""

from __future__ import annotations

import pytest

from suite.stability import rate, stable_below


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("sgd(lr=0.1)", 2 / 0.1),
        ("momentum(lr=0.01, alpha=0.9)", 2 * 1.9 / 0.01),
        ("momentum(lr=3.0, alpha=0.5)", 2 * 1.5 / 3),
        ("nesterov(lr=0.01, alpha=0.9)", 2 * 1.9 / (2.8 * 0.01)),
        ("torch.SGD(lr=0.1, momentum=0.8)", 2 * 1.8 / 0.1),
        ("sgd(lr=cosine(value=0.2, steps=10))", 2 / 0.2),
        ("polyak(momentum(lr=0.01, alpha=0.9))", 2 * 1.9 / 0.01),
        ("decoupled_decay(sgd(lr=0.1), decay=0.5)", (2 - 0.5) / 0.1),
    ],
)
def test_steps_grow_from_the_known_curvature_on(text, limit):
    assert stable_below(text) == pytest.approx(limit, rel=3e-4)


@pytest.mark.parametrize("text", [None, "adam", "rmsprop", "lion", "newton", "lbfgs", "kfac", "clip(sgd(lr=0.1))"])
def test_others_have_no_such_limit(text):
    assert stable_below(text) is None


def test_a_schedules_step_counts():
    text = "sgd(lr=cosine(value=0.2, steps=10))"
    assert rate(text, 5) == pytest.approx(0.1) and stable_below(text, 5) == pytest.approx(20, rel=3e-4)
    assert rate("polyak(sgd(lr=0.3))", 0) == 0.3 and rate("lbfgs", 0) is None
