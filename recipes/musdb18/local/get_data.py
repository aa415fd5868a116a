"""Stage 0: say which audio will be used, and download musdb's 7-second sample if asked to."""

from utils import scripts

from asteroid_sinudae.data.musdb18 import SAMPLE_SIZE, download_sample, list_tracks
from asteroid_sinudae.data.tracks import SUBSETS


def main() -> None:
    parser = scripts.Parser(__doc__)
    parser.add_argument(
        "--musdb18_dir", type=scripts.path, help="MUSDB18, or where to download its sample"
    )
    parser.add_argument("--download", action="store_true", help="get musdb's 7-second sample")
    args = parser.parse_args()
    if args.musdb18_dir is None:
        print("No --musdb18_dir: the 6-second excerpt that comes with stempeg will be used")
        return
    if args.download:
        download_sample(args.musdb18_dir)
    kind, tracks = list_tracks(args.musdb18_dir)
    print(f"{args.musdb18_dir}: {len(tracks)} tracks ({kind})")
    if args.download:
        there = (sum(track.subset == subset for track in tracks) for subset in SUBSETS)
        counts = zip(there, SAMPLE_SIZE.items(), strict=True)
        songs = " and ".join(f"{n} of {whole} {subset}" for n, (subset, whole) in counts)
        print(f"{songs} songs of musdb's sample are there")


if __name__ == "__main__":
    scripts.run(main)
