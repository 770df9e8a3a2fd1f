"""Transforms of residual and recurrent nets and of modules, against the same nets written out by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from nets import Branched, located, made, sequential
from torch import Tensor, nn
from torch.nn.functional import conv2d, cross_entropy, linear, pad

from problems import Problem, UsageError
from problems.transforms.continuation import SHARE
from problems.ways import gone_around, trunk
from suite.runner import train_group
from suite.spec import Result, Run

Weights = dict[str, Tensor]


def doubled(text: str) -> tuple[Problem, Weights]:
    """A problem in float64, and a θ at which no bias is 0."""
    p = made(text).to("cpu", torch.float64)
    assert p.start is not None
    theta = p.start(torch.Generator().manual_seed(1)).double()
    noise = torch.randn(p.size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return p, p.layout.split(theta + 0.1 * noise)


def at_share(p: Problem, w: Weights, share: float) -> float:
    return float(p.loss_of(w, (*p.train.tensors, torch.tensor(share, dtype=torch.float64))))


def leaky(x: Tensor, f: Tensor, share: float) -> Tensor:
    return share * x + (1 - share) * f


def residual_net(w: Weights, x: Tensor, share: float = 0.0) -> tuple[list[Tensor], Tensor]:
    """The ReLU activations where branches end, and the outputs."""

    def relu(x: Tensor) -> Tensor:
        return leaky(x, torch.relu(x), share)

    x, ends = conv2d(x, w["stem.weight"], w["stem.bias"], padding=1), []
    for block, stride, more in (("stage1.block1", 1, 0), ("stage2.block1", 2, 1)):
        ends.append(relu(x))
        h = conv2d(relu(x), w[f"{block}.conv1.weight"], w[f"{block}.conv1.bias"], stride, 1)
        h = conv2d(relu(h), w[f"{block}.conv2.weight"], w[f"{block}.conv2.bias"], padding=1)
        x = pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, more)) + w[f"{block}.scale"] * h
    return [*ends, relu(x)], linear(relu(x).mean((2, 3)), w["layer1.weight"], w["layer1.bias"])


def lstm(w: Weights, name: str, x: Tensor, share: float = 0.0, normalized: bool = False) -> Tensor:
    """States [batch, time, hidden] of one layer, step by step."""

    def tanh(x: Tensor) -> Tensor:
        return leaky(x, torch.tanh(x), share)

    sums = linear(x, w[f"{name}.input"], w.get(f"{name}.bias"))
    if normalized:
        norm = nn.BatchNorm1d(sums.shape[-1], dtype=torch.float64)
        norm.weight.data, norm.bias.data = w[f"{name}.gamma"], w[f"{name}.beta"]
        sums = norm(sums.flatten(0, 1)).view(sums.shape)
    h = c = sums.new_zeros(len(x), sums.shape[-1] // 4)
    states = []
    for t in range(x.shape[1]):
        i, f, g, o = (sums[:, t] + linear(h, w[f"{name}.hidden"])).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * tanh(g)
        h = o.sigmoid() * tanh(c)
        states.append(h)
    return torch.stack(states, 1)


def rnn(w: Weights, name: str, x: Tensor, share: float = 0.0) -> Tensor:
    h, states = x.new_zeros(len(x), w[f"{name}.hidden"].shape[0]), []
    for t in range(x.shape[1]):
        sums = linear(x[:, t], w[f"{name}.input"], w[f"{name}.bias"]) + linear(h, w[f"{name}.hidden"])
        h = leaky(sums, torch.tanh(sums), share)
        states.append(h)
    return torch.stack(states, 1)


def at_each_step(outputs: Tensor, y: Tensor) -> float:
    return float(cross_entropy(outputs.flatten(0, 1), y.flatten()).detach())


def out(w: Weights, h: Tensor, name: str = "layer1") -> Tensor:
    return linear(h, w[f"{name}.weight"], w[f"{name}.bias"])


NETS = ["@perceptron", "@convolutional", "@residual", "@stacked_lstm", "@stacked_rnn", "@module", "@branched"]


@pytest.mark.parametrize("net", NETS)
def test_annealing_ends_at_the_net_itself_and_is_something_else_before(net: str) -> None:
    p, w = doubled(f"annealed({net})")
    plain = made(net).to("cpu", torch.float64)
    loss = float(plain.loss_of(w, plain.train.tensors))
    assert at_share(p, w, 0.0) == pytest.approx(loss, rel=1e-14)  # x.lerp(f(x), 1), bit for bit but for its rounding
    assert float(p.loss_of(w, p.train.tensors)) == loss == float(p.measure(p.layout.join(w), p.train.tensors)["loss"])
    assert abs(at_share(p, w, 1.0) - loss) > 1e-4
    assert p.course is not None and float(p.course.pieces[SHARE](10**6, torch.Generator)) == 0


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_annealed_nets_are_those_written_out(share: float) -> None:
    p, w = doubled("annealed(@residual)")
    x, y = p.train.tensors
    assert at_share(p, w, share) == pytest.approx(float(cross_entropy(residual_net(w, x, share)[1], y)), rel=1e-12)
    p, w = doubled("annealed(@stacked_lstm)")
    x, y = p.train.tensors
    h = lstm(w, "lstm2", lstm(w, "lstm1", x, share), share)
    assert at_share(p, w, share) == pytest.approx(at_each_step(out(w, h), y), rel=1e-12)
    p, w = doubled("annealed(@stacked_rnn)")
    h, y = p.train.tensors
    for name in ("rnn1", "rnn2", "rnn3"):
        h = rnn(w, name, h, share)
    assert at_share(p, w, share) == pytest.approx(float(cross_entropy(out(w, h[:, -1]), y)), rel=1e-12)


def test_a_net_without_nonlinearity_is_linear_in_its_inputs() -> None:
    """At a = 1, f(x) − f(0) of a residual net, a plain recurrent one and of any module doubles with x."""
    for net in ("@residual", "@stacked_rnn", "@module", "@branched"):
        p, w = doubled(f"annealed({net})")
        x, y = p.train.tensors
        share = torch.ones((), dtype=torch.float64)
        none, once, twice = (p.outputs_of(w, (k * x, y, share)) for k in (0, 1, 2))
        torch.testing.assert_close(twice - none, 2 * (once - none))


def test_heads_of_a_residual_net_are_where_branches_end() -> None:
    p, w = doubled("auxiliary_heads(@residual, weight=0.3)")
    x, y = p.train.tensors
    ends, outputs = residual_net(w, x)
    names = ["stem", "stage1.block1.conv2"]  # the outputs teach the last one
    heads = [out(w, end.mean((2, 3)), f"{name}.head") for name, end in zip(names, ends[:-1], strict=True)]
    expected = cross_entropy(outputs, y) + 0.3 * sum(cross_entropy(head, y) for head in heads)
    assert float(p.loss_of(w, (x, y))) == pytest.approx(float(expected), rel=1e-12)
    assert [name for name in w if name.endswith("head.weight")] == [f"{name}.head.weight" for name in names]


class Around(nn.Module):
    """What its last hidden layer gives is added to what goes around it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(6, 4), nn.Linear(4, 4), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.a(x))
        return self.out(x + torch.relu(self.b(x)))


