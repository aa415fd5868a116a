"""Fixtures of all tests."""

import signal

import pytest
import torch


def pytest_configure():
    """Take signals as a terminal's processes do: a shell's background jobs ignore some of them."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    return tmp_path
