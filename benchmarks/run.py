"""Measure how fast the pair trains, encodes and decodes, beside what others would use.

All that a suite compares runs in turn in one process, but commands, which have one each. Prints
tables, and writes --output.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd
import suites
import torch

from asteroid_sinudae.utils.checks import check
from asteroid_sinudae.utils.errors import one_line
from asteroid_sinudae.utils.files import atomic_path, write_json
from asteroid_sinudae.utils.provenance import provenance


def has_bf16_units() -> bool:
    """Tell whether the device multiplies matrices in bfloat16, not whether that is faster."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    names = tuple(suites.SUITES)
    parser.add_argument("--suites", nargs="+", choices=names, default=names, metavar="SUITE")
    parser.add_argument("--n_filters", type=int, default=800)
    parser.add_argument("--kernel_size", type=int, default=2048, help="samples")
    parser.add_argument("--stride", type=int, default=256, help="samples")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a training signal")
    parser.add_argument("--audio_seconds", type=float, default=30.0, help="to encode and decode")
    parser.add_argument("--song_seconds", type=float, default=60.0, help="for the command")
    parser.add_argument("--rounds", type=int, default=9, help="counted rounds of each comparison")
    parser.add_argument("--threads", type=int, help="of a CPU (default: PyTorch's)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="(default: cuda if there is one)")
    parser.add_argument("--output", type=Path, default=Path("benchmarks.json"))
    parser.add_argument("--profile", type=Path, help="JSON trace of a step, for chrome://tracing")
    args = parser.parse_args()

    setting, left_out = make_setting(args)
    for line in left_out:
        print(f"Left out: {line}")
    if args.profile:
        profile(setting, args.profile)
    tables = {}
    for name in args.suites:
        tables[name] = suites.SUITES[name](setting)
        table = pd.DataFrame(tables[name]).to_markdown(index=False, floatfmt=".2f", missingval="–")
        print(f"\n## {name}\n\n{table}")
    content = {
        "arguments": {key: str(value) for key, value in vars(args).items()},
        "left_out": left_out,
        **provenance(setting.device),
        "tables": tables,
    }
    write_json(args.output, content)
    print(f"\n{args.output}: what was measured, with versions and device")


def make_setting(args: argparse.Namespace) -> tuple[suites.Setting, list[str]]:
    """Collect what to measure, and what this machine cannot.

    Raises:
        ValueError: naming the argument that is out of its range.
    """
    for name in ("batch_size", "rounds", "threads"):
        value = getattr(args, name)
        check(value is None or value >= 1, name, value, "at least 1")
    for name in ("seconds", "audio_seconds", "song_seconds"):
        value = getattr(args, name)
        check(0 < value < 36_000, name, value, "positive and less than ten hours")
    sizes = {key: getattr(args, key) for key in ("n_filters", "kernel_size", "stride")}
    check(sizes["stride"] <= sizes["kernel_size"], "stride", sizes["stride"], "at most kernel_size")
    with torch.device("meta"):
        suites.SinuDAE(**sizes)  # refuses sizes that are out of range
    is_missing = args.device == "cuda" and not torch.cuda.is_available()
    check(not is_missing, "device", args.device, "cpu on this machine")
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if args.threads:
        torch.set_num_threads(args.threads)

    left_out = []
    precisions = ["fp32"]
    if has_bf16_units():
        precisions.append("bf16")
    else:
        left_out.append("bf16, as this machine has no matrix units for it")
    if device.type == "cpu" and not torch.cuda.is_available():
        left_out.append("a GPU, as there is none")
    setting = suites.Setting(
        sizes,
        args.batch_size,
        args.seconds,
        args.audio_seconds,
        args.song_seconds,
        args.rounds,
        device,
        tuple(precisions),
    )
    return setting, left_out


def profile(setting: suites.Setting, path: Path) -> None:
    """Write a trace of one training step in the last precision, after two that warm up."""
    pair = suites.make_pairs(setting)["ours"]
    step = suites.make_step(pair, setting, setting.precisions[-1])
    for _ in range(2):
        step(lambda part: None)
    with torch.profiler.profile(record_shapes=True) as profiler:
        step(lambda part: None)
        if setting.device.type == "cuda":
            torch.cuda.synchronize()
    with atomic_path(path) as temporary:
        profiler.export_chrome_trace(str(temporary))
    print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=15))
    print(f"{path}: a trace for chrome://tracing or ui.perfetto.dev")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"run.py: {one_line(error)}")
    except KeyboardInterrupt:
        sys.exit("run.py: interrupted")
