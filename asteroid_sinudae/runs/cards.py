"""Cards of the models that come with the package: Markdown, from what their files say."""

from pathlib import Path

import pandas as pd
import yaml

from ..evaluation.tables import markdown_table, with_readability
from ..models.model_files import describe_task
from ..models.pretrained import describe_sizes
from ..models.sinudae import SinuDAE

LICENCE = (
    "non-commercial research only, as the licences of the music it was trained on allow no more"
)

REACH = (  # of a separator
    "it has heard minutes of music, not hours: much of the band stays with the voice, more where "
    "both are unlike what it has heard. Published separators, trained on whole songs, reach more "
    "(docs/results.md)"
)


def make_infos(package: dict, metrics: dict, data: str, quality: dict[str, float]) -> dict:
    """Make the infos of a published file, without paths and with measured figures only.

    Args:
        package (dict): The package of the run's model.
        metrics (dict): Result of its evaluation, see :meth:`.Run.read_metrics`.
        data (str): The training data in words.
        quality (dict): Quality of half precision in dB: `rounding`, the level of rounding errors
            below the output; `cost`, the loss of reconstruction or of separation that they cause;
            and of a pair, `noise_si_sdr`, the SI-SDR of the reconstruction of white noise.
    """
    training = package["infos"]["training"]
    evaluation = {
        key: metrics[key]
        for key in (
            "medians",
            "readability",
            "evaluated",
            "segments",
            "test_tracks",
            "versions",
            "commit",
            "device",
            "finished",
        )
        if key in metrics
    }
    # The baselines of the evaluation may be files, and so may the model that it began with.
    conf = {group: dict(of_group) for group, of_group in training["conf"].items()}
    conf.pop("baseline", None)
    initial = conf.get("training", {}).get("init_from")
    if initial:
        conf["training"]["init_from"] = Path(initial).name
    return {
        **package["infos"],
        "data": data,
        "licence": LICENCE,
        "training": {**training, "conf": conf},
        "evaluation": evaluation,
        "half_precision": quality,
    }


def make_card(name: str, package: dict, sha256: str) -> str:
    """Write the card of a model.

    Args:
        name (str): Name of the model.
        package (dict): Content of its file, with `infos` of :func:`make_infos`.
        sha256 (str): Checksum of its file.

    Returns:
        str: Markdown, with a line about the model below the heading.
    """
    infos = package["infos"]
    training, evaluation, half = (
        infos[key] for key in ("training", "evaluation", "half_precision")
    )
    sizes = describe_sizes(package["model_args"], package["model_name"])
    n_parameters = sum(value.numel() for value in package["state_dict"].values())
    facts = {
        "Licence": infos["licence"],
        "Does": describe_task(package["model_name"], infos),
        "Data": infos["data"],
        "Parameters": f"{n_parameters:,}",
        "Training": f"{training['steps']:,} updates, {training['seconds']:.0f} s on "
        f"{training['device']}, finished {training['finished']}",
        "Trained with": _made_with(training),
        "Evaluation": f"medians over {evaluation['segments']} segments of "
        f"{evaluation['test_tracks']} test tracks, before the rounding to half precision, "
        f"finished {evaluation['finished']}",
        "Evaluated with": _made_with(evaluation),
        "Half precision": _half_precision(half),
        **({} if package["model_name"] == SinuDAE.__name__ else {"Reach": REACH}),
        "SHA-256": sha256,
    }
    medians = pd.DataFrame.from_dict(evaluation["medians"], orient="index")
    medians = with_readability(medians, evaluation.get("readability"))
    conf = yaml.safe_dump(training["conf"], sort_keys=False)
    return "\n".join(
        [
            f"# {name}\n",
            f"{sizes}; {training['steps']:,} updates on {infos['data']}\n",
            *(f"- **{key}**: {value}" for key, value in facts.items()),
            f"\n## Figures\n\n{markdown_table(medians)}",
            f"\n## Configuration\n\n```yaml\n{conf}```\n",
        ]
    )


def _half_precision(quality: dict[str, float]) -> str:
    """Say in words what half precision costs, see :func:`make_infos`."""
    text = (
        f"rounding errors are {quality['rounding']:.1f} dB below the output, which takes "
        f"{quality['cost']:.2f} dB from "
    )
    if "noise_si_sdr" not in quality:
        return f"{text}the separation"
    noise = quality["noise_si_sdr"]
    return f"{text}the reconstruction; white noise is reconstructed at {noise:.1f} dB"


def _made_with(made: dict) -> str:
    versions = [f"{name} {version}" for name, version in made["versions"].items() if version]
    return f"commit {made['commit'] or 'unknown'}; {', '.join(versions)}"
