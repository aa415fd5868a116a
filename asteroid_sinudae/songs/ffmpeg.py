"""Decoding by ffmpeg of the files that libsndfile does not read, or reads only in part.

ffmpeg decodes into a pipe, so that no temporary file is needed. It ends when the pipe is closed,
for whatever reason.
"""

import contextlib
import json
import re
import shutil
import struct
import subprocess
import threading
from collections.abc import Iterator
from typing import IO, NamedTuple

import numpy as np

from .containers import Part

# A playlist or a film may refer to the network.
INPUT = ["-protocol_whitelist", "file,subfile", "-i"]
LONGEST_LINE = 2000  # bytes of a message


def is_installed() -> bool:
    """Tell whether there is an ffmpeg on PATH."""
    return shutil.which("ffmpeg") is not None


class Facts(NamedTuple):
    """Facts that ffprobe reads in the headers of a file.

    Attributes:
        seconds (float or None): Duration of the audio, None if the headers do not say.
        n_streams (int): Number of audio streams.
    """

    seconds: float | None
    n_streams: int


def _url(part: Part) -> str:
    """How ffmpeg is told to read a file, or one of those that were joined into it."""
    if part == Part(part.path):
        return f"file:{part.path}"
    return f"subfile,,start,{part.start},end,{part.end or 0},,:file:{part.path}"


def probe(part: Part) -> Facts:
    """Read the headers of a file; if ffprobe is not installed, nothing is known of them.

    Args:
        part (Part): The file, or one of those that were joined into it.

    Returns:
        Facts
    """
    if shutil.which("ffprobe") is None:
        return Facts(None, 1)
    command = ["ffprobe", "-v", "quiet", "-of", "json", *INPUT, _url(part), "-show_entries"]
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
    """Parse a number of seconds, or hours, minutes and seconds; None for other text."""
    if text is None or not re.fullmatch(r"(\d+:\d+:)?\d+(\.\d+)?", text):
        return None
    value = 0.0
    for part in text.split(":"):
        value = 60 * value + float(part)
    return value


class Messages:
    """Messages of ffmpeg while it decodes, read in a thread.

    Attributes:
        first (str): The first complaint; empty if there is none.
        n_complaints (int): Number of errors and of reports that something is corrupt.
        is_estimate (bool): Whether ffmpeg estimated the duration from the bit rate.
    """

    def __init__(self, pipe: IO[bytes]):
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
            # If two MP4 files of an old kind were joined, whose beginning is not found, only the
            # first is read.
            is_error |= bool(re.search("corrupt|duplicated moov", text, re.IGNORECASE))
            # Time stamps that go back, where files were joined, do not affect the samples.
            if is_error and not re.search("non.monoton", text, re.IGNORECASE):
                self.first = self.first or text
                self.n_complaints += 1

    def wait(self) -> None:
        """Wait until ffmpeg has written its last message."""
        self._thread.join()


class Decoder:
    """A running ffmpeg that decodes the first audio stream of a file.

    Args:
        process (subprocess.Popen): The process, which writes an AU file of 32-bit floats.
        messages (Messages): Its messages.

    Attributes:
        sample_rate (int): Sample rate in Hz, 0 if there is no audio.
        channels (int): Number of channels, 0 if there is no audio.
    """

    def __init__(self, process: subprocess.Popen[bytes], messages: Messages):
        assert process.stdout is not None  # it is a pipe
        self._process, self._output, self.messages = process, process.stdout, messages
        self.sample_rate = self.channels = 0
        header = self._output.read(24)
        if len(header) == 24:
            _, start, _, _, self.sample_rate, self.channels = struct.unpack(">6I", header)
            self._output.read(start - 24)

    def pieces(self, n_samples: int) -> Iterator[np.ndarray]:
        """Read all samples, as float32 of shape `(time, channels)`, up to `n_samples` at a time.

        Raises:
            OSError: if ffmpeg is ended by a signal.
        """
        n_bytes = 4 * self.channels
        while data := self._output.read(n_samples * n_bytes):
            whole = len(data) // n_bytes * n_bytes
            samples = np.frombuffer(data[:whole], ">f4").astype(np.float32)
            yield samples.reshape(-1, self.channels)  # (time, channels)
        self.messages.wait()
        if (status := self._process.wait()) < 0:
            raise OSError(f"ffmpeg was ended by signal {-status}: is there too little memory?")


@contextlib.contextmanager
def decoding(part: Part, form: tuple[float, int] | None = None) -> Iterator[Decoder]:
    """Decode a file by ffmpeg, which is stopped at the end of the block.

    Args:
        part (Part): The file, or one of those that were joined into it.
        form (tuple, optional): Sample rate in Hz and number of channels that the audio is
            converted to.

    Yields:
        Decoder
    """
    command = ["ffmpeg", "-nostdin", "-v", "level+warning", "-err_detect", "crccheck", *INPUT]
    command += [_url(part), "-map", "0:a:0", "-map_metadata", "-1"]
    if form is not None:
        command += ["-ar", f"{form[0]:.0f}", "-ac", str(form[1])]
    command += ["-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
    # In a process group of its own, ffmpeg does not get Ctrl-C; this process gets it and stops it.
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
    ) as process:
        assert process.stderr is not None  # it is a pipe
        messages = Messages(process.stderr)
        try:
            yield Decoder(process, messages)
        finally:
            process.kill()
            messages.wait()
