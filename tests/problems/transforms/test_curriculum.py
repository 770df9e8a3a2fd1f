"""Which examples a curriculum shows, and when."""

from __future__ import annotations

import math

import pytest
import torch

from problems import Data, Problem, UsageError, problem
from problems.data.splits import Splits
from problems.models import classifier, mlp
from problems.transforms.curriculum import _lengths, _margins, curriculum
from suite.runner import train_group
from suite.sampler import Sampler
from suite.spec import Result, Run

COUNT, START, STEPS = 500, 0.2, 100


def scored() -> Problem:
    """Examples whose input is their own number, the difficult ones first."""
    x = torch.arange(float(COUNT)).unsqueeze(1)
    data = Data((x, torch.zeros(COUNT, dtype=torch.int64)), difficulty=-x.squeeze(1))
    return classifier("scored", mlp((1, 2)), Splits(data))


def shown(kind: str, k: int, size: int = 400, seed: int = 3) -> torch.Tensor:
    """The ranks of difficulty, 0 the easiest, of the examples in step k's minibatch."""
    p = curriculum(scored(), kind=kind, start=START, steps=STEPS)
    sampler = Sampler(p.train, [seed], size, "reshuffle", course=p.course)
    sampler.fill(k)
    return COUNT - 1 - sampler.batch[0].flatten()


@pytest.mark.parametrize("k", [0, 30, 60, 99])
def test_a_deterministic_curriculum_goes_up_to_a_growing_rank(k: int) -> None:
    ranks = torch.cat([shown("deterministic", k, seed=seed) for seed in range(5)])
    within = math.ceil((START + (1 - START) * k / STEPS) * COUNT)
    assert int(ranks.max()) < within
    assert len(ranks.unique()) > 0.95 * within  # 2000 draws leave out e^-4 of all, at most
    counts = torch.bincount(ranks.long(), minlength=within).float()
    assert float(counts.var() / counts.mean()) < 1.5  # 1 for even draws


@pytest.mark.parametrize("k", [0, 30, 60, 99])
def test_a_stochastic_curriculum_always_mixes_and_shows_ever_more_difficult_ones(k: int) -> None:
    ranks = torch.cat([shown("stochastic", k, seed=seed) for seed in range(20)])
    share = float((ranks >= START * COUNT).float().mean())
    wanted = k / STEPS * (1 - START)
    assert share == pytest.approx(wanted, abs=4 * math.sqrt(wanted * (1 - wanted) / len(ranks)) + 1e-9)
    assert bool((ranks < START * COUNT).any())


