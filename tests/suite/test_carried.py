"""A state that is carried from one minibatch to the next, against loops written out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from problems import Problem, UsageError, problem
from problems.names import parse
from problems.problem import streams
from suite.evaluate import STREAMS, evaluate
from suite.lanes import Apart, Together, lanes_of
from suite.optimizers import optimizer
from suite.runner import train_group
from suite.sampler import sampler_of
from suite.spec import Run

TEXT = "In what distant deeps or skies Burnt the fire of thine eyes? On what wings dare he aspire? " * 20
SIZE = 6  # sequences in a minibatch; 24 steps are an epoch


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> str:
    file = tmp_path_factory.mktemp("text") / "t.txt"
    file.write_text(TEXT)
    return f"text_lstm(file={str(file)!r}, length=10, embedding=5, hidden=7"


@pytest.fixture(scope="module")
def made(written) -> Problem:
    return problem.build(problem.bind(written + ")"))


class Net(nn.Module):
    """The same model in torch's layers."""

    def __init__(self, symbols: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, 5)
        self.lstm = nn.LSTM(5, 7, num_layers=2, batch_first=True)
        self.out = nn.Linear(7, symbols)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        h, state = self.lstm(self.embedding(x), state)
        return self.out(h), state


def torchs(made: Problem, theta: Tensor) -> tuple[Net, list[Tensor]]:
    """A net at θ, and its trained parameters in θ's order; torch's second biases stay at 0."""
    pieces = made.layout.split(theta)
    net = Net(len(pieces["layer1.bias"])).double()
    order = [net.embedding.weight]
    for layer in (0, 1):
        order += [getattr(net.lstm, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih")]
        nn.init.zeros_(getattr(net.lstm, f"bias_hh_l{layer}"))
    order += [net.out.weight, net.out.bias]
    for parameter, piece in zip(order, pieces.values(), strict=True):
        parameter.data.copy_(piece.T if parameter is net.embedding.weight else piece)
    return net, order


def started(made: Problem, lanes: int = 1) -> Tensor:
    assert made.start is not None
    return torch.stack([made.start(torch.Generator().manual_seed(lane)) for lane in range(lanes)])


def lanes(made: Problem, text: str, theta: Tensor, rates: list[float], size: int = SIZE):
    specs = [parse(str(optimizer.bind(text).replace(lr=rate))) for rate in rates]
    return lanes_of(made, specs, theta, list(range(len(rates))), size, "reshuffle")


@pytest.mark.parametrize(("text", "kind"), [("sgd", Together), ("torch.SGD", Apart)])
def test_training_is_the_loop_with_torchs_layers(made, text, kind) -> None:
    """Truncated backpropagation through time over more than an epoch, in float64."""
    exact = made.to("cpu", torch.float64)
    theta = started(made).double()
    group = lanes(exact, text, theta, [0.5])
    assert isinstance(group, kind)
    net, order = torchs(exact, theta[0])
    x, y = exact.train.tensors
    steps = len(x) // SIZE
    state = None
    for k in range(steps + 5):
        now = [stream * steps + k % steps for stream in range(SIZE)]
        state = None if k % steps == 0 else tuple(part.detach() for part in state)
        out, state = net(x[now], state)
        loss = nn.functional.cross_entropy(out.flatten(0, 1), y[now].flatten())
        grads = torch.autograd.grad(loss, order)
        assert float(group.step(k)[0]) == pytest.approx(loss.item(), rel=1e-10)
        with torch.no_grad():
            for parameter, g in zip(order, grads, strict=True):
                parameter -= 0.5 * g
    flat = torch.cat([(p.T if p is net.embedding.weight else p).flatten() for p in order])
    torch.testing.assert_close(group.theta[0], flat.detach(), rtol=1e-9, atol=1e-11)


def test_without_carrying_every_sequence_begins_with_zeros(written) -> None:
    apart, on = (problem.build(problem.bind(f"{written}, carry={carry})")) for carry in (False, True))
    theta = started(on)[0]
    batch = tuple(t[:4] for t in on.train.tensors)
    assert apart.carry == () and on.carry == (4, 7)
    assert torch.equal(apart.loss(theta, batch), on.loss(theta, batch))


@pytest.mark.parametrize("text", ["adam", "nesterov", "torch.Adam", "sam(sgd)"])
def test_a_lane_among_many_is_the_run_alone(made, text) -> None:
    if text == "sam(sgd)":
        specs = [parse(str(optimizer.bind(f"sam(sgd(lr={rate}))"))) for rate in (0.1, 0.2, 0.3)]
        many = lanes_of(made, specs, started(made, 3), [0, 1, 2], SIZE, "reshuffle")
        alone = lanes_of(made, specs[1:2], started(made, 3)[1:2], [1], SIZE, "reshuffle")
    else:
        many = lanes(made, text, started(made, 3), [0.01, 0.02, 0.03])
        alone = lanes(made, text, started(made, 3)[1:2], [0.02])
    for k in range(40):
        many.step(k)
        alone.step(k)
    assert torch.equal(many.theta[1], alone.theta[0])
    assert torch.equal(many.sampler.carried[1], alone.sampler.carried[0])
    assert float(alone.sampler.carried.abs().min()) > 0


def test_lanes_that_are_kept_keep_their_state(made) -> None:
    whole, parted = (lanes(made, "adam", started(made, 3), [0.01, 0.02, 0.03]) for _ in range(2))
    for k in range(30):
        whole.step(k)
    for k in range(9):
        parted.step(k)
    parted = parted.keep([0, 2])
    for k in range(9, 30):
        parted.step(k)
    assert torch.equal(parted.theta, whole.theta[[0, 2]])


def test_what_is_carried_is_what_the_first_evaluation_of_a_step_left(made) -> None:
    """Also where the optimizer goes on to evaluate at other points, such as SAM's."""
    group = lanes_of(
        made, [parse(str(optimizer.bind("sam(sgd(lr=0.1), rho=0.5)")))], started(made), [0], SIZE, "reshuffle"
    )
    before = group.theta.clone()
    group.step(0)
    steps = len(made.train) // SIZE
    batch = tuple(t[[stream * steps for stream in range(SIZE)]] for t in made.train.tensors)
    _, expected = made.carried_of(made.layout.split(before[0]), batch)
    torch.testing.assert_close(group.sampler.carried[0], expected)


def test_larger_minibatches_begin_anew(made) -> None:
    group = lanes(made, "sgd", started(made), [0.1])
    for k in range(3):
        group.step(k)
    group.resize(2 * SIZE)
    group.sampler.fill(3)
    assert group.sampler.batch[0].shape[1] == group.sampler.batch[2].shape[1] == 2 * SIZE
    assert not group.sampler.batch[2].any()


def test_evaluation_reads_on_too(made) -> None:
    exact = made.to("cpu", torch.float64)
    theta = started(made, 2).double()
    found = evaluate(exact, theta, SIZE)
    net, _ = torchs(exact, theta[1])
    for name, split in exact.splits.items():
        rows = streams(len(split), min(STREAMS, len(split)))
        losses, hits, state = [], [], None
        for row in rows:
            x, y = (t[row] for t in split.tensors)
            out, state = net(x, state)
            losses.append(nn.functional.cross_entropy(out.flatten(0, 1), y.flatten()).detach())
            hits.append((out.argmax(-1) == y).double().mean())
        assert float(found[f"{name}_loss"][1]) == pytest.approx(float(torch.stack(losses).mean()), rel=1e-10)
        assert float(found[f"{name}_accuracy"][1]) == pytest.approx(float(torch.stack(hits).mean()), rel=1e-10)


def test_streams_are_consecutive() -> None:
    assert streams(11, 3).tolist() == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    assert streams(2, 2).tolist() == [[0, 1]]


def test_one_minibatch_of_all_has_nothing_to_carry(made) -> None:
    sampler = sampler_of(made, [0], 0, "reshuffle", torch.zeros(1))
    assert sampler.carried is None and len(sampler.batch) == 2


@pytest.mark.parametrize("order", ["with_replacement", "online"])
def test_orders_that_tear_a_text_apart_are_refused(written, order) -> None:
    run = Run.make(written + ")", "sgd", steps=2, batch_size=SIZE, order=order)
    with pytest.raises(UsageError, match=f"order {order} makes no sense where a state is carried"):
        train_group([run], lambda result: None)


def test_runs_end_and_say_what_they_learned(written) -> None:
    results = []
    runs = [Run.make(written + ")", "adam(lr=0.01)", seed=s, steps=60, eval_every=30, batch_size=SIZE) for s in (0, 1)]
    train_group(runs, results.append)
    for result in results:
        assert result.status == "done", result.detail
        losses = [value for _, measure, value in result.trace if measure == "valid_loss"]
        assert losses[-1] < losses[0] - 0.2