def test_a_head_is_on_a_layer_before_which_nothing_goes_around() -> None:
    from problems.transforms.connections import auxiliary_heads

    x, y = torch.randn(8, 6), torch.randint(5, (8,))
    p = auxiliary_heads(Problem.from_module(Around(), cross_entropy, (x, y)))
    assert [piece.name for piece in p.layout if ".head." in piece.name] == ["a.head.weight", "a.head.bias"]


def test_heads_of_recurrent_layers_are_where_the_outputs_are() -> None:
    p, w = doubled("auxiliary_heads(@stacked_lstm)")
    x, y = p.train.tensors
    h1 = lstm(w, "lstm1", x)
    expected = at_each_step(out(w, lstm(w, "lstm2", h1)), y) + 0.3 * at_each_step(out(w, h1, "lstm1.head"), y)
    assert float(p.loss_of(w, (x, y))) == pytest.approx(expected, rel=1e-12)
    p, w = doubled("auxiliary_heads(@stacked_rnn)")
    x, y = p.train.tensors
    h1 = rnn(w, "rnn1", x)
    h2 = rnn(w, "rnn2", h1)
    losses = [
        float(cross_entropy(out(w, h[:, -1], name), y))
        for h, name in ((rnn(w, "rnn3", h2), "layer1"), (h1, "rnn1.head"), (h2, "rnn2.head"))
    ]
    assert float(p.loss_of(w, (x, y))) == pytest.approx(losses[0] + 0.3 * (losses[1] + losses[2]), rel=1e-12)


