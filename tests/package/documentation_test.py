"""The examples of docstrings and pages run, their commands exist, and their links lead on."""

import contextlib
import doctest
import importlib
import io
import os
import pkgutil
import re
import runpy
import shlex
import subprocess
import sys

import pytest
import soundfile
import torch
from helpers import RECIPE, ROOT

import asteroid_sinudae as sinudae
from asteroid_sinudae import cli
from asteroid_sinudae.evaluation.tables import in_words
from asteroid_sinudae.models import registry
from asteroid_sinudae.runs.conf import read_yaml
from asteroid_sinudae.runs.results import with_length
from asteroid_sinudae.utils.files import load_safely

MODULES = [
    module.name
    for module in pkgutil.walk_packages(sinudae.__path__, f"{sinudae.__name__}.")
    if not module.name.endswith("__main__")
]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += [RECIPE / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^( *)```(\S*)[^\n]*\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
# Blocks that show something else than commands or Python, and directives of Sphinx.
SHOWN = ("text", "bibtex", "yaml", "{toctree}", "{eval-rst}")
PYTHON = ("python", "{code-cell}")


def name_of(page):
    return page.relative_to(ROOT).as_posix()


# The build of the documentation runs the tutorial anyway.
MARKS = {"docs/tutorial.md": pytest.mark.slow}
EXAMPLES = [
    pytest.param(page, id=name_of(page), marks=MARKS.get(name_of(page), ())) for page in PAGES
]


def blocks(page):
    """A page's blocks, as pairs of language and content."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [(lang, re.sub(f"^{indent}", "", text, flags=re.M)) for indent, lang, text in found]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The working folder, with every file that examples read."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    sizes = dict(n_filters=20, kernel_size=64, stride=8)
    pair = sinudae.SinuDAE(**sizes)
    separator = sinudae.SinuDAEConvTasNet(2, pretrained=pair, n_blocks=1, n_repeats=1, bn_chan=8)
    sources = {"sources": ["vocals", "accompaniment"]}
    for name, model, infos in ("model", pair, {}), ("separator", separator, sources):
        package = model.serialize()
        package["infos"] |= infos
        torch.save(package, f"{name}.pth")
    authors = {
        "encoder": {"conv_a1.weight": (8, 1, 512), "conv_a2.weight": (8, 8, 5)},
        "decoder": {"freq_mat": (8, 1, 1), "phi": (8, 1, 1), "norm_factor": (8, 1, 512)},
    }
    for side, shapes in authors.items():
        torch.save({k: torch.rand(shape) for k, shape in shapes.items()}, f"{side}.pytorch")
    for name in ("song", "mix", "vocals"):
        soundfile.write(f"{name}.wav", 0.1 * torch.randn(11_025).numpy(), 44100)
    return tmp_path


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module, extraglobs={"torch": torch}).failed == 0


def test_every_block_is_run_or_shown():
    languages = {(name_of(page), language) for page in PAGES for language, _ in blocks(page)}
    known = (*PYTHON, "bash", *SHOWN)
    assert {(page, language) for page, language in languages if language not in known} == set()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("page", EXAMPLES)
def test_examples(page, files):
    """A page's blocks are one program, of Python and commands; see RUNNERS for the latter."""
    names, home = {}, RECIPE if page.parent == RECIPE else ROOT
    try:
        for language, block in blocks(page):
            if language in PYTHON:
                exec(compile(block, name_of(page), "exec"), names)
            elif language == "bash":
                run_commands(block, home)
    finally:
        torch.set_grad_enabled(True)
    if page.name == "README.md" and page.parent == ROOT:
        assert names["A"].shape[:2] == (1, 800) and names["y"].shape == (1, 1, 44100)
        assert [estimate.shape for estimate in names["estimates"]] == [(1, 1, 44100)] * 2


def run_commands(block, folder):
    for line in block.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["cd"]:
            folder = folder / words[1]
            assert folder.is_dir(), line
        elif words:
            assert words[0] in RUNNERS, f"{words[0]}: say here how to check it"
            RUNNERS[words[0]](words, folder)


def run_sinudae(words, folder):
    """For real, in the working folder."""
    try:
        assert cli.main(words[1:]) == 0, words
    except SystemExit as exit:  # after --help
        assert exit.code == 0, words


def run_recipe(words, folder):
    """Its options and files are there: run.sh reads all options before it helps."""
    command = ["bash", *words, "--help"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for option, value in zip(words[1:], words[2:], strict=False):
        assert option not in ("--conf", "--separator_conf") or (folder / value).is_file(), value


def run_python(words, folder):
    """A script, whose help names each of the options, or a tool of the development."""
    if words[1] == "-m":
        assert words[2] in ("build", "pytest")
        assert all((folder / word).is_file() for word in words if word.endswith(".py"))
        return
    script, out = folder / words[1], io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr(sys, "argv", [str(script), "--help"])
        patch.syspath_prepend(str(script.parent))
        with pytest.raises(SystemExit):
            runpy.run_path(str(script), run_name="__main__")
    assert "usage:" in out.getvalue()
    assert [w for w in words if w.startswith("--") and w not in out.getvalue()] == []


def run_make(words, folder):
    """The target is there."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--dry-run", *words[1:]]
    done = subprocess.run(command, cwd=folder, env=inherited, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def run_pip(words, folder):
    """Nothing is installed, but extras and files are there."""
    setup = (ROOT / "setup.py").read_text()
    for word in words[2:]:
        if word.startswith("."):
            assert all(f'"{extra}": [' in setup for extra in re.findall(r"\w+", word)), word
        if word.endswith(".txt"):
            assert (folder / word).is_file(), word


def run_ci(words, folder):
    assert os.access(folder / words[0], os.X_OK)


def run_nothing(words, folder):
    """A tool that is not the project's."""


RUNNERS = {
    "sinudae": run_sinudae,
    "./run.sh": run_recipe,
    "python": run_python,
    "make": run_make,
    "pip": run_pip,
    ".ci/run": run_ci,
    "git": run_nothing,
    "pre-commit": run_nothing,
}


def anchors(page):
    """What headings of a Markdown page can be linked to by."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+://", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_readme_is_a_page():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert "make demo" in text and "make test" in text


def medians_of(name):
    path = registry.model_path(registry.FOLDER, name)
    return load_safely(path)["infos"]["evaluation"]["medians"]


def test_figures_of_the_readme_are_those_of_the_models():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in "sinudae_c800_s256", "sinudae_c1972_s768":
        row = next(iter(medians_of(name).values()))
        masks = f"{row['si_sdr_bm_0.5']:.2f} | {row['si_sdr_rm']:.2f} | {row['si_sdr']:.1f}"
        assert re.search(rf"\| `{name}`, .* \| {re.escape(masks)} \|\n", text)
    rows = list(medians_of("separator_vocals").values())
    pair, stft, mean = (f"{row['si_sdr_vocals']:.1f} dB" for row in rows[:3])
    sentence = f"{pair} for vocals on a pair and {stft} on the STFT .*, both together {mean},"
    assert re.search(sentence, text.replace("\n", " "))


def test_the_demo_is_described_as_it_is():
    demo = read_yaml(RECIPE / "local" / "tables.yml")["demo"]
    ours, papers = (
        with_length(demo["rows"][row]["label"], demo["base"]["max_steps"])
        for row in ("multires", "paper")
    )
    untrained, *shipped = map(with_length, demo["base"]["pretrained"].split())
    page = (RECIPE / "README.md").read_text(encoding="utf-8")
    table = next(body for *_, body in BLOCK.findall(page) if body.startswith("| Setup "))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    column = rows[0].index("BM 0.5")
    names = {demo["rows"]["multires"]["label"]: ours, demo["rows"]["paper"]["label"]: papers}
    figures = {names.get(row[0], row[0]): float(row[column]) for row in rows[2:]}
    assert list(figures) == [ours, papers, untrained, demo["stft"]["stft_2048_384"]["label"]]
    sentence = in_words(ours, "STFT", figures).removesuffix(".")
    quoted = (ROOT / "README.md").read_text(encoding="utf-8").replace("\n> ", " ")
    assert f" {sentence}, …\n" in quoted
    assert shipped and not any(name in sentence for name in shipped)


def test_pictures_are_small_and_shown():
    shown = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for path in (ROOT / "docs" / "images").iterdir():
        assert path.suffix == ".png" and path.stat().st_size < 200_000
        assert f"images/{path.name})" in shown


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pictures_are_drawn_again(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pictures.py", "--output", str(tmp_path)])
    runpy.run_path(str(ROOT / "docs" / "pictures.py"), run_name="__main__")
    names = {path.name for path in tmp_path.iterdir()}
    assert names | {"learning_curves.png"} == {
        path.name for path in (ROOT / "docs" / "images").iterdir()
    }


def test_readable_kernels_are_those_of_the_readme():
    """The README's figure of how many kernels peak at the frequency that their channel names."""
    dae = sinudae.SinuDAE.from_pretrained("sinudae_c800_s256")
    kernels = dae.decoder.filterbank.filters()[:, 0].detach().double()
    n_fft = 4 * kernels.shape[-1]
    peaks = torch.fft.rfft(kernels, n_fft).abs().argmax(dim=-1) * dae.sample_rate / n_fft
    distance = (peaks - dae.decoder.filterbank.carrier_frequencies()).abs()
    n_readable = int((distance <= dae.sample_rate / kernels.shape[-1]).sum())
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{n_readable} of {len(kernels)} kernels" in text


def test_all_public_names_are_in_the_api():
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"auto(?:class|function):: ([\w.]+)", text))
    names = set(sinudae.__all__) - {"pretrained", "multires", "report"}
    assert names <= documented


def test_citation_is_that_of_the_readme():
    import yaml

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    paper = citation["preferred-citation"]
    bibtex = dict(blocks(ROOT / "README.md"))["bibtex"]
    assert citation["cff-version"] == "1.2.0" and "version" not in citation
    assert f"{{{paper['title']}}}" in bibtex and str(paper["year"]) in bibtex
    assert all(author["family-names"] in bibtex for author in paper["authors"])
    assert paper["identifiers"][0]["value"] in bibtex
