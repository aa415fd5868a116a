"""The results page in a real browser: headless Chromium, driven by its DevTools protocol."""

import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from small_separators import make_both

from asteroid_sinudae import STFT, SinuDAE, report
from asteroid_sinudae.data.tracks import Track

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium or google-chrome")
PHONE, DESKTOP = (390, 844), (1280, 900)  # CSS pixels
N_SAMPLES = 4410  # of an example


# Chromium reads commands from descriptor 3 and writes events to descriptor 4.
LAUNCHER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def high_pipe():
    """Ends of a pipe whose descriptors are not 3 or 4."""
    low = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in low]
    for end in low:
        os.close(end)
    return high


class Browser:
    """One page of a headless Chromium; commands and events go through two pipes."""

    def __init__(self, profile):
        (commands, self.outward), (self.inward, events) = high_pipe(), high_pipe()
        chromium = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--mute-audio"]
        chromium += ["--disable-dev-shm-usage", "--remote-debugging-pipe"]
        chromium += [f"--user-data-dir={profile}"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, str(commands), str(events), *chromium],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(commands, events),
        )
        os.close(commands)
        os.close(events)
        self.unread, self.n_calls, self.events, self.session = b"", 0, [], {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def _receive(self):
        deadline = time.monotonic() + 30
        while b"\0" not in self.unread:
            ready, _, _ = select.select([self.inward], [], [], deadline - time.monotonic())
            assert ready, "chromium does not answer"
            part = os.read(self.inward, 1 << 16)
            assert part, "chromium has ended"
            self.unread += part
        message, _, self.unread = self.unread.partition(b"\0")
        return json.loads(message)

    def call(self, method, **parameters):
        self.n_calls += 1
        command = {"id": self.n_calls, "method": method, "params": parameters, **self.session}
        os.write(self.outward, json.dumps(command).encode() + b"\0")
        while (message := self._receive()).get("id") != self.n_calls:
            self.events.append(message)
        assert "error" not in message, message
        return message["result"]

    def open(self, path, size=DESKTOP, scheme="light"):
        width, height = size
        metrics = dict(width=width, height=height, deviceScaleFactor=1, mobile=size == PHONE)
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        while not self.of("Page.loadEventFired"):
            self.events.append(self._receive())

    def evaluate(self, expression):
        """Value of a JavaScript expression, which may be a promise."""
        outcome = self.call(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in outcome, outcome["exceptionDetails"]
        return outcome["result"].get("value")

    def press(self, key, code):
        for kind in ("keyDown", "keyUp"):
            text = {"text": key} if kind == "keyDown" and len(key) == 1 else {}
            event = dict(type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)
            self.call("Input.dispatchKeyEvent", **event)

    def of(self, method):
        """Parameters of the events of a kind since the page was opened."""
        return [event["params"] for event in self.events if event.get("method") == method]

    def close(self):
        self.call("Browser.close")
        self.process.wait(timeout=20)
        os.close(self.inward)
        os.close(self.outward)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A page with all that a page can have."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("browser")
    track = Track("A track", "test", N_SAMPLES, 0, root)
    rng = np.random.default_rng(0)
    for path in (track.vocals, track.accompaniment):
        soundfile.write(path, 0.4 * rng.standard_normal(N_SAMPLES), 44100)
    dae = SinuDAE(n_filters=16, kernel_size=256, stride=64)
    representations = {"mod-cos DAE": dae, "STFT": STFT(n_fft=256, stride=64)}
    separators = {f"{name} with a long name": model for name, model in make_both().items()}
    excerpt = report.named_excerpt("A track@0", [track], seconds=1)
    losses = pd.DataFrame({"neg_snr": [-1.0, -2.0], "neg_snr_epoch": np.nan, "tv": [0.5, 0.4]})
    header = ["Representation", *(f"SI-SDR in column {number} (dB)" for number in range(20))]
    page = report.Page(
        title="Run",
        introduction="What was compared.",
        tables=[
            report.Table(
                "A wide table",
                header,
                [["representation", *("−12.34\n−13.00 to −11.00" for _ in range(20))]],
                {title: "what it means" for title in header[1:5]},
                best={(0, place) for place in range(1, 21)},
            )
        ],
        examples=[report.make_example(1, excerpt, representations, separators=separators)],
        kernels=report.kernel_pictures(dae, n=4),
        training=report.loss_pictures(losses),
        configuration={"filterbank": dae.get_model_args()},
        provenance={"Commit": "0123456789abcdef" * 4},
    )
    report.build_page(page, root / "a report")
    return root / "a report"


def failures(browser):
    """Requests that failed, and messages of the console. Chromium itself cuts off the loading of a
    sound after its header; such a request is marked as cancelled."""
    failed = [e for e in browser.of("Network.loadingFailed") if not e.get("canceled")]
    entries = [e["entry"] for e in browser.of("Log.entryAdded")]
    return failed + entries + browser.of("Runtime.exceptionThrown")


PLAY_ALL = """
(async () => {
  const heard = [];
  for (const audio of document.querySelectorAll("audio")) {
    const ended = new Promise((resolve) => audio.addEventListener("ended", resolve));
    await audio.play().then(() => ended, () => null);
    heard.push([audio.duration, audio.currentTime, audio.error && audio.error.message]);
  }
  return heard;
})()
"""
IMAGES = "[...document.images].map((i) => [i.complete, i.naturalWidth, i.width, i.height])"


def test_every_sound_plays_and_every_image_is_there(browser, folder):
    browser.open(folder / "index.html")
    heard = browser.evaluate(PLAY_ALL)
    assert len(heard) == 10
    for duration, position, error in heard:
        assert error is None
        assert duration == pytest.approx(N_SAMPLES / 44100, abs=1e-3)
        assert position == pytest.approx(duration, abs=1e-2)
    images = browser.evaluate(IMAGES)
    assert len(images) == 2 + 5 + 1
    assert all(complete and min(sizes) > 200 for complete, *sizes in images)
    assert failures(browser) == []
    urls = {event["request"]["url"] for event in browser.of("Network.requestWillBeSent")}
    written = {path.as_uri() for path in folder.rglob("*.*")}
    asked = {url for url in urls if not url.startswith("data:")}  # Chromium's own icons
    assert asked == {url for url in written if not url.endswith(("-narrow.png", "-dark.png"))}


def test_what_is_missing_would_be_noticed(browser, folder, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "audio" / "1-mixture.wav").unlink()
    (broken / "figures" / "losses.png").write_bytes(b"no image")
    browser.open(broken / "index.html")
    heard = browser.evaluate(PLAY_ALL)
    assert [error is None for _, _, error in heard] == [number != 5 for number in range(10)]
    assert 0 in {width for _, width, *_ in browser.evaluate(IMAGES)}
    assert "net::ERR_FILE_NOT_FOUND" in {event.get("errorText") for event in failures(browser)}


def test_one_player_at_a_time(browser, folder):
    browser.open(folder / "index.html")
    start = """
    (async () => {
      const [first, second] = document.querySelectorAll("audio");
      for (const audio of [first, second]) { audio.loop = true; await audio.play(); }
      return [first.paused, second.paused];
    })()
    """
    assert browser.evaluate(start) == [True, False]


def test_keyboard(browser, folder):
    browser.open(folder / "index.html")
    browser.press("Tab", 9)
    focus = "document.activeElement"
    assert browser.evaluate(f"{focus}.textContent") == "Skip to the content"
    assert browser.evaluate(f"{focus}.getBoundingClientRect().left") >= 0
    assert browser.evaluate(f"getComputedStyle({focus}).outlineStyle") == "solid"
    browser.press("\r", 13)
    assert browser.evaluate(f"{focus}.id") == "main"
    browser.press("Tab", 9)
    assert browser.evaluate(f"{focus}.getAttribute('aria-label')") == "A wide table"
    browser.press("Tab", 9)
    assert browser.evaluate(f"{focus}.getAttribute('aria-label')") == "Example 1: True voice"
    browser.evaluate(f"{focus}.loop = true")
    browser.press(" ", 32)
    playing = f"new Promise((done) => setTimeout(() => done({focus}.paused), 200))"
    assert browser.evaluate(playing) is False


LAYOUT = """
(() => {
  const channels = (text) => text.match(/[0-9.]+/g).map(Number);
  const luminance = (colour) => {
    const [r, g, b] = channels(colour).map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = (element) => {
    const colour = getComputedStyle(element).backgroundColor;
    return channels(colour)[3] === 0 ? background(element.parentElement) : colour;
  };
  const contrasts = [], sizes = [];
  for (const element of document.body.querySelectorAll("*")) {
    const hasText = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!hasText || element.tagName === "SCRIPT") continue;
    const style = getComputedStyle(element);
    const pair = [luminance(style.color), luminance(background(element))].sort((a, b) => a - b);
    contrasts.push((pair[1] + 0.05) / (pair[0] + 0.05));
    sizes.push(parseFloat(style.fontSize));
  }
  const right = (selector) => Math.max(...[...document.querySelectorAll(selector)].map(
    (element) => element.getBoundingClientRect().right));
  return {
    width: document.documentElement.scrollWidth,
    right: right("audio, img, p, h2, dd"),
    background: luminance(getComputedStyle(document.body).backgroundColor),
    contrast: Math.min(...contrasts),
    size: Math.min(...sizes),
    texts: contrasts.length,
    images: document.images.length,
    dark: [...document.images].filter((image) => image.currentSrc.endsWith("-dark.png")).length,
    rows: new Set([...document.querySelectorAll(".players")[0].children].map(
      (player) => player.getBoundingClientRect().top)).size,
    narrow: [...document.images].filter((image) => image.currentSrc.includes("-narrow")).length,
  };
})()
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_readable(browser, folder, size, scheme):
    browser.open(folder / "index.html", size, scheme)
    browser.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    layout = browser.evaluate(LAYOUT)
    assert layout["width"] <= size[0] and layout["right"] <= size[0]
    assert layout["background"] > 0.9 if scheme == "light" else layout["background"] < 0.05
    assert layout["texts"] > 50 and layout["contrast"] >= 4.5 and layout["size"] >= 14
    assert layout["narrow"] == (2 if size == PHONE else 0)
    assert layout["dark"] == (layout["images"] if scheme == "dark" else 0)
    # All signals of an example are in one row of a wide page.
    assert layout["rows"] == (6 if size == PHONE else 1)
    assert failures(browser) == []
