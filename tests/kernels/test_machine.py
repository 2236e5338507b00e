"""Where kernels serve, and where plain math stays."""

import logging
from types import SimpleNamespace

import pytest
import torch

from piying.kernels import machine


@pytest.fixture
def on_card(monkeypatch):
    """What a kernel asks of a tensor on a card where Triton works."""
    monkeypatch.setattr(machine, "works", lambda index: index == 3)
    return lambda index, dtype=torch.bfloat16: SimpleNamespace(
        is_cuda=True, device=SimpleNamespace(index=index), dtype=dtype
    )


def test_kernels_serve_on_cards_where_triton_works(on_card):
    assert machine.serve(on_card(3)) and not machine.serve(on_card(0))
    assert not machine.serve(torch.ones(1)) and not machine.serve(on_card(3, torch.float64))


def test_what_learns_its_parameters_takes_plain_math(on_card):
    fixed, learned = torch.ones(1), torch.ones(1, requires_grad=True)
    assert machine.serve(on_card(3), fixed, None)
    assert not machine.serve(on_card(3), fixed, learned)
    with torch.no_grad():
        assert machine.serve(on_card(3), fixed, learned)


def test_compiled_code_takes_plain_math(on_card, monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not machine.serve(on_card(3))


@pytest.mark.parametrize(("capability", "lines"), [((9, 0), 1), ((7, 5), 0)], ids=["fails", "too old"])
def test_where_triton_does_not_run_it_is_said_once(monkeypatch, caplog, capability, lines):
    machine.works.cache_clear()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    monkeypatch.setattr(torch, "ones", lambda *shape, device: (_ for _ in ()).throw(RuntimeError("no compiler\nhere")))
    with caplog.at_level(logging.WARNING):
        assert not machine.works(99) and not machine.works(99)
    assert [line.getMessage().partition(": ")[2] for line in caplog.records] == ["no compiler"] * lines


@pytest.mark.gpu
def test_triton_works_on_this_card():
    assert machine.works(0)
