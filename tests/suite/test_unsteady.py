"""Optimizers that begin a step with what the last one found, where θ was moved since or the loss is another."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracles import PlainOracle, path, rosenbrock

from problems.layout import Layout, Piece
from problems.names import UsageError, parse
from problems.problem import Data, Problem, problem
from suite.checks import bowl, example, start, tuned
from suite.lane_oracle import LaneOracle
from suite.lanes import lanes_of
from suite.objective import Objective
from suite.optimizers import optimizer

SIZE = 6
_RANDOM = np.random.RandomState(0)
ROOT = _RANDOM.normal(size=(SIZE, SIZE))
H, B, START = ROOT @ ROOT.T / SIZE + 0.5 * np.eye(SIZE), _RANDOM.normal(size=SIZE), np.ones(SIZE)
LEAST = np.linalg.solve(H, B)
SEARCHING = ("bfgs", "lbfgs", "conjugate_gradients", "gradient_descent", "scaled_conjugate_gradients")


def _loss(theta):
    return 0.5 * theta @ torch.from_numpy(H) @ theta - torch.from_numpy(B) @ theta


def ends(spec, steps, start=START):
    made = optimizer.build(optimizer.bind(spec))
    return torch.stack(path(made, PlainOracle(_loss), torch.from_numpy(start), steps)).numpy()


def steepest(x):
    """The exact step of steepest descent."""
    g = H @ x - B
    return x - (g @ g) / (g @ H @ g) * g


def test_steepest_descent_goes_on_from_where_decay_has_moved_it():
    x, hand = START, [START]
    for _ in range(20):
        x = steepest(x) - 0.05 * x
        hand.append(x)
    np.testing.assert_allclose(
        ends("decoupled_decay(gradient_descent(search=exact), decay=0.05)", 20), hand, rtol=1e-9, atol=1e-12
    )


def test_steepest_descent_goes_on_from_the_slow_weights():
    x, slow, hand = START, START, [START]
    for t in range(1, 21):
        x = steepest(x)
        if t % 3 == 0:
            x = slow = slow + 0.5 * (x - slow)
        hand.append(x)
    np.testing.assert_allclose(ends("lookahead(gradient_descent(search=exact), k=3)", 20), hand, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("inner", SEARCHING)
@pytest.mark.parametrize(
    "outer", ["lookahead({})", "blocks({}, by=coordinates)", "blocks({}, by=coordinates, every=3)"]
)
def test_strategies_around_searches_reach_the_minimum(outer, inner):
    start = np.abs(START - LEAST).max()
    assert np.abs(ends(outer.format(inner), 150)[-1] - LEAST).max() < 1e-2 * start


def test_blocks_of_exact_steps_are_gauss_seidel():
    """Conjugate gradients in one dimension are exact, and remember nothing of other blocks."""
    x, hand = START.copy(), [START]
    for t in range(24):
        i = t % SIZE
        x = x.copy()
        x[i] += (B[i] - H[i] @ x) / H[i, i]
        hand.append(x)
    for inner in ("conjugate_gradients(search=exact)", "newton", "saddle_free_newton(alpha=1e-15)"):
        np.testing.assert_allclose(ends(f"blocks({inner}, by=coordinates)", 24), hand, rtol=1e-9, atol=1e-12)


def test_a_block_looks_ahead_within_itself():
    """Nesterov's momentum of two blocks, each with a velocity of its own and the other held still."""
    x, v, hand = START.copy(), np.zeros(SIZE), [START]
    for t in range(24):
        mine = np.arange(SIZE) % 2 == t % 2
        g = H @ (x + 0.9 * v * mine) - B
        v = np.where(mine, 0.9 * v - 0.05 * g, v)
        x = x + v * mine
        hand.append(x)
    blocks = [f"theta{i}" for i in range(SIZE)]
    layout = Layout(tuple(Piece(name, (1,), "other") for name in blocks))
    by = "|".join("+".join(blocks[start::2]) for start in (0, 1))
    made = optimizer.build(optimizer.bind(f"blocks(nesterov(lr=0.05), by='{by}')"))
    found = torch.stack(path(made, PlainOracle(_loss, layout), torch.from_numpy(START), 24)).numpy()
    np.testing.assert_allclose(found, hand, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("every", [1, 5])
@pytest.mark.parametrize(
    ("inner", "make"),
    [
        ("adam(lr=0.05)", lambda p: torch.optim.Adam(p, lr=0.05)),
        ("nadam(lr=0.05)", lambda p: torch.optim.NAdam(p, lr=0.05)),
        ("momentum(lr=0.05)", lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9)),
    ],
)
def test_each_block_has_an_optimizer_of_its_own(inner, make, every):
    """As so many instances of torch's, each of which steps on its coordinates alone; in lanes, too."""
    parts = [torch.tensor([value], dtype=torch.float64, requires_grad=True) for value in START]
    instances, hand = [make([part]) for part in parts], [START]
    for t in range(60):
        i = t // every % SIZE
        instances[i].zero_grad()
        _loss(torch.cat(parts)).backward()
        instances[i].step()
        hand.append(torch.cat(parts).detach().numpy())
    spec = f"blocks({inner}, by=coordinates, every={every})"
    np.testing.assert_allclose(ends(spec, 60), hand, rtol=1e-5, atol=1e-6)  # NAdam's product is in float32
    made = Problem(
        "quadratic",
        Layout((Piece("theta", (SIZE,), "other"),)),
        lambda pieces, batch: pieces["theta"],
        lambda theta, batch: _loss(theta),
        Data((torch.zeros(1, 1, dtype=torch.float64),)),
    )
    start = torch.from_numpy(START).expand(2, -1).clone()
    lanes = lanes_of(made, [parse(str(optimizer.bind(spec)))] * 2, start, [0, 1], 0, "sequential")
    for k in range(60):
        lanes.step(k)
    np.testing.assert_allclose(lanes.theta[1].numpy(), hand[-1], rtol=1e-5, atol=1e-6)


