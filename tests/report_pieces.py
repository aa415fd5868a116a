"""A model, tracks and figures for tests of the page, and a reader of its elements."""

from html.parser import HTMLParser

import torch

from asteroid_sinudae import SinuDAE
from asteroid_sinudae.data.tracks import SAMPLE_RATE

SIZES = dict(n_filters=16, kernel_size=256, stride=64)
LENGTH = 4000  # samples of a track's excerpts
SECONDS = LENGTH / SAMPLE_RATE
CONF = {
    "filterbank": {"decoder": "mod_cos"},
    "baseline": {"stft_n_fft": 256, "stft_stride": 64, "stft_window": "hamming"},
}
METRICS = {
    "medians": {
        "mod-cos DAE": {"si_sdr": 17.8074, "si_sdr_bm_0.5": -7.0471, "additivity_error": 0.25},
        "unprocessed mixture": {"si_sdr_bm_0.5": -2.3234},
    },
    "segments": 93,
    "test_tracks": 5,
    "conf": CONF,
    "versions": {"torch": "2.13.0", "musdb": None},
    "commit": "0123abc",
    "device": "a processor",
    "finished": "2026-01-02T03:04:05+00:00",
}


def make_model(**arguments):
    torch.manual_seed(0)
    return SinuDAE(**{**SIZES, **arguments})


class Elements(HTMLParser):
    """Elements of a page, each a tag, its attributes and the text inside."""

    VOID = {"meta", "link", "img", "source", "br"}

    def __init__(self, html):
        super().__init__()
        self.found, self.open = [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.found.append([tag, dict(attributes), ""])
        if tag not in self.VOID:
            self.open.append(self.found[-1])

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, text):
        for element in self.open:
            element[2] += text

    def of(self, *tags):
        return [(attributes, text) for tag, attributes, text in self.found if tag in tags]
