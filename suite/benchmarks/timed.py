"""Wall time and memory, for asv. Ratios are taken by turns; absolute times need an idle machine."""

from __future__ import annotations

import tempfile
from typing import Any

import torch

from analysis.operators import hessian
from analysis.spectrum import spectrum
from problems.names import UsageError
from problems.problem import problem as problems
from suite.benchmarks.cases import DEVICES, OPTIMIZERS, PROBLEMS, make, update
from suite.benchmarks.peers import hand_loop
from suite.benchmarks.ratios import interleaved
from suite.curvature import Seen
from suite.initializers import initializer as initializers
from suite.sampler import generator
from suite.spec import Result, Run
from suite.store import Store, load


class Steps:
    """One step, of one lane and of many."""

    params = (PROBLEMS, OPTIMIZERS, (1, 64), DEVICES)
    param_names = ("problem", "optimizer", "lanes", "device")
    timeout = 120.0

    def setup(self, problem: str, optimizer: str, lanes: int, device: str) -> None:
        """A group of lanes, its step recorded."""
        self.step = make(problem, optimizer, lanes, device)

    def time_step(self, *params: Any) -> None:
        """A step of all lanes."""
        self.step()

    def peakmem_step(self, *params: Any) -> None:
        """The process's peak memory with these lanes."""
        self.step()


class Updates:
    """An optimizer's update by itself, on one flat vector."""

    params = (("sgd", "momentum", "adagrad", "rmsprop", "adam"), (10_000, 1_000_000))
    param_names = ("optimizer", "parameters")
    timeout = 120.0

    def setup(self, optimizer: str, parameters: int) -> None:
        """One lane, its update recorded."""
        torch.set_num_threads(1)
        self.lanes = update(optimizer, parameters)
        self.lanes.step(0)

    def time_update(self, *params: Any) -> None:
        """One update."""
        self.lanes.step(1)

    def track_times_the_floor(self, optimizer: str, parameters: int) -> float:
        """Its time over that of reading and writing the bytes that must be moved, by turns."""
        from suite.updates import measure

        (found,) = measure(optimizer, parameters, seconds=0.5, forms=("compiled",))
        return found.ratio

    track_times_the_floor.unit = "x"  # type: ignore[attr-defined]  # asv reads it there


class Curvature:
    """What a Hessian's largest eigenvalues cost."""

    params = ("digits_mlp", "linear_regression")
    param_names = ("problem",)
    timeout = 120.0

    def setup(self, problem: str) -> None:
        """The problem at its start."""
        torch.set_num_threads(1)
        made = problems.build(problems.bind(problem))
        start = initializers.build(initializers.bind("default"))(made, generator(0, "start"))
        self.hessian = hessian(Seen().objective(made, start))

    def time_lanczos(self, problem: str) -> None:
        """Five eigenvalues by Lanczos."""
        spectrum(self.hessian, top=5)


class AgainstLoop:
    """Lanes against the loop that a person would write, per run and by turns."""

    params = (("digits_mlp/64", "linear_regression/256", "digits_mlp/1"),)
    param_names = ("problem/lanes",)
    timeout = 120.0

    def track_speedup(self, case: str) -> float:
        """Time of a hand-written step for each lane over time of a step of all lanes."""
        name, _, lanes = case.partition("/")
        step = make(name, "sgd(lr=0.01)", int(lanes))
        made = problems.build(problems.bind(name))
        loop = hand_loop(made, lambda p: torch.optim.SGD(p, lr=0.01), made.batch_size, 20)
        return interleaved(lambda: [step() for _ in range(20)], loop).median * int(lanes)

    track_speedup.unit = "x"  # type: ignore[attr-defined]  # asv reads it there


class Starts:
    """Drawing θ₀."""

    params = (("default", "glorot_normal", "he_uniform"), ("digits_mlp", "adding_lstm"))
    param_names = ("initializer", "problem")

    def setup(self, initializer: str, problem: str) -> None:
        """The problem and the initializer."""
        self.made = problems.build(problems.bind(problem))
        self.draw = initializers.build(initializers.bind(initializer))

    def time_draw(self, *params: Any) -> None:
        """One start."""
        self.draw(self.made, generator(0, "start"))


class Loading:
    """Data and results from disk."""

    def setup(self) -> None:
        """A folder of two hundred results."""
        self.folder = tempfile.TemporaryDirectory()
        store = Store(self.folder.name)
        trace = tuple((step, measure, 0.5) for step in range(0, 500, 5) for measure in ("train_loss", "valid_loss"))
        for seed in range(200):
            store.save(Result(Run.make("digits_mlp", "adam", seed=seed), "done", trace=trace))

    def teardown(self) -> None:
        """Remove it."""
        self.folder.cleanup()

    def time_results(self) -> None:
        """Two hundred results as pandas frames."""
        load(self.folder.name)

    def time_digits(self) -> None:
        """A problem on scikit-learn's digits, its data in memory already."""
        problems.build(problems.bind("digits_mlp"))

    def time_mnist(self) -> None:
        """MNIST, its files in memory already."""
        try:
            problems.build(problems.bind("mnist_mlp"))
        except UsageError as missing:
            raise NotImplementedError(str(missing)) from missing


class Imports:
    """What a command waits for before it does anything."""

    def timeraw_suite(self) -> str:
        """``import suite``, without torch."""
        return "import suite"

    def timeraw_list(self) -> str:
        """All names and their settings, without torch."""
        return "from suite.cli import cli; cli(['list', '--json'], standalone_mode=False)"
