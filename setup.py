"""Package description; the exact versions that were tried together are in constraints.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent


def read_version():
    """Take the version from the package, without importing it (it needs torch)."""
    text = (HERE / "asteroid_sinudae" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE).group(1)


def read_readme():
    readme = HERE / "README.md"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


setup(
    name="asteroid_sinudae",
    version=read_version(),
    description="A learned, interpretable representation of the singing voice, for Asteroid",
    long_description=read_readme(),
    long_description_content_type="text/markdown",
    author="asteroid_sinudae authors",
    # The code is free; the trained models follow the licences of the music they learned from.
    license="MIT; trained models: non-commercial research only, see LICENSE-MODELS",
    license_files=["LICENSE", "LICENSE-MODELS"],
    packages=find_packages(include=["asteroid_sinudae", "asteroid_sinudae.*"]),
    package_data={
        "asteroid_sinudae": ["pretrained_models/*", "*.pyi", "py.typed"],
        "asteroid_sinudae.report": ["templates/*"],
    },
    python_requires=">=3.11",
    install_requires=[
        # Tried: torch 2.11, 2.13, 2.15 with Python 3.11, 2.11 with 3.12, 2.13 with 3.13. With 2.1
        # the filterbanks work, but Adam has no fused form on CPUs, which training uses.
        "torch>=2.11",
        "torchaudio>=2.11",
        "asteroid>=0.7.0",
        "asteroid-filterbanks>=0.4.0",
        "pytorch-lightning>=2.6",
        # asteroid 0.7.0 imports requests without declaring it ...
        "requests",
        # ... and pins torchmetrics<=0.11.4, which imports the pkg_resources of older setuptools.
        "setuptools<82",
        "numpy",
        "scipy>=1.12",
        "soundfile",
        "lazy_loader>=0.4",
        "shtab>=1.6",
        "pydantic>=2.7",
        "typing_extensions",
        "pyyaml",
        "tqdm",
    ],
    entry_points={"console_scripts": ["sinudae=asteroid_sinudae.cli:main"]},
    extras_require={
        # Data, logs, metrics and tables of the recipe, and its Sinkhorn objective.
        "recipe": [
            "musdb>=0.4.3",
            "museval>=0.4.1",
            "stempeg>=0.2.6",
            "POT>=0.9.7",
            "tensorboard",
            "pandas",
            "tabulate",
        ],
        # The page of results and its plots, also in notebooks.
        "report": ["matplotlib>=3.8", "jinja2>=3.1", "pillow>=9.1", "pandas"],
        "docs": ["sphinx>=8", "myst-nb>=1.3", "furo"],
        "dev": [
            "asteroid_sinudae[recipe,report,docs]",
            "pytest",
            "pytest-xdist",
            "black",
            "ruff",
            "mypy",
            "pandas-stubs",
            "types-PyYAML",
            "types-tqdm",
            "onnx",
            "onnxruntime",
            "onnxscript",
        ],
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: MIT License",
        "License :: Free for non-commercial use",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Topic :: Multimedia :: Sound/Audio",
    ],
)
