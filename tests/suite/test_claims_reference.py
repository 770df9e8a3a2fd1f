"""Every claim and its control, against the verdicts of results/reference/claims.csv.

``pytest --thorough tests/suite/test_claims_reference.py`` tries them all, in about a quarter of an
hour of processor time.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from suite.claims import claim
from suite.claims.carrying import carry_out

REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference" / "claims.csv"


def rows() -> dict[str, dict[str, str]]:
    """The first row of each claim."""
    with REFERENCE.open(newline="") as file:
        return {row["claim"]: row for row in reversed(list(csv.DictReader(file)))}


def test_the_reference_has_every_claim_as_it_is_worded() -> None:
    assert {name: row["says"] for name, row in rows().items()} == {each.name: each.summary for each in claim}


def test_no_control_of_the_reference_holds() -> None:
    assert {row["control_verdict"] for row in rows().values()} <= {"does not hold", "undecided"}


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("name", claim.names())
def test_a_claim_comes_to_what_it_came_to_before(name: str, tmp_path: Path) -> None:
    found = carry_out(claim.bind(name), str(tmp_path), controls=True)
    assert "problem" not in found, found
    verdicts = {found["verdict"], rows()[name]["claim_verdict"]}  # on another machine one may be undecided
    assert not {"holds", "does not hold"} <= verdicts, found
    assert found["control"]["verdict"] in ("does not hold", "undecided"), found["control"]
