"""Losses over chunks against the same loss over one batch."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from analysis.gradients import noise
from analysis.objective import CurvatureError, of_function, of_module
from analysis.operators import gauss_newton, gradient_covariance, hessian

torch.set_num_threads(1)
KINDS = (hessian, gauss_newton, gradient_covariance)


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)).double()


def data(n=11):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 6, generator=generator).double(), torch.randint(3, (n,), generator=generator)


def positive(y):
    return functional.one_hot(y, 3).double()


CRITERIA = {
    "mean": (nn.CrossEntropyLoss(), None),
    "class weights": (nn.CrossEntropyLoss(weight=torch.tensor([1.0, 4.0, 0.1]).double()), None),
    "ignored targets": (nn.CrossEntropyLoss(ignore_index=1), None),
    "smoothed, with both": (
        nn.CrossEntropyLoss(torch.tensor([1.0, 4.0, 0.1]).double(), ignore_index=1, label_smoothing=0.1),
        None,
    ),
    "negative log-likelihood": (nn.NLLLoss(ignore_index=1), None),
    "squares": (nn.MSELoss(), positive),
    "binary": (nn.BCEWithLogitsLoss(pos_weight=torch.tensor([1.0, 2.0, 3.0]).double()), positive),
    "batchmean": (nn.KLDivLoss(reduction="batchmean"), positive),
    "sum": (nn.CrossEntropyLoss(reduction="sum"), None),
}


@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize("chunk", [1, 4])
def test_chunks_change_nothing(name, chunk):
    (criterion, targets), (x, y) = CRITERIA[name], data()
    y = y if targets is None else targets(y)
    module = net()
    whole, parts = (of_module(module, criterion, (x, y), chunk=c) for c in (None, chunk))
    assert whole.value() == pytest.approx(float(criterion(module(x), y)), rel=1e-12)
    assert parts.value() == pytest.approx(whole.value(), rel=1e-12)
    for kind in KINDS:
        torch.testing.assert_close(kind(parts).dense(), kind(whole).dense(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("weight", [None, [1.0, 4.0, 0.1]])
def test_the_rounding_of_half_precision_is_no_dependence_on_chunks(dtype, seed, weight):
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(64, 6, generator=generator).to(dtype), torch.randint(3, (64,), generator=generator)
    criterion = nn.CrossEntropyLoss(weight=None if weight is None else torch.tensor(weight, dtype=dtype))
    module = net().to(dtype)
    whole, parts = (of_module(module, criterion, (x, y), chunk=chunk) for chunk in (None, 24))
    assert parts.value() == pytest.approx(whole.value(), rel=8 * torch.finfo(dtype).eps)
    assert noise(parts).variance == pytest.approx(noise(whole).variance, rel=0.1)


def test_sentences_of_any_length_count_by_their_words():
    """As a language model's batches, padded to different lengths, do."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Embedding(7, 3, padding_idx=0), nn.Linear(3, 7)).double()
    batches = []
    for length in (3, 5, 2):
        tokens = torch.randint(1, 7, (4, length + 1))
        tokens[0, length // 2 + 1 :] = 0
        batches.append((tokens[:, :-1], tokens[:, 1:]))

    class Words(nn.CrossEntropyLoss):
        def forward(self, outputs, y):
            return super().forward(outputs.flatten(0, 1), y.flatten())

    made = of_module(module, Words(ignore_index=0), batches)
    outputs = torch.cat([module(x).flatten(0, 1) for x, _ in batches])
    truth = functional.cross_entropy(outputs, torch.cat([y.flatten() for _, y in batches]), ignore_index=0)
    assert made.value() == pytest.approx(float(truth), rel=1e-12)
    gradient = torch.autograd.grad(truth, list(module.parameters()))
    torch.testing.assert_close(made.gradient(), torch.cat([g.flatten() for g in gradient]))


def test_a_function_that_is_no_mean_over_examples_is_refused_where_it_matters():
    def loss(outputs, y):
        return functional.cross_entropy(outputs, y, ignore_index=1)

    made = of_module(net(), loss, data())
    hessian(made).dense()
    for ask in (lambda: of_module(net(), loss, data(), chunk=4), lambda: gradient_covariance(made)):
        with pytest.raises(CurvatureError, match="is not the mean of its examples'"):
            ask()


class Centered(nn.Module):
    """What an example becomes depends on the others."""

    def forward(self, x):
        return x - x.mean(0)


@pytest.mark.parametrize("layer", [Centered(), nn.BatchNorm1d(6, track_running_stats=False).double().eval()])
def test_a_model_whose_examples_depend_on_each_other_is_not_cut_into_chunks(layer):
    module = nn.Sequential(layer, net())
    hessian(of_module(module, nn.CrossEntropyLoss(), data())).dense()
    with pytest.raises(CurvatureError, match=r"let the model look at each example by itself"):
        of_module(module, nn.CrossEntropyLoss(), data(), chunk=4)


def test_a_model_that_takes_batches_of_one_size_alone_is_taken_at_its_word():
    class Fixed(nn.Linear):
        def forward(self, x):
            return super().forward(x.view(4, 6))

    x, y = data(12)
    made = of_module(Fixed(6, 3).double(), nn.CrossEntropyLoss(), (x, y), chunk=4)
    assert len(made.chunks) == 3


def test_a_sum_that_is_taken_for_a_mean_is_refused():
    def loss(theta, batch):
        return (batch[0] @ theta).square().sum()

    x, theta = data()[0], torch.ones(6).double()
    with pytest.raises(CurvatureError, match=r"is not the mean .* reduction='sum'"):
        of_function(loss, theta, (x,), chunk=4)
    made = of_function(loss, theta, (x,), chunk=4, reduction="sum")
    torch.testing.assert_close(hessian(made).dense(), 2 * x.T @ x)


class Inert(nn.Module):
    """A module whose ``reduction`` says what it was made with, and changes nothing."""

    reduction = "mean"

    def forward(self, outputs, y):
        return functional.cross_entropy(outputs, y)


class Strict(Inert):
    """One that has no sum."""

    def forward(self, outputs, y):
        if self.reduction != "mean":
            raise ValueError(self.reduction)
        return super().forward(outputs, y)


@pytest.mark.parametrize("criterion", [Inert(), Strict()])
def test_a_module_that_does_not_sum_is_taken_as_a_mean(criterion):
    x, y = data()
    whole, parts = (of_module(net(), criterion, (x, y), chunk=chunk) for chunk in (None, 4))
    torch.testing.assert_close(hessian(parts).dense(), hessian(whole).dense())


def test_inputs_may_be_a_tree():
    class Takes(nn.Linear):
        def forward(self, batch):
            return super().forward(batch["x"] * batch["mask"][:, None])

    torch.manual_seed(0)
    module, (x, y) = Takes(6, 3).double(), data()
    batch = {"x": x, "mask": (torch.arange(11) % 2).double()}
    truth = of_module(module, nn.CrossEntropyLoss(), [(batch, y)])
    made = of_module(module, nn.CrossEntropyLoss(), (batch, y), chunk=4)
    assert len(made.chunks) == 3
    torch.testing.assert_close(hessian(made).dense(), hessian(truth).dense())


@pytest.mark.parametrize(
    ("batch", "got"), [(lambda x, y: {"x": x, "y": y}, "a dict"), (lambda x, y: (x, x, y), "a tuple of 3")]
)
def test_batches_that_are_no_pairs_are_told(batch, got):
    with pytest.raises(CurvatureError, match=rf"a batch must be a pair \(x, y\), .* got {got}; pairs such as"):
        of_module(net(), nn.CrossEntropyLoss(), [batch(*data())])


def test_a_loader_leaves_the_random_state_alone():
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data()), batch_size=4, shuffle=True)
    module, state = net(), torch.get_rng_state()
    of_module(module, nn.CrossEntropyLoss(), loader)
    assert torch.equal(torch.get_rng_state(), state)
