"""Provenance of a result: the versions, commit, device and time that it was made with."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGES = (
    "asteroid_sinudae",
    "torch",
    "torchaudio",
    "asteroid",
    "asteroid-filterbanks",
    "pytorch-lightning",
    "musdb",
    "museval",
    "stempeg",
    "numpy",
)


def provenance(device: torch.device | str) -> dict[str, Any]:
    """Describe what a result was made with, as plain values.

    Args:
        device (:class:`torch.device` or str): The device that computed the result.

    Returns:
        dict with keys `versions`, `commit` (None outside a git checkout), `device`, `threads` and
        `finished` (UTC, ISO 8601).
    """
    device = torch.device(device)
    is_cuda = device.type == "cuda"
    return {
        "versions": {"python": platform.python_version(), **_package_versions()},
        "commit": _commit(),
        "device": torch.cuda.get_device_name(device) if is_cuda else _processor(),
        "threads": torch.get_num_threads(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _package_versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return versions


def _commit() -> str | None:
    """Return the commit of the checkout that this file is in, with a mark if files have changed."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():  # installed, perhaps inside another project's checkout
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return run.stdout.strip()


def _processor() -> str:
    """Return the name of the CPU, from torch 2.13 on or else from the platform."""
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return f"{known.get('cpu_name') or platform.processor() or platform.machine()} (CPU)"
