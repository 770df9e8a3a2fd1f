"""The digest of tensors is of what they hold, and computed once for as long as it is that."""

from __future__ import annotations

import gc
import hashlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from problems import digests
from problems.digests import digest
from problems.problem import Data, problem


def plainly(tensors):
    found = hashlib.sha256()
    for tensor in tensors:
        array = (tensor.float() if tensor.is_floating_point() else tensor).contiguous().numpy()
        found.update(f"{torch.from_numpy(array).dtype}{array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()[:16]


@pytest.fixture
def hashed(monkeypatch):
    """The tensors that were read, in order."""
    seen, real = [], digests._with
    monkeypatch.setattr(digests, "_with", lambda state, tensor: seen.append(tensor.shape) or real(state, tensor))
    return seen


OWN = [torch.arange(24.0).view(4, 6), torch.arange(24.0, dtype=torch.float64).view(6, 4), torch.arange(12) % 5]
VIEWS = [
    lambda t: t,
    lambda t: t[1:],
    lambda t: t[:-1],
    lambda t: t.flatten(),
    lambda t: t.T if t.dim() == 2 else t[::2],
    lambda t: t.clone(),
    lambda t: t.view(torch.int64 if t.dtype == torch.float64 else t.dtype),
]


@given(st.lists(st.tuples(st.sampled_from(range(3)), st.sampled_from(range(len(VIEWS)))), max_size=4), st.booleans())
def test_views_of_remembered_tensors_have_the_digest_of_what_they_hold(chosen, changed):
    if changed:
        OWN[2].add_(1)
    tensors = [VIEWS[how](OWN[which]) for which, how in chosen]
    assert digest(tensors) == plainly(tensors)


def test_each_is_read_once_whatever_views_of_it_are_made(hashed):
    x, y = torch.rand(10, 2, 2), torch.arange(10)
    first = [digest((x[:-3].flatten(1), y[:-3])) for _ in range(3)]
    assert hashed == [(7, 4), (7,)] and len(set(first)) == 1
    digest((x[-3:].flatten(1), y[-3:]))
    assert hashed[2:] == [(3, 4), (3,)]
    assert digest((y[:-3], x[:-3].flatten(1))) != first[0]


def test_what_has_changed_is_read_again(hashed):
    x = torch.zeros(5)
    before = digest((x[1:],))
    x[2] = 1.0
    after = digest((x[1:],))
    assert len(hashed) == 2 and after == plainly((x[1:],)) != before
    with torch.inference_mode():
        still = torch.zeros(5)
    assert digest((still,)) == digest((still,)) and len(hashed) == 4  # of which changes are not counted


def test_what_is_gone_is_forgotten():
    gc.collect()
    before = len(digests._root().after)
    for k in range(50):
        x, y = torch.full((3,), float(k)), torch.ones(2)  # which come to lie where those before them lay
        assert digest((x, y)) == plainly((x, y))
    del x, y
    gc.collect()
    assert len(digests._root().after) == before


def test_problems_made_again_read_nothing(hashed):
    made = [problem.build(problem.bind("digits_mlp")) for _ in range(2)]
    digits = [[split.fingerprint for split in each.splits.values()] for each in made]
    assert digits[0] == digits[1]
    count = len(hashed)
    Data(made[0].train.tensors).fingerprint  # noqa: B018  # it is computed when asked for
    assert len(hashed) == count
