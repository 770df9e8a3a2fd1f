"""Line searches, conjugate gradients, BFGS and L-BFGS against theory and SciPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.optimize
import torch
from oracles import PlainOracle, path, quadratic, rosenbrock
from scipy.optimize._linesearch import line_search_wolfe1

from problems.names import UsageError
from suite.optimizers import optimizer
from suite.optimizers.conjugate_gradients import BETAS
from suite.optimizers.line_search import armijo, exact, wolfe
from suite.optimizers.zoom import zoom


def made(spec):
    return optimizer.build(optimizer.bind(spec))


def bowl(n, seed=0, condition=100.0):
    """A convex quadratic in n dimensions: its matrix, minimum and start."""
    random = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(random.normal(size=(n, n)))
    matrix = turn @ np.diag(np.geomspace(1, condition, n)) @ turn.T
    return tuple(torch.tensor(x) for x in (matrix, random.normal(size=n), random.normal(size=n)))


# on quadratics ------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize(("n", "condition"), [(2, 1e3), (7, 100), (12, 10)])  # more would show rounding
def test_conjugate_gradients_solve_a_quadratic_in_n_steps(beta, n, condition):
    matrix, minimum, start = bowl(n, condition=condition)
    points = path(made(f"cg(search='exact', beta='{beta}')"), PlainOracle(quadratic(matrix, minimum)), start, n)
    assert (points[-1] - minimum).norm() <= 1e-8 * (start - minimum).norm()
    steps = torch.stack([(b - a) / (b - a).norm() for a, b in itertools.pairwise(points)])
    products = steps @ matrix @ steps.T
    assert (products - products.diagonal().diag()).abs().max() <= 1e-8 * matrix.norm()


@pytest.mark.parametrize("n", [2, 7, 12])
@pytest.mark.parametrize("spec", ["bfgs(search='exact')", "lbfgs(search='exact', memory=12)"])
def test_quasi_newton_solves_a_quadratic_in_n_steps(spec, n):
    matrix, minimum, start = bowl(n)
    oracle = PlainOracle(quadratic(matrix, minimum))
    points = path(made(spec), oracle, start, n)
    assert (points[-1] - minimum).norm() <= 1e-8 * (start - minimum).norm()
    assert oracle.calls == {"gradient": n + 1, "hvp": n}
    if spec.startswith("bfgs"):
        optimizer_, theta = made(spec), start
        state = optimizer_.init(oracle, theta)
        for _ in range(n):
            theta, state = optimizer_.step(oracle, state, theta)
        torch.testing.assert_close(state["memory"]["inverse"], torch.linalg.inv(matrix), rtol=1e-6, atol=1e-8)


def test_without_enough_memory_it_takes_longer():
    matrix, minimum, start = bowl(12)
    far = path(made("lbfgs(search='wolfe', memory=1)"), PlainOracle(quadratic(matrix, minimum)), start, 12)[-1]
    assert (far - minimum).norm() > 1e-6


@pytest.mark.parametrize("search", ["wolfe", "exact"])
def test_lbfgs_with_memory_for_all_is_bfgs(search):
    start = torch.tensor([-1.2, 1.0, 0.3, -0.4], dtype=torch.float64)
    full = path(made(f"bfgs(search='{search}')"), PlainOracle(rosenbrock), start, 15)
    limited = path(made(f"lbfgs(search='{search}', scale=False, memory=20)"), PlainOracle(rosenbrock), start, 15)
    torch.testing.assert_close(torch.stack(full), torch.stack(limited), rtol=1e-8, atol=1e-8)


def test_resets_start_again_from_the_gradient():
    matrix, minimum, start = bowl(6)
    points = path(made("cg(search='exact', reset=2)"), PlainOracle(quadratic(matrix, minimum)), start, 4)
    g = matrix @ (points[2] - minimum)
    step = points[3] - points[2]
    torch.testing.assert_close(step / step.norm(), -g / g.norm())


def test_each_minibatch_starts_again():
    matrix, minimum, start = bowl(6)
    oracle = PlainOracle(quadratic(matrix, minimum))
    whole = path(made("cg(search='exact')"), oracle, start, 3)[-1]
    torch.testing.assert_close(path(made("cg(search='exact', minibatch=3)"), oracle, start, 1)[-1], whole)
    assert made("cg").needs.full_batch
    assert not made("cg(minibatch=3)").needs.full_batch


def test_scaled_conjugate_gradients_on_a_quadratic():
    matrix, minimum, start = bowl(4, condition=10.0)
    points = path(made("scg"), PlainOracle(quadratic(matrix, minimum)), start, 8)
    assert (points[4] - minimum).norm() <= 1e-5 * (start - minimum).norm()
    assert (points[8] - minimum).norm() <= 1e-10 * (start - minimum).norm()


def test_scaled_conjugate_gradients_leave_negative_curvature():
    oracle = PlainOracle(lambda theta: 0.25 * theta[0] ** 4 - 0.5 * theta[0] ** 2 + theta[1] ** 2)
    points = path(made("scg"), oracle, torch.tensor([0.01, 1.0], dtype=torch.float64), 60)
    torch.testing.assert_close(points[-1].abs(), torch.tensor([1.0, 0.0], dtype=torch.float64), rtol=1e-5, atol=1e-5)


# on functions -------------------------------------------------------------------------------


def indices(x):
    return torch.arange(1, len(x) + 1, dtype=x.dtype)


def booth(x):
    return (x[0] + 2 * x[1] - 7) ** 2 + (2 * x[0] + x[1] - 5) ** 2


def beale(x):
    return sum((c - x[0] + x[0] * x[1] ** k) ** 2 for k, c in ((1, 1.5), (2, 2.25), (3, 2.625)))


def himmelblau(x):
    return (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2


def powell(x):
    return (x[0] + 10 * x[1]) ** 2 + 5 * (x[2] - x[3]) ** 2 + (x[1] - 2 * x[2]) ** 4 + 10 * (x[0] - x[3]) ** 4


def wood(x):
    return (
        100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2 + 90 * (x[3] - x[2] ** 2) ** 2 + (1 - x[2]) ** 2
        + 10 * (x[1] + x[3] - 2) ** 2 + 0.1 * (x[1] - x[3]) ** 2
    )  # fmt: skip


def camel(x):
    return 2 * x[0] ** 2 - 1.05 * x[0] ** 4 + x[0] ** 6 / 6 + x[0] * x[1] + x[1] ** 2


def dixon_price(x):
    return (x[0] - 1) ** 2 + (indices(x)[1:] * (2 * x[1:] ** 2 - x[:-1]) ** 2).sum()


def zakharov(x):
    s = (indices(x) * x).sum() / 2
    return (x**2).sum() + s**2 + s**4


def brown(x):
    return (x[0] - 10) ** 2 + (x[1] - 0.2) ** 2 + (x[0] * x[1] - 2) ** 2


def helical_valley(x):
    turn = torch.atan2(x[1], x[0]) / (2 * torch.pi)
    return 100 * ((x[2] - 10 * turn) ** 2 + ((x[0] ** 2 + x[1] ** 2).sqrt() - 1) ** 2) + x[2] ** 2


def trigonometric(x):
    f = len(x) - x.cos().sum() + indices(x) * (1 - x.cos()) - x.sin()
    return (f**2).sum()


FUNCTIONS = [  # the starts of Moré, Garbow & Hillstrom 1981 where they have the function
    (rosenbrock, (-1.2, 1.0)),
    (booth, (1.0, 1.0)),
    (beale, (1.0, 1.0)),
    (himmelblau, (0.0, 0.0)),
    (powell, (3.0, -1.0, 0.0, 1.0)),
    (wood, (-3.0, -1.0, -3.0, -1.0)),
    (camel, (1.5, 1.0)),
    (dixon_price, (1.0,) * 6),
    (zakharov, (1.0, 2.0, 3.0, -1.0)),
    (brown, (1.0, 1.0)),
    (helical_valley, (-1.0, 0.1, 0.0)),
    (trigonometric, (1 / 8,) * 8),
]
TOLERANCE = 1e-5


def until_flat(spec, loss, start, most=300):
    """The points up to the first with max |g| <= 1e-5, and the gradients evaluated."""
    oracle, optimizer_ = PlainOracle(loss), made(spec)
    theta = torch.tensor(start, dtype=torch.float64)
    state, points = optimizer_.init(oracle, theta), [theta]
    while state["g"].abs().max() > TOLERANCE and len(points) < most:
        theta, state = optimizer_.step(oracle, state, theta)
        points.append(theta)
    return torch.stack(points).numpy(), oracle.calls["gradient"], state


def scipys(method, loss, start):
    points = [np.array(start)]

    def value_and_gradient(x):
        gradient, value = torch.func.grad_and_value(loss)(torch.tensor(x))
        return value.item(), gradient.numpy()

    options = {"ftol": 0.0, "gtol": TOLERANCE} if method == "L-BFGS-B" else {"gtol": TOLERANCE}
    result = scipy.optimize.minimize(
        value_and_gradient, start, jac=True, method=method, options=options, callback=lambda x: points.append(x.copy())
    )
    return np.stack(points), result


METHODS = [("bfgs", "BFGS"), ("conjugate_gradients", "CG"), ("lbfgs", "L-BFGS-B")]


@pytest.mark.parametrize(("spec", "method"), METHODS)
@pytest.mark.parametrize(("loss", "start"), FUNCTIONS, ids=lambda x: getattr(x, "__name__", ""))
def test_no_more_evaluations_than_scipy(spec, method, loss, start):
    _, calls, state = until_flat(spec, loss, start)
    _, result = scipys(method, loss, start)
    assert calls <= 1.2 * result.nfev
    assert state["g"].abs().max() <= TOLERANCE
    assert state["misses"] == 0
    assert state["value"] <= result.fun + 1e-8


@pytest.mark.parametrize(("spec", "method"), METHODS)
@pytest.mark.parametrize("start", [(-1.2, 1.0), (1.2, 1.2), (2.0, -2.0), (0.0, 0.0), (-1.2, 1.0, 0.3, -0.4)], ids=str)
def test_the_trajectory_is_scipys_on_rosenbrock(spec, method, start):
    """From the first point to the last, with as many evaluations."""
    points, calls, _ = until_flat(spec, rosenbrock, start)
    theirs, result = scipys(method, rosenbrock, start)
    np.testing.assert_allclose(points, theirs, rtol=1e-6, atol=1e-6)
    assert calls == result.nfev


@pytest.mark.parametrize("spec", ["bfgs", "lbfgs", "cg", "scg", "gradient_descent(search='armijo')"])
def test_the_loss_never_rises(spec):
    oracle, optimizer_ = PlainOracle(rosenbrock), made(spec)
    theta = torch.tensor([-1.2, 1.0], dtype=torch.float64)
    state, losses = optimizer_.init(oracle, theta), [rosenbrock(theta)]
    for _ in range(40):
        theta, state = optimizer_.step(oracle, state, theta)
        losses.append(rosenbrock(theta))
    assert losses == sorted(losses, reverse=True)


# searches -----------------------------------------------------------------------------------

BUMPY = {  # the functions of Moré & Thuente 1994, section 5, all with a descent at 0
    "one": lambda a: -a / (a**2 + 2),
    "two": lambda a: (a + 0.004) ** 5 - 2 * (a + 0.004) ** 4,
    "wave": lambda a: a**2 - a + 0.3 * torch.sin(5 * a) - 1.5 * a,
}


@pytest.mark.parametrize("name", BUMPY)
@pytest.mark.parametrize("first", [1e-3, 0.1, 1.0, 10.0])
def test_wolfe_as_minpack(name, first):
    def loss(theta):
        return BUMPY[name](theta[0])

    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    oracle = PlainOracle(loss)
    value, g = oracle.gradient(zero)
    calls = []

    def f(x):
        calls.append(x)
        return loss(torch.tensor(x)).item()

    theirs = line_search_wolfe1(
        f,
        lambda x: torch.func.grad(loss)(torch.tensor(x)).numpy(),
        np.zeros(1),
        np.ones(1),
        g.numpy(),
        value.item(),
        value.item() + first * -g.item() / 2.02,  # what makes SciPy begin with ``first``, unless above 1
    )[0]
    first = min(first, 1.0)
    taken = wolfe()(oracle, zero, value, g, one, torch.tensor(first, dtype=torch.float64))
    assert bool(taken.found) == (theirs is not None)
    assert taken.length.item() == pytest.approx(theirs, rel=1e-9)
    assert taken.value <= value + 1e-4 * taken.length * g[0]
    assert taken.gradient.abs() <= 0.9 * g.abs()
    assert oracle.calls["gradient"] - 1 == len(calls)


@pytest.mark.filterwarnings("ignore::scipy.optimize._linesearch.LineSearchWarning")
@pytest.mark.parametrize("name", BUMPY)
@pytest.mark.parametrize("first", [1e-3, 0.1, 1.0])
@pytest.mark.parametrize("least", [0.0, 0.7, 1.3, 99.0])
def test_zoom_as_scipys_line_search(name, first, least):
    """Of the points that meet the Wolfe conditions only those beyond ``least`` will do."""

    def loss(theta):
        return BUMPY[name](theta[0])

    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    oracle = PlainOracle(loss)
    value, g = oracle.gradient(zero)
    length, calls, _, low, _, slope = scipy.optimize.line_search(
        lambda x: loss(torch.tensor(x)).item(),
        lambda x: torch.func.grad(loss)(torch.tensor(x)).numpy(),
        np.zeros(1),
        np.ones(1),
        old_fval=value.item(),
        old_old_fval=value.item() + first * -g.item() / 2.02,
        c2=0.4,
        extra_condition=lambda a, x, f, g: a >= least,
    )
    first = torch.tensor(first, dtype=torch.float64)
    taken = zoom(oracle, zero, value, g, one, first, lambda a, gradient: a >= least, curvature=0.4)
    assert bool(taken.found) == (slope is not None)
    if taken.found:
        assert taken.length.item() == pytest.approx(length, rel=1e-9)
        assert taken.value.item() == pytest.approx(low)
        assert taken.gradient.abs() <= 0.4 * g.abs()
        assert oracle.calls["gradient"] - 1 == calls


def test_conjugate_directions_descend_sufficiently():
    """From the first step on Rosenbrock the search of Moré & Thuente ends where the next direction does not."""
    start = torch.tensor([-1.2, 1.0], dtype=torch.float64)
    made_, oracle, theta = made("cg"), PlainOracle(rosenbrock), start
    state = made_.init(oracle, theta)
    for _ in range(20):
        moved, state = made_.step(oracle, state, theta)
        g = oracle.gradient(moved)[1]
        beta = BETAS["polak_ribiere_plus"](g, state["memory"]["g"], state["memory"]["d"])
        following = -g + beta * state["memory"]["d"]
        assert g @ following <= -0.01 * g @ g
        theta = moved


def test_a_loss_that_is_not_finite_is_too_far():
    def walled(theta):
        return -theta[0] - torch.log(1 - theta[0])  # nan beyond 1

    theta = torch.tensor([-3.0], dtype=torch.float64)
    oracle = PlainOracle(walled)
    value, g = oracle.gradient(theta)
    for search in (wolfe(), armijo):
        taken = search(oracle, theta, value, g, -g / g.norm(), torch.tensor(100.0, dtype=torch.float64))
        assert taken.found
        assert taken.value < value


def test_a_search_that_finds_nothing_stays_and_is_recorded():
    oracle = PlainOracle(lambda theta: theta[0])  # falls for ever: no Wolfe point
    optimizer_, theta = made("bfgs"), torch.zeros(2, dtype=torch.float64)
    state = optimizer_.init(oracle, theta)
    theta, state = optimizer_.step(oracle, state, theta)
    assert state["misses"] == 1
    assert theta[0] < 0  # the lowest point seen
    assert torch.equal(state["memory"]["inverse"], torch.eye(2, dtype=torch.float64))

    uphill = PlainOracle(lambda theta: theta.sum().where(theta.sum() >= 0, torch.nan))  # nothing below is finite
    zero = torch.zeros(2, dtype=torch.float64)
    assert torch.equal(path(optimizer_, uphill, zero, 3)[-1], zero)


def test_exact_goes_on_along_negative_curvature():
    oracle = PlainOracle(lambda theta: 0.5 * (theta[0] ** 2 - theta[1] ** 2))
    theta = torch.tensor([0.0, 0.1], dtype=torch.float64)
    value, g = oracle.gradient(theta)
    taken = exact(oracle, theta, value, g, -g, torch.tensor(1.0, dtype=torch.float64))
    assert taken.length == 1.0
    assert taken.value < value


def test_bfgs_refuses_large_problems():
    with pytest.raises(UsageError, match="bfgs: a matrix for 5000 parameters is too large"):
        made("bfgs").init(PlainOracle(lambda theta: theta.sum()), torch.zeros(5000))


@pytest.mark.parametrize("spec", ["bfgs", "lbfgs", "cg", "scg", "gradient_descent(search='armijo')"])
def test_lanes_wait_for_each_other(spec):
    """Under vmap, lanes whose searches take different numbers of trials end where each would alone."""
    starts = torch.tensor([[-1.2, 1.0], [1.0, 1.0], [5.0, -3.0]], dtype=torch.float64)
    optimizer_, oracle = made(spec), PlainOracle(rosenbrock)

    def tensors(theta):
        return torch.utils._pytree.tree_map(
            lambda leaf: leaf if isinstance(leaf, torch.Tensor) else torch.tensor(leaf, dtype=torch.float64),
            optimizer_.init(oracle, theta),
        )

    theta, state = starts, torch.vmap(tensors)(starts)
    for _ in range(10):
        theta, state = torch.vmap(lambda theta, state: optimizer_.step(oracle, state, theta))(theta, state)
    alone = torch.stack([path(optimizer_, oracle, start, 10)[-1] for start in starts])
    torch.testing.assert_close(theta, alone, rtol=1e-9, atol=1e-9)