def test_skips_between_recurrent_layers_add_their_states() -> None:
    p, w = doubled("skip_connections(@stacked_lstm)")
    x, y = p.train.tensors
    h1 = lstm(w, "lstm1", x)
    h2 = h1 + w["lstm2.skip"] * lstm(w, "lstm2", h1)
    assert float(p.loss_of(w, (x, y))) == pytest.approx(at_each_step(out(w, h2), y), rel=1e-12)


def test_batch_norm_of_recurrent_layers_is_over_batch_and_steps() -> None:
    p, w = doubled("batch_norm(@stacked_lstm)")
    x, y = p.train.tensors
    h = lstm(w, "lstm2", lstm(w, "lstm1", x, normalized=True), normalized=True)
    assert float(p.loss_of(w, (x, y))) == pytest.approx(at_each_step(out(w, h), y), rel=1e-12)
    assert "lstm1.bias" not in w
    assert p.layout.named("lstm1.beta").fill == (0.0, 1.0, 0.0, 0.0)  # the forget gate's is 1 as without


@pytest.mark.parametrize("transform", ["annealed", "auxiliary_heads", "skip_connections", "batch_norm"])
def test_a_module_is_changed_as_the_same_net_of_our_own(transform: str) -> None:
    ours, w = doubled(f"{transform}(@perceptron)")
    theirs, _ = doubled(f"{transform}(@module)")
    names = {f"layer{i}": str(2 * (i - 1)) for i in range(1, 5)}
    moved = {}
    for name, value in w.items():
        layer, _, rest = name.partition(".")
        moved[f"{names[layer]}.{rest}"] = value
    assert set(moved) == {piece.name for piece in theirs.layout}
    batch = ours.train.tensors
    if transform == "annealed":
        assert at_share(theirs, moved, 0.7) == pytest.approx(at_share(ours, w, 0.7), rel=1e-12)
    assert float(theirs.loss_of(moved, batch)) == pytest.approx(float(ours.loss_of(w, batch)), rel=1e-12)


def test_a_modules_units_are_found_in_one_pass() -> None:
    p = made("@branched")
    assert p.hidden == p.units == ("first", "second", "hidden") and p.activation == ""
    assert made("@module").activation == "relu"


def branched(module: Branched, x: Tensor, share: float) -> Tensor:
    def relu(x: Tensor) -> Tensor:
        return leaky(x, torch.relu(x), share)

    x = relu(module.first(x))
    x = x + relu(module.second(x))
    h = module.hidden(x.mean((2, 3)))
    return module.out(leaky(h, torch.tanh(h), share))


def test_every_call_of_a_modules_nonlinearity_is_annealed() -> None:
    p, w = doubled("annealed(@branched)")
    net = Branched().double()
    net.load_state_dict(w)
    x, y = p.train.tensors
    assert at_share(p, w, 0.4) == pytest.approx(float(cross_entropy(branched(net, x, 0.4), y).detach()), rel=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "annealed(@residual, steps=4, stages=2)",
        "annealed(@stacked_lstm(carry=True), steps=4, stages=2)",
        "annealed(@branched, steps=4, stages=2)",
        "auxiliary_heads(@stacked_lstm(carry=True))",
        "auxiliary_heads(@branched)",
        "skip_connections(@stacked_rnn)",
        "batch_norm(@stacked_lstm(carry=True))",
        "batch_norm(annealed(@module, steps=4, stages=2))",
    ],
)
def test_recorded_runs_have_the_bits_of_the_run_alone(text: str) -> None:
    order = {"order": "sequential"} if "carry" in text else {}
    runs = [
        Run.make(located(text), "momentum(lr=0.05)", seed=seed, steps=8, eval_every=4, batch_size=8, **order)
        for seed in (0, 1, 2)
    ]
    together: list[Result] = []
    train_group(runs, together.append)
    for run, result in zip(runs, together, strict=True):
        assert result.status == "done", result.detail
        alone: list[Result] = []
        train_group([run], alone.append)
        assert alone[0].trace == result.trace
    assert together[0].trace != together[1].trace


