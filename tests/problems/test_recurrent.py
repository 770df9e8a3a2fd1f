"""Recurrent problems against PyTorch's layers and the definitions of their sources."""

from __future__ import annotations

import gzip
import math

import pytest
import torch
from torch import nn

from problems import Problem, UsageError, problem
from problems.data import splits, synthetic, text
from problems.data.folders import DataDamaged, DataMissing
from problems.layout import Layout
from problems.models import character_model, recurrent_net
from problems.problem import Data
from problems.starts import lecun_uniform, start

RHYME = "Tyger Tyger, burning bright,\nIn the forests of the night; "


def make(written: str) -> Problem:
    return problem.build(problem.bind(written))


def drawn(layout: Layout) -> dict[str, torch.Tensor]:
    theta = start(layout, lecun_uniform)(torch.Generator().manual_seed(0))
    return layout.split(theta.double())


@pytest.mark.parametrize(("cell", "theirs"), [("lstm", nn.LSTM), ("rnn", nn.RNN)])
def test_stacked_layers_are_torchs(cell: str, theirs: type[nn.LSTM | nn.RNN]) -> None:
    model = recurrent_net(3, 4, 2, cell, depth=2, every_step=True)
    pieces = drawn(model.layout)
    reference = theirs(3, 4, num_layers=2, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for layer in range(2):
            getattr(reference, f"weight_ih_l{layer}").copy_(pieces[f"{cell}{layer + 1}.input"])
            getattr(reference, f"weight_hh_l{layer}").copy_(pieces[f"{cell}{layer + 1}.hidden"])
            getattr(reference, f"bias_ih_l{layer}").copy_(pieces[f"{cell}{layer + 1}.bias"])
            getattr(reference, f"bias_hh_l{layer}").zero_()
    x = torch.randn(5, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    states, _ = reference(x)
    expected = states @ pieces["layer1.weight"].T + pieces["layer1.bias"]
    assert torch.allclose(model.apply(pieces, x), expected, atol=1e-12)


def test_character_model_looks_its_letters_up() -> None:
    model = character_model(7, embedding=4, hidden=5, depth=1, forget_bias=1.0)
    pieces = drawn(model.layout)
    body = recurrent_net(4, 5, 7, every_step=True)
    x = torch.tensor([[0, 6, 3], [2, 2, 1]])
    embedded = pieces["embedding.weight"].T[x]
    assert torch.allclose(model.apply(pieces, x), body.apply(pieces, embedded), atol=1e-12)


def test_copying_is_what_the_paper_says() -> None:
    x, y = synthetic.copying(symbols=3, delay=6, alphabet=8, count=50, seed=0).train.tensors
    codes = x.argmax(2)
    assert bool((x.sum(2) == 1).all())
    assert codes.shape == y.shape == (50, 12)
    assert torch.equal(codes[:, :3], y[:, -3:])
    assert bool((codes[:, :3] < 8).all())
    assert bool((y[:, :-3] == 8).all())
    assert bool((codes[:, 8] == 9).all())
    assert bool((codes[:, [3, 4, 5, 6, 7, 9, 10, 11]] == 8).all())


def test_copying_accuracy_counts_the_recalled_letters_alone() -> None:
    p = make("copy_lstm(symbols=2, delay=4, sequences=64)")
    _, y = p.train.tensors
    answers = nn.functional.one_hot(y, 10).float()
    assert p.metrics["accuracy"].value(answers, p.train.tensors).item() == 1.0
    answers[:, -1] = answers[:, -1].roll(1, dims=1)
    assert p.metrics["accuracy"].value(answers, p.train.tensors).item() == 0.5


@pytest.mark.parametrize("name", ["adding_rnn(sequences=64)", "copy_rnn(sequences=64)"])
def test_plain_recurrent_problems_have_one_gate(name: str) -> None:
    assert make(name).layout.named("rnn1.bias").shape == (32,)


def test_images_are_read_row_by_row() -> None:
    image = torch.arange(2 * 28 * 28.0).view(2, 1, 28, 28)
    data = splits.Splits(Data((image, torch.zeros(2))))
    rows = splits.sequences_of_rows(data, 28).train.tensors[0]
    pixels = splits.sequences_of_rows(data, 1).train.tensors[0]
    assert torch.equal(rows[1, 5], image[1, 0, 5])
    assert torch.equal(pixels[1, :, 0], image[1].flatten())


# text ----------------------------------------------------------------------------------------


def test_sequences_follow_one_another(tmp_path) -> None:
    (tmp_path / "t.txt").write_text(RHYME * 5)
    data, count = text.sequences(str(tmp_path / "t.txt"), 7)
    alphabet = sorted(set(RHYME))
    assert count == len(alphabet)
    assert data.valid is not None
    assert data.test is not None
    x = torch.cat([part.tensors[0] for part in (data.train, data.valid, data.test)])
    y = torch.cat([part.tensors[1] for part in (data.train, data.valid, data.test)])
    whole = RHYME * 5
    assert "".join(alphabet[i] for i in x.flatten()) == whole[: x.numel()]
    assert "".join(alphabet[i] for i in y.flatten()) == whole[1 : 1 + y.numel()]
    assert len(data.valid) == len(data.test) == len(x) // 10


def test_text_is_read_compressed_and_from_the_named_folder(tmp_path, monkeypatch) -> None:
    (tmp_path / "t.txt.gz").write_bytes(gzip.compress((RHYME * 20).encode()))
    monkeypatch.setenv("SUITE_DATA", str(tmp_path))
    p = make("text_lstm(file='t.txt.gz', length=10, hidden=8, embedding=4)")
    assert p.start is not None
    loss = p.loss(p.start(torch.Generator().manual_seed(0)), p.train.tensors).item()
    assert loss == pytest.approx(math.log(len(set(RHYME))), rel=0.1)


def test_wrong_texts(tmp_path) -> None:
    (tmp_path / "short.txt").write_text("short")
    with pytest.raises(UsageError, match=r"short\.txt, train: 5 characters are too few for a sequence of 50"):
        text.sequences(str(tmp_path / "short.txt"), 50)
    (tmp_path / "some.txt").write_text("a" * 201)
    with pytest.raises(UsageError, match=r"some\.txt: 4 sequences of 50 characters are too few to be split, need 10"):
        text.sequences(str(tmp_path / "some.txt"), 50)
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(UsageError, match="0 characters"):
        text.sequences(str(tmp_path / "empty.txt"), 50)
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00" * 1000)
    with pytest.raises(DataDamaged, match=r"bytes\.txt: is not UTF-8 text"):
        text.sequences(str(tmp_path / "bytes.txt"), 5)
    with pytest.raises(DataMissing, match="no such file"):
        text.sequences(str(tmp_path / "absent.txt"), 5)
