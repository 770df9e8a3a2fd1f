"""What chapter 8 says, as experiments that may find otherwise.

One of your own is a function in a file, tried by ``python -m suite claims mine.py:averages_help --controls``::

    from suite.claims import arm, claim, ratios, typical

    @claim(section="mine", control="decay=0")
    def averages_help(decay: float = 0.99, problem: str = "digits_mlp", seeds: int = 15):
        \"\"\"The average of the last hundred points has a lower loss than the last of them.\"\"\"

        def experiment(lab):
            options = {"steps": 400, "eval_every": 400}
            found = lab.train(
                {
                    "last": arm(problem, "sgd(lr=0.5)", **options),
                    "average": arm(problem, f"polyak(sgd(lr=0.5), decay={decay})", **options),
                },
                seeds,
            )
            last, average = (runs.final("valid_loss") for runs in found.values())
            return [typical("loss of the average / of the last point", ratios(average, last), below=1)]

        return experiment

``lab.train`` takes arms as they are, ``lab.tune`` with their best settings as ``compare`` finds them, all on the same
seeds. ``typical`` is of a median over seeds, ``share`` of a share of them, ``exactly`` of what there is but one of.
"""

from suite.claims.base import Experiment, Observation, claim, exactly, share, typical
from suite.claims.lab import Arm, ExperimentError, Lab, Runs, arm, differences, ratios, slope

__all__ = [
    "Arm",
    "Experiment",
    "ExperimentError",
    "Lab",
    "Observation",
    "Runs",
    "arm",
    "claim",
    "differences",
    "exactly",
    "ratios",
    "share",
    "slope",
    "typical",
]