class Overwriting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(6, 4), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.inner(x).relu_())


class Gated(nn.Module):
    """Its outputs are made by a nonlinearity, which is not a hidden unit's."""

    def __init__(self) -> None:
        super().__init__()
        self.body = sequential()

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.body(x))


def test_what_a_module_does_in_place_cannot_be_annealed() -> None:
    from problems.transforms.continuation import annealed

    x, y = torch.randn(8, 6), torch.randint(5, (8,))
    with pytest.raises(UsageError, match=r"Overwriting: its forward overwrites numbers by relu_\(\).*write relu\(\)"):
        annealed(Problem.from_module(Overwriting(), cross_entropy, (x, y)))


def test_the_nonlinearity_of_a_modules_outputs_stays() -> None:
    from problems.transforms.continuation import annealed

    x, y = torch.randn(8, 6), torch.rand(8, 5)
    p = annealed(Problem.from_module(Gated(), nn.functional.mse_loss, (x, y)))
    theta = 9 * torch.randn(p.size)
    outputs = p.outputs_of(p.layout.split(theta), (x, y, torch.ones(())))
    assert bool((outputs >= 0).all()) and bool((outputs <= 1).all())


class Tokens(nn.Module):
    """Linear layers on each step of a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(3, 6), nn.Linear(6, 6), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.b(torch.relu(self.a(x)))).mean(1))


def test_linear_layers_on_sequences_are_normalized_by_feature() -> None:
    from problems.transforms.normalization import batch_norm

    x, y = torch.randn(8, 4, 3), torch.randint(5, (8,))
    p = batch_norm(Problem.from_module(Tokens(), cross_entropy, (x, y))).to("cpu", torch.float64)
    assert p.start is not None
    w = p.layout.split(p.start(torch.Generator().manual_seed(0)).double())
    seen = {}

    def between(name: str, sums: Tensor) -> Tensor:
        seen[name] = sums
        return sums

    p.outputs(w, p.train.tensors, between)
    assert seen["a"].shape == (32, 6)  # examples times steps, features
    assert torch.allclose(seen["b"].mean(0), torch.zeros(6, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(seen["b"].var(0, correction=0), torch.ones(6, dtype=torch.float64), atol=1e-2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "skip_connections(@residual)",
            "^skip_connections: residual has ways around its layers already, such as around stem",
        ),
        (
            "auxiliary_heads(adding_lstm(length=4, sequences=8))",
            "no hidden layers that everything goes by but the last",
        ),
        ("skip_connections(@stacked_lstm, every=2)", "has 2 hidden layers; connections 2 apart take 3 or more"),
        ("batch_norm(batch_norm(@stacked_rnn))", "is normalized already"),
    ],
)
def test_refusals_say_why(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        made(text)


def test_skips_go_on_in_a_net_of_convolutions_without_them() -> None:
    """The plain net of ``residual`` with skips: shapes change between its stages, and a shortcut follows."""
    p = made("skip_connections(@residual(skip=False))")
    pairs = [piece.name for piece in p.layout if piece.name.endswith(".skip")]
    assert len(pairs) == 4 and len(list(pairwise(p.units))) == 4


def test_a_layer_that_something_goes_around_is_not_on_the_trunk() -> None:
    """A sum behind a nonlinearity joins two ways; within the branch there is another one."""
    p = made("@branched")
    assert gone_around(p) == {"second"} and trunk(p) == ("first", "hidden")
    assert trunk(made("@residual")) == ("stem", "stage1.block1.conv2", "stage2.block1.conv2")
    for net in ("@perceptron", "@convolutional", "@stacked_lstm(carry=True)", "@stacked_rnn", "@residual(skip=False)"):
        whole = made(net)
        assert not gone_around(whole) and trunk(whole) == whole.units
    assert not gone_around(made("skip_connections(@perceptron)"))  # each sum is a layer's own
    assert gone_around(made("skip_connections(@perceptron, every=2)")) == {"layer2"}
