"""Tables as LaTeX: what its fonts lack, and, where there is a LaTeX, that every table can be set."""

from __future__ import annotations

import csv
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from reported import made_up

from analysis.report import Cell, Column, Table, forms
from suite.claims import claim
from suite.claims.carrying import carry_out
from suite.cli import cli

REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference" / "claims.csv"
PREAMBLE = r"\documentclass{article}\usepackage[paperwidth=100cm,paperheight=300cm]{geometry}\usepackage{booktabs}"
ODD = "−½‖∇ℓ‖² ≈ θ̂ᵀx̃ⱼ, |ŷ − ḡ| ≠ 0 ∀ i ∈ {⌊n⌋} ~ \\dir\\ #1 _ ^ $5 & 3 % ⟨a, b⟩ ϵ ↦ ⊙ ∓ x′ … · µm ⋯ -inf [-1e-05]"


def told(text: str) -> str:
    [row] = forms.latex(Table("", "", [Column("says")], [[Cell(text)]])).rows
    return row.removesuffix(r" \\")


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("ε‖g‖ − √κ", r"$\epsilon$$\|$g$\|$ $-$ $\surd$$\kappa$"),
        ("10⁻² θᵀθ Ωᵢ", r"10$^{-}$$^{2}$ $\theta$$^{T}$$\theta$ $\Omega$$_{i}$"),
        ("|H| ~ x_1", r"$|$H$|$ $\sim$ x\_1"),  # which fonts of LaTeX's first encoding show as a dash and an accent
        ("-0.5 [-1.2, 3e-05]", "$-$0.5 [$-$1.2, 3e$-$05]"),
        ("0-1 loss, n-1, --x, sub-1, 2026-11-27", "0-1 loss, n-1, --x, sub-1, 2026-11-27"),
        ("θ̂ x̃ ŷ ∇f′", r"$\hat{\theta}$ $\tilde{x}$ ŷ $\nabla$f$'$"),
    ],
)
def test_latex_has_formulas_for_what_its_fonts_lack(text: str, latex: str) -> None:
    assert told(text) == latex


def test_nothing_that_claims_say_is_beyond_them() -> None:
    with REFERENCE.open(newline="") as file:
        observed = [row["what"] for row in csv.DictReader(file)]
    words = [*observed, *(f"{entry.summary} {entry.meta['control']}" for entry in claim)]
    assert not {mark for text in words for mark in told(text) if ord(mark) > 0xFF}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no LaTeX on this machine")
def test_every_table_can_be_set(tmp_path: Path) -> None:
    results = made_up(tmp_path / "results", "digits_mlp, rosenbrock")
    carry_out(claim.bind("newton_jumps(size=4)"), str(results), controls=True)
    texts = [str(forms.latex(Table("odd", ODD, [Column(ODD, True)], [[Cell(ODD, tone="best")]], ODD, ranked=True)))]
    for kind in ("verdicts", "costs", "claims", "runs", "spectra"):
        done = CliRunner().invoke(cli, ["table", kind, "--format", "latex", "--results", str(results)])
        texts += [done.stdout] if done.exit_code == 0 else []
    assert len(texts) == 6
    (tmp_path / "t.tex").write_text("\n".join([PREAMBLE, r"\begin{document}", *texts, r"\end{document}"]), "utf-8")
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    made = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=60)
    assert made.returncode == 0 and "Missing character" not in made.stdout, made.stdout[-2000:]
