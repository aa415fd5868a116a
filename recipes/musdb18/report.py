"""Write the results page of an evaluated run: audio, representations, kernels, tables.

With --separators, estimates of separators, which hear the mixture only, stand beside those of masks
that know the sources.

It is one folder that needs no server and no network: open its index.html in a browser.
"""

from pathlib import Path

from torch import nn
from utils import scripts

from asteroid_sinudae import SinuDAE, report
from asteroid_sinudae.data.tracks import SAMPLE_RATE, Manifest
from asteroid_sinudae.filterbanks.bands import parse_bands
from asteroid_sinudae.models.pretrained import describe_sizes
from asteroid_sinudae.runs import front_ends, separators
from asteroid_sinudae.runs.conf import type_of
from asteroid_sinudae.runs.folder import Run
from asteroid_sinudae.runs.representations import (
    OF_TABLE,
    STFT_NAME,
    load_representations,
    pair_name,
    pretrained_names,
)
from asteroid_sinudae.utils.checks import check
from asteroid_sinudae.utils.progress import progress
from asteroid_sinudae.utils.schema import validated


def main() -> None:
    parser = scripts.Parser(__doc__)
    parser.add_folders(scripts.RUN_FOLDERS)
    parser.add_argument(
        "--tables", type=scripts.path, nargs="+", default=[], help="CSV files to show"
    )
    parser.add_argument(
        "--separators",
        type=scripts.path,
        nargs="+",
        default=[],
        help="to hear as well: a folder of them (stage 6), or names of those of the package",
    )
    parser.add_argument("--n_examples", type=int, default=4, help="excerpts of test tracks")
    parser.add_argument("--example_seconds", type=float, default=6.0, help="length of an excerpt")
    parser.add_argument("--examples", nargs="+", metavar="TRACK@SECONDS", help="these, not random")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of excerpts")
    parser.add_argument(
        "--output", type=scripts.path, help="folder to write (default: EXP_DIR/report)"
    )
    args = parser.parse_args()

    run = Run(args.exp_dir)
    output = args.output or run.report_folder
    report.check_output(output)
    metrics = run.read_metrics()
    segments = run.read_segments("track") if run.segments_file.is_file() else None
    further_tables = [report.read_table(path) for path in args.tables]
    losses = report.read_losses(run.folder)
    manifest = Manifest.load(args.data_dir)
    conf = validated(
        type_of(scripts.base_conf(), OF_TABLE), metrics["conf"], f"{run.metrics_file}: conf"
    )
    beside = pretrained_names(conf)
    representations = load_representations(run, conf, manifest, pretrained=beside)
    name = pair_name(conf)
    dae = representations[name]
    heard, of_separators = load_separators(args.separators, name, dae)
    tables = [report.medians_table(metrics, segments), *of_separators, *further_tables]
    tracks, seconds = manifest.subset("test"), args.example_seconds
    if args.examples:
        excerpts = [report.named_excerpt(text, tracks, seconds) for text in args.examples]
    else:
        excerpts = report.choose_excerpts(tracks, args.n_examples, seconds, args.seed)

    examples = [
        report.make_example(number, excerpt, representations, separators=heard)
        for number, excerpt in enumerate(progress(excerpts, "Examples"), start=1)
    ]
    page = report.Page(
        result=report.result_in_words(metrics),
        title=f"Run {scripts.name_of(run.folder)}",
        introduction=introduction(name, dae),
        tables=tables,
        examples=examples,
        comparison=comparison(name, representations, excerpts[0]),
        kernels=report.kernel_pictures(dae),
        training=report.loss_pictures(losses),
        configuration=metrics["conf"],
        provenance=report.provenance_facts(metrics),
    )
    report.build_page(page, output)
    print(f"{output / 'index.html'}: the results page")


def load_separators(
    places: list[Path], of_pair: str, pair: SinuDAE
) -> tuple[dict[str, nn.Module], list[report.Table]]:
    """Load separators, by their names on the page, and the tables of their medians.

    Args:
        places (list of Path): Folders of separators, and names of those of the package.
        of_pair (str): Name of the pair on the page.
        pair (SinuDAE): The pair of the run, on which those of a folder must have been trained.

    Raises:
        FileNotFoundError: if there are none in a folder.
        ValueError: if one is refused, or two have the same name.
    """
    found, tables = {}, []
    for place in places:
        if place.is_dir():
            models, trainings = separators.load_all(place, pair)
            own = {front_ends.title(each, of_pair): model for each, model in models.items()}
            metrics = separators.read_evaluation(place, trainings)
            tables += [report.separators_table(metrics)] if metrics else []
        else:
            own = {str(place): separators.load_named(str(place), pair.sample_rate)}
        check(not own.keys() & found.keys(), "separators", str(place), "each front-end only once")
        found |= own
    return found, tables


def comparison(name: str, representations: dict, excerpt: report.Excerpt) -> list[report.Picture]:
    """Show the loudest second of the first example's voice by the STFT and both initialisations."""
    wav, start = excerpt.loudest_second()
    stft, own = representations[STFT_NAME], representations[name]
    beside = {key: each for key, each in representations.items() if each not in (stft, own)}
    compared = report.compared_representations(name, own, stft, beside)
    what = f"A of the voice of {excerpt.track.name} at {start / SAMPLE_RATE:g} s"
    return report.comparison_pictures(compared, wav, what)


def introduction(name: str, dae: SinuDAE) -> str:
    """Say what was compared, and what the training started from."""
    arguments = dae.get_model_args()
    compared = f"A {name} ({describe_sizes(arguments)}) beside the short-time Fourier transform."
    if arguments["init"] != "multires":
        return compared
    bands = ", ".join(
        f"{band.window} samples in {band.phases} phases up to {band.upper:g} Hz"
        for band in parse_bands(arguments["bands"])
    )
    return f"{compared} It started from windowed cosines: {bands}."


if __name__ == "__main__":
    scripts.run(main)
