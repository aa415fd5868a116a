"""Fixtures of all tests."""

import pytest
import torch


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    return tmp_path