def test_blocks_of_torchs_sgd_are_those_of_ours():
    for inner in ("sgd(lr=0.1)", "torch.SGD(lr=0.1)"):
        x, hand = START.copy(), [START]
        for t in range(12):
            x = x - 0.1 * (H @ x - B) * (np.arange(SIZE) == t % SIZE)
            hand.append(x)
        np.testing.assert_allclose(ends(f"blocks({inner}, by=coordinates)", 12), hand, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("inner", SEARCHING[:4])
def test_a_search_on_minibatches_takes_one_iteration_on_each(inner):
    made = problem.build(problem.bind("digits_mlp(hidden=(8,))"))
    start = made.start(torch.Generator().manual_seed(0))[None]

    def end(spec):
        lanes = lanes_of(made, [parse(str(optimizer.bind(spec)))], start.clone(), [0], 64, "reshuffle")
        for k in range(12):
            lanes.step(k)
        return lanes.theta[0].clone()

    found, asked = end(inner), end(f"{inner}(minibatch=1)")
    assert not torch.equal(found, start[0])
    assert torch.equal(found, asked)


@pytest.mark.parametrize("inner", SEARCHING)
def test_a_search_follows_a_loss_that_is_blurred_anew_at_each_step(inner):
    made = problem.build(problem.bind("continuation(quadratic(size=8, condition=10), steps=20)"))
    start = made.start(torch.Generator().manual_seed(0))[None]
    lanes = lanes_of(made, [parse(str(optimizer.bind(inner)))], start.clone(), [0], 0, "sequential")
    for k in range(60):
        lanes.step(k)
    assert float(lanes.theta.norm()) < 1e-3 * float(start.norm())  # the minimum is at 0


@pytest.mark.parametrize(
    "inner",
    [*SEARCHING, "newton", "saddle_free_newton(alpha=1e-9)", "coordinate_descent", "sgd(lr=0.2)", "torch.SGD(lr=0.2)"],
)
def test_weight_decay_minimizes_the_loss_with_its_penalty(inner):
    """To (H + λI)⁻¹b: the values and products of a method must have the penalty that its gradients have."""
    found = ends(f"weight_decay({inner}, decay=0.7)", 120)[-1]
    np.testing.assert_allclose(found, np.linalg.solve(H + 0.7 * np.eye(SIZE), B), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "spec",
    [
        "decoupled_decay(sgd(lr=0.1), decay=0.02)",
        "decoupled_decay(momentum(lr=0.05, alpha=0.5), decay=0.02)",
        "decoupled_decay(lookahead(sgd(lr=0.1)), decay=0.02)",
        "weight_decay(schedule_free_sgd(lr=0.1), decay=0.2)",
    ],
)
def test_decay_beside_a_rule_of_constant_rate_is_the_penalty(spec):
    """λ of a step is λ/ε in the loss, and λ(1 − α)/ε with momentum."""
    found = ends(spec, 1500)[-1]
    np.testing.assert_allclose(found, np.linalg.solve(H + 0.2 * np.eye(SIZE), B), rtol=1e-3, atol=1e-3)


def test_decay_beside_a_rule_that_averages_is_refused():
    for inner in ("clip(schedule_free_sgd)", "clip(polyak(sgd))"):
        with pytest.raises(UsageError, match=r"decoupled_decay: .*polyak\(decoupled_decay.*schedule_free_adamw"):
            optimizer.build(optimizer.bind(f"decoupled_decay({inner})"))


@pytest.mark.parametrize("inner", ["hessian_free", "kfac(rescale=True, samples=0, damping=0.01)"])
def test_weight_decay_of_methods_by_gauss_newton_products(inner):
    """Least squares with ½λ‖θ‖² in closed form."""
    made = problem.build(problem.bind("linear_regression(features=4)")).to("cpu", torch.float64)
    x, y = made.train.tensors
    x = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    exact = torch.linalg.solve(2 * x.T @ x / len(x) + 0.5 * torch.eye(5, dtype=x.dtype), 2 * x.T @ y / len(x))[:, 0]
    spec = parse(str(optimizer.bind(f"weight_decay({inner}, decay=0.5)")))
    lanes = lanes_of(made, [spec], torch.zeros(1, made.size, dtype=torch.float64), [0], 0, "sequential")
    for k in range(60):
        lanes.step(k)
    torch.testing.assert_close(lanes.theta[0], exact, rtol=1e-4, atol=1e-5)


def _moller(gradient, value, product, x, steps, scale=1e-6):
    """Møller's algorithm of 1993, steps 1 to 9, with exact products; he restarts at every D-th iteration, here step."""
    size, k = len(x), 0
    trust, bar, success = scale, 0.0, True
    p = r = -gradient(x)
    points = [x]
    for _ in range(steps):
        if success:
            delta = p @ product(x, p)
        delta = delta + (trust - bar) * (p @ p)
        if delta <= 0:
            bar = 2 * (trust - delta / (p @ p))
            delta = -delta + trust * (p @ p)
            trust = bar
        mu, length = p @ r, p @ p
        a = mu / delta
        ratio = 2 * delta * (value(x) - value(x + a * p)) / mu**2
        if ratio >= 0:
            x, before, k = x + a * p, r, k + 1
            r, bar, success = -gradient(x), 0.0, True
            p = r if k % size == 0 else r + (r @ r - r @ before) / mu * p
            if p @ r <= 0:
                p = r
            trust = trust / 4 if ratio >= 0.75 else trust
        else:
            bar, success = trust, False
        if ratio < 0.25:
            trust = trust + delta * (1 - ratio) / length
        points.append(x)
    return np.stack(points)


def test_scaled_conjugate_gradients_follow_mollers_algorithm():
    def tensor(x):
        return torch.from_numpy(np.asarray(x, dtype=np.float64))

    start = np.array([-1.2, 1.0, -1.2, 1.0, -1.2])
    expected = _moller(
        lambda x: torch.func.grad(rosenbrock)(tensor(x)).numpy(),
        lambda x: float(rosenbrock(tensor(x))),
        lambda x, p: (torch.func.hessian(rosenbrock)(tensor(x)) @ tensor(p)).numpy(),
        start,
        20,
    )
    made = optimizer.build(optimizer.bind("scaled_conjugate_gradients"))
    found = torch.stack(path(made, PlainOracle(rosenbrock), tensor(start), 20)).numpy()
    assert (np.diff(expected, axis=0) == 0).all(1).any()  # steps were refused on the way, too
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


class Tilted:
    """The oracle of L(θ) + bᵀθ."""

    def __init__(self, oracle, b):
        self.oracle, self.b = oracle, b

    def value(self, theta):
        return self.oracle.value(theta) + theta @ self.b

    def gradient(self, theta):
        value, g = self.oracle.gradient(theta)
        return value + theta @ self.b, g + self.b

    def among(self, active):
        return Tilted(self.oracle.among(active), self.b)

    def __getattr__(self, name):
        return getattr(self.oracle, name)


def turned(entry, pretend=False):
    """The cosine of the steps from where θ was moved to, on the loss and on one tilted to have the opposite gradient.

    1 where there is no step on the loss itself, as of a search that goes on from an old gradient and finds nothing.

    Args:
        pretend: let the state say that θ was left there.
    """
    made, bottom = optimizer.build(tuned(example(optimizer.find(entry)), 0.3)), bowl()
    oracle = LaneOracle(Objective(bottom, 1, tuple(t[None] for t in bottom.train.tensors), taped=False))
    theta = start()
    state = made.init(oracle, theta)
    for _ in range(3):
        theta, state = made.step(oracle, state, theta)
    moved = theta + 10.0
    if pretend:
        state["at"] = moved
    ways = [
        made.step(Tilted(oracle, b), state, moved)[0] - moved
        for b in (torch.zeros_like(moved), -2 * oracle.gradient(moved)[1])
    ]
    return float(torch.nn.functional.cosine_similarity(*ways, dim=0)) if ways[0].any() else 1.0


OF_THETA = [entry.name for entry in optimizer if not entry.wraps and not optimizer.build(example(entry)).needs.averages]


@pytest.mark.parametrize("entry", OF_THETA)
def test_every_optimizer_goes_by_the_gradient_where_theta_is(entry):
    """And not where it left it, where something has moved it since: another gradient, another step."""
    assert turned(entry) < 0.9


@pytest.mark.parametrize("entry", ["bfgs", "conjugate_gradients", "gradient_descent"])
def test_a_search_that_went_on_from_an_old_gradient_would_be_found(entry):
    assert turned(entry, pretend=True) > 0.99
