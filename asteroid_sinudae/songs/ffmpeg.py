"""ffmpeg, which decodes what libsndfile does not, or reads only a part of.

It decodes into a pipe, so that no temporary file is needed, and ends when nobody reads the pipe any
more, however that came about.
"""

import contextlib
import json
import re
import shutil
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

INPUT = ["-protocol_whitelist", "file", "-i"]  # a playlist or a film may name what is elsewhere
LONGEST_LINE = 2000  # of a message, in bytes


def is_installed() -> bool:
    """Whether there is an ffmpeg on PATH."""
    return shutil.which("ffmpeg") is not None


class Facts(NamedTuple):
    """What ffprobe reads in a file's headers.

    Attributes:
        seconds (float or None): Duration of the audio, None if the headers do not tell it.
        n_streams (int): Number of audio streams.
    """

    seconds: float | None
    n_streams: int


def probe(path: Path) -> Facts:
    """Read a file's headers; where ffprobe is not installed they tell nothing."""
    if shutil.which("ffprobe") is None:
        return Facts(None, 1)
    command = ["ffprobe", "-v", "quiet", "-of", "json", *INPUT, f"file:{path}", "-show_entries"]
    command += ["stream=codec_type,duration:stream_tags=DURATION:format=duration"]
    output = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True).stdout
    try:
        facts = json.loads(output)
    except ValueError:
        return Facts(None, 1)
    streams = facts.get("streams", [])
    audio = [stream for stream in streams if stream.get("codec_type") == "audio"]
    if not audio:
        return Facts(None, 0)
    told = [audio[0].get("duration"), audio[0].get("tags", {}).get("DURATION")]
    if len(streams) == 1:  # a film may be longer than its sound
        told.append(facts.get("format", {}).get("duration"))
    seconds = (_seconds(text) for text in told)
    return Facts(next((value for value in seconds if value is not None), None), len(audio))


def _seconds(text: str | None) -> float | None:
    """Of a number, or of hours, minutes and seconds."""
    if text is None or not re.fullmatch(r"(\d+:\d+:)?\d+(\.\d+)?", text):
        return None
    value = 0.0
    for part in text.split(":"):
        value = 60 * value + float(part)
    return value


class Messages:
    """What ffmpeg says while it decodes, read in a thread of its own.

    Attributes:
        first (str): The first complaint; empty if there is none.
        n_complaints (int): How many there are: errors, and what is reported as corrupt.
        is_estimate (bool): Whether the duration is an estimate by the bit rate.
    """

    def __init__(self, pipe: BinaryIO):
        self.first, self.n_complaints, self.is_estimate = "", 0, False
        self._pipe = pipe
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while line := self._pipe.readline(LONGEST_LINE):
            found = re.search(r"\[(\w+)\] (.*)", line.decode(errors="replace"))
            if found is None:
                continue
            level, text = found[1], found[2].strip()
            self.is_estimate |= "Estimating duration from bitrate" in text
            is_error = level in ("error", "fatal", "panic")
            # Of two MP4 files that were joined, the first is read alone.
            is_error |= bool(re.search("corrupt|duplicated moov", text, re.IGNORECASE))
            # Times that go back, where files were joined, do not matter to samples.
            if is_error and not re.search("non.monoton", text, re.IGNORECASE):
                self.first = self.first or text
                self.n_complaints += 1

    def wait(self) -> None:
        """Until ffmpeg has nothing more to say."""
        self._thread.join()


class Decoder:
    """A running ffmpeg that decodes the first audio stream of a file.

    Args:
        process (subprocess.Popen): It, writing an AU file of 32-bit floats.
        messages (Messages): Of it.

    Attributes:
        sample_rate (int): In Hz, 0 if there is no audio.
        channels (int): Their number, 0 if there is no audio.
    """

    def __init__(self, process: subprocess.Popen, messages: Messages):
        self._process, self.messages = process, messages
        self.sample_rate = self.channels = 0
        header = process.stdout.read(24)
        if len(header) == 24:
            _, start, _, _, self.sample_rate, self.channels = struct.unpack(">6I", header)
            process.stdout.read(start - 24)

    def pieces(self, n_samples: int) -> Iterator[np.ndarray]:
        """All samples, float32 of shape `(time, channels)`, up to `n_samples` at a time.

        Raises:
            OSError: if something else ends ffmpeg.
        """
        n_bytes = 4 * self.channels
        while data := self._process.stdout.read(n_samples * n_bytes):
            whole = len(data) // n_bytes * n_bytes
            samples = np.frombuffer(data[:whole], ">f4").astype(np.float32)
            yield samples.reshape(-1, self.channels)
        self.messages.wait()
        if (status := self._process.wait()) < 0:
            raise OSError(f"ffmpeg was ended by signal {-status}: is there too little memory?")


@contextlib.contextmanager
def decoding(path: Path) -> Iterator[Decoder]:
    """Decode a file by ffmpeg, which is stopped at the end of the block.

    Args:
        path (Path): The file.

    Yields:
        Decoder
    """
    command = ["ffmpeg", "-nostdin", "-v", "level+warning", "-err_detect", "crccheck", *INPUT]
    command += [f"file:{path}", "-map", "0:a:0", "-map_metadata", "-1"]
    command += ["-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
    pipes = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    # In a group of its own, Ctrl-C reaches this process alone, which then stops it.
    with subprocess.Popen(command, **pipes, process_group=0) as process:
        messages = Messages(process.stderr)
        try:
            yield Decoder(process, messages)
        finally:
            process.kill()
            messages.wait()