@pytest.mark.parametrize("kind", ["stochastic", "deterministic"])
@pytest.mark.parametrize("order", ["reshuffle", "with_replacement", "sequential", "shuffle_once"])
def test_ends_with_the_minibatches_of_the_whole_split(kind: str, order: str) -> None:
    plain, p = scored(), curriculum(scored(), kind=kind, steps=STEPS)
    a, b = Sampler(plain.train, [1, 2], 50, order), Sampler(p.train, [1, 2], 50, order, course=p.course)
    for k in (STEPS // 2, STEPS, STEPS + 7):
        a.fill(k)
        b.fill(k)
        assert torch.equal(a.batch[0], b.batch[0]) is (k >= STEPS)


def test_draws_depend_on_the_seed_and_the_step_alone() -> None:
    p = curriculum(scored(), steps=STEPS)
    many, alone = (Sampler(p.train, seeds, 20, "reshuffle", course=p.course) for seeds in ([5, 9, 5], [9]))
    for k in (0, 40, 3):
        many.fill(k)
        alone.fill(k)
        assert torch.equal(many.batch[0][1], alone.batch[0][0])
        assert torch.equal(many.batch[0][0], many.batch[0][2])
        assert not torch.equal(many.batch[0][0], many.batch[0][1])


def test_a_length_is_what_lies_between_the_padding() -> None:
    x = torch.zeros(4, 6, 2)
    x[0, 1:5, 0] = 1  # 4 steps, one of them between zeros:
    x[0, 3] = 0
    x[1, 5, 1] = -1
    x[2] = 1
    assert _lengths(Data((x,))).tolist() == [4, 1, 6, 0]  # type: ignore[union-attr]  # not None here
    assert _lengths(Data((torch.ones(3, 5, 1),))) is None


def test_a_curriculum_over_length_shows_short_sequences_first() -> None:
    text = "curriculum(adding_lstm(length=20, shortest=6, sequences=512), kind=deterministic, steps=100, start=0.1)"
    p: Problem = problem.build(problem.bind(text))
    sampler = Sampler(p.train, [0], 256, "reshuffle", course=p.course)
    longest = []
    for k in (0, 50, 100):
        sampler.fill(k)
        longest.append(int(_lengths(Data((sampler.batch[0][0],))).max()))  # type: ignore[union-attr]  # they differ
    assert longest[0] <= 8 and 12 <= longest[1] <= 16 and longest[2] == 20


def test_the_margin_is_the_distance_to_the_own_mean_less_that_to_the_nearest_other() -> None:
    x = torch.tensor([[0.0], [2.0], [10.0], [12.0], [6.0], [5.0]])
    labels = torch.tensor([0, 0, 1, 1, 1, 0])
    means = torch.tensor([7 / 3, 28 / 3])
    wanted = [(a - means[c]).abs() - (a - means[1 - c]).abs() for a, c in zip(x.flatten(), labels, strict=True)]
    assert torch.allclose(_margins(Data((x, labels))), torch.stack(wanted))  # type: ignore[arg-type]  # not None here


def test_margins_of_digits_tell_what_a_classifier_finds_difficult() -> None:
    made = problem.build(problem.bind("digits_mlp"))
    scores = _margins(made.train)
    assert scores is not None
    wrong = scores > 0  # nearer to another class's mean
    assert 0.05 < float(wrong.float().mean()) < 0.15  # nearest-mean classification of these digits errs on a tenth


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("curriculum(rosenbrock)", "nothing tells which examples of rosenbrock are difficult"),
        ("curriculum(digits_mlp, by=length)", "its inputs are no sequences of different lengths"),
        ("curriculum(digits_mlp, by=given)", r"give Data\(..., difficulty=scores \[n\]\)"),
        ("curriculum(curriculum(digits_mlp))", r"chosen by curriculum already"),
        ("curriculum(digits_mlp, kind=gentle)", "one of stochastic, deterministic"),
    ],
)
def test_refusals_say_why(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        problem.build(problem.bind(text))


@pytest.mark.parametrize("settings", [{"batch_size": 0}, {"batch_size": 8, "order": "online"}])
def test_needs_something_to_choose_from(settings: dict[str, object]) -> None:
    run = Run.make("curriculum(digits_mlp)", "sgd", steps=2, **settings)
    with pytest.raises(UsageError, match="leaves nothing to choose"):
        train_group([run], lambda result: None)


@pytest.mark.parametrize("outer", ["curriculum", "curriculum(continuation({}))"])
def test_runs_in_lanes_as_alone(outer: str) -> None:
    text = outer.format("digits_mlp(hidden=(8,))") if "{" in outer else f"{outer}(digits_mlp(hidden=(8,)), steps=30)"
    runs = [
        Run.make(text, f"sgd(lr={lr})", seed=seed, steps=40, eval_every=20, batch_size=32, dtype="float64")
        for seed, lr in ((0, 0.1), (1, 0.1), (0, 1e9))  # the last one diverges, and the others go on without it
    ]
    together: dict[Run, Result] = {}
    train_group(runs, lambda result: together.update({result.run: result}))
    for run in runs[:2]:
        alone: list[Result] = []
        train_group([run], alone.append)
        assert alone[0].trace == together[run].trace and alone[0].status == "done"
