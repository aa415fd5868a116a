"""Models applied to audio files of any sample rate, length and number of channels, piece by piece.

The channels of a file are processed separately, but that separators hear mid and side of a stereo
file, see :func:`separated`. A file at another sample rate than the model's is resampled,
and the separated sources are resampled back. Nothing is rescaled, so the level is kept.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial

import torch
from asteroid.models.base_models import BaseModel
from torch import nn
from torch.nn.functional import pad

from ..masks import check_rule, estimate_both
from ..models.representation import Representation, reach, whole_hops
from ..models.sinudae import SinuDAE
from ..utils.autocast import PRECISIONS, in_precision
from ..utils.checks import check, check_choice
from .audio import AudioFile, like, rate_ratio, resampled
from .encoded_file import EncodedFile, Signal
from .streams import Stream, by_mid_and_side, cut, map_blocks, overlap_add, together

MAX_PEAK = 1e9  # largest sample of a song: far beyond any scale, but its powers are finite
MAX_BLOCK = 2**28  # bytes of a representation that are in memory at a time
CHANNELS = 16  # channels that are encoded at a time


def separated(
    model: BaseModel,
    audio: AudioFile,
    chunk: float = 10.0,
    overlap: float | None = None,
    keep_order: bool = False,
    precision: str = "32",
) -> Iterator[torch.Tensor]:
    """Separate an audio file by a model.

    A :class:`.SinuDAE` depends on a short part of the signal around each sample, so that its result
    is the same in chunks as for the whole file. The chunks of other models fade into each other.

    Of two channels, a model whose sources have an order hears mid and side, see
    :func:`.by_mid_and_side`: voices are mostly in the mid, where less is in their way than in
    either channel.

    Args:
        model (:class:`~asteroid.models.BaseModel`): A model from mono waveforms to waveforms.
        audio (AudioFile): The file.
        chunk (float): Seconds that are computed at a time.
        overlap (float, optional): Seconds that two chunks share; by default a tenth of a chunk. It
            has no effect on a :class:`.SinuDAE`.
        keep_order (bool): for models whose sources have no order, see :func:`.overlap_add`.
        precision (str): ``'32'``, or ``'bf16'`` to compute products in bfloat16.

    Returns:
        Iterator of :class:`torch.Tensor`, a stream of shapes `(channels, n_src, time)`, of the
        file's rate and length.

    Raises:
        ValueError: if an option is out of its range, if the model expects several channels, if it
            fails on such a chunk, or if its waveforms are not finite, see :func:`finite`.
    """
    is_mono = model.in_channels in (None, 1)
    check(is_mono, f"in_channels of {type(model).__name__}", model.in_channels, "1: mono signals")
    check_choice("precision", precision, PRECISIONS)
    n_samples = _chunk_samples(chunk, model.sample_rate)
    overlap = chunk / 10 if overlap is None else overlap
    check(0 <= overlap <= chunk / 2, "overlap", overlap, f"between 0 and half of {chunk=} (s)")
    ratio = rate_ratio(audio.sample_rate, model.sample_rate)
    pieces = resampled(audio.pieces(), ratio, math.ceil(audio.length * ratio))
    function: Callable[[torch.Tensor], torch.Tensor] = partial(_separate_chunk, model, precision)
    if isinstance(model, SinuDAE):
        pieces = map_blocks(pieces, function, whole_hops(model, n_samples), reach(model))
    else:
        n_shared = min(round(overlap * model.sample_rate), n_samples // 2)
        if audio.channels == 2 and not keep_order:
            function = partial(by_mid_and_side, function)
        pieces = overlap_add(pieces, function, n_samples, n_shared, keep_order)
    estimates = resampled(pieces, 1 / ratio, audio.length)
    return finite(estimates, audio.sample_rate, model, audio)


def masked(
    representation: Representation,
    mixture: AudioFile,
    vocals: AudioFile,
    threshold: float | None = None,
    chunk: float = 10.0,
    rule: str = "binary",
) -> Iterator[torch.Tensor]:
    """Vocals and accompaniment of a mixture by a mask that knows the vocals (Section 3).

    Args:
        representation (Representation): e.g. :class:`.SinuDAE` or :class:`.STFT`.
        mixture (AudioFile): The mixture.
        vocals (AudioFile): The true vocals, of as many channels, made to go with the mixture by
            :func:`.like`; the true accompaniment is the mixture without them.
        threshold (float, optional): see :func:`.make_mask`; 0.5 for the default rule.
        chunk (float): Seconds that are computed at a time; does not affect the result.
        rule (str): see :func:`.make_mask`.

    Returns:
        Iterator of :class:`torch.Tensor`, a stream of shapes `(channels, 2, time)`, of the
        mixture's rate and length.

    Raises:
        ValueError: if an option is out of its range, if the files do not belong together, or if an
            estimate is not finite, see :func:`finite`.
    """
    check_rule(rule, threshold)
    block = _block(representation, chunk, mixture.channels)
    ratio = rate_ratio(mixture.sample_rate, representation.sample_rate)
    pairs = together(mixture.pieces(), like(vocals, mixture))
    stacked = (torch.stack(pair) for pair in pairs)  # (2, channels, time)
    both = resampled(stacked, ratio, math.ceil(mixture.length * ratio))
    function = partial(_mask_chunk, representation, threshold, rule)
    estimates = map_blocks(both, function, block, reach(representation))
    estimates = resampled(estimates, 1 / ratio, mixture.length)
    return finite(estimates, mixture.sample_rate, representation, mixture, vocals)


def encoded(
    model: SinuDAE, audio: AudioFile, chunk: float = 10.0
) -> tuple[Iterator[torch.Tensor], Signal]:
    """Encode an audio file.

    Args:
        model (SinuDAE): The model that encodes.
        audio (AudioFile): The file.
        chunk (float): Seconds that are computed at a time; does not affect the result.

    Returns:
        tuple of an iterator of :class:`torch.Tensor`, a stream of shapes `(channels, C, frames)`,
        and the :class:`.Signal` that it encodes, which is at the model's sample rate.

    Raises:
        ValueError: if `chunk` is out of its range, or the representation is not finite, see
            :func:`finite`.
    """
    block = _block(model, chunk, audio.channels)
    ratio = rate_ratio(audio.sample_rate, model.sample_rate)
    signal = Signal(audio.channels, math.ceil(audio.length * ratio), model.sample_rate)
    pieces = resampled(audio.pieces(), ratio, signal.length)
    # Frames beyond the ends of the signal are computed from silence.
    silence = torch.zeros(audio.channels, model.encoder.edges * model.encoder.stride)
    pieces = itertools.chain([silence], pieces, [silence])
    hops = Fraction(1, model.encoder.stride)
    frames = map_blocks(pieces, partial(_encode_chunk, model), block, reach(model), hops)
    return finite(frames, model.sample_rate * hops, model, audio), signal


def decoded(model: SinuDAE, file: EncodedFile, chunk: float = 10.0) -> Iterator[torch.Tensor]:
    """Decode an encoded signal.

    Args:
        model (SinuDAE): The model that decodes.
        file (EncodedFile): A file with the result of :func:`encoded`, perhaps edited.
        chunk (float): Seconds that are computed at a time; does not affect the result.

    Returns:
        Iterator of :class:`torch.Tensor`, a stream of shapes `(channels, 1, time)`.

    Raises:
        ValueError: if `chunk` is out of its range, the file does not fit the model, or the waveform
            is not finite, see :func:`finite`.
    """
    file.check_fits(model)
    block = _block(model, chunk, file.signal.channels)
    stride = model.encoder.stride
    function = partial(_decode_chunk, model)
    pieces = map_blocks(file.pieces(), function, block // stride, reach(model) // stride, stride)
    pieces = cut(pieces, file.signal.length, first=model.decoder.edges * stride)
    return finite(pieces, model.sample_rate, model, file)


def finite(
    pieces: Stream, rate: float | Fraction, model: object, *sources: AudioFile | EncodedFile
) -> Iterator[torch.Tensor]:
    """Pass a stream on; raise a ValueError at the first value that is not finite.

    Args:
        pieces (iterable of :class:`torch.Tensor`): A stream, shapes `(..., time or frames)`.
        rate (float): Samples or frames per second.
        model (object): The model that computed the stream, for the message.
        *sources (AudioFile or EncodedFile): The files that the model was given.

    Yields:
        :class:`torch.Tensor`: the pieces.

    Raises:
        ValueError: naming the time of the first value that is NaN or infinite, and the cause: a
            source with values beyond :data:`MAX_PEAK`, or else the model.
    """
    position = 0
    for piece in pieces:
        is_finite = piece.isfinite().flatten(end_dim=-2).all(dim=0)  # (time,)
        if not is_finite.all():
            seconds = (position + int(is_finite.int().argmin())) / rate
            loudest = max(sources, key=lambda source: source.peak)
            message = (
                f"{type(model).__name__} gives NaN or infinite values at {float(seconds):.6g} s "
                f"of {sources[0].path}"
            )
            if loudest.peak > MAX_PEAK:
                raise ValueError(
                    f"{message}: {loudest.path} has values up to {loudest.peak:.3g}, expected at "
                    f"most {MAX_PEAK:g}"
                )
            raise ValueError(f"{message}, which is finite: the model's weights are at fault")
        yield piece
        position += piece.shape[-1]


def _block(representation: Representation, chunk: float, channels: int) -> int:
    """Number of samples to compute at a time: up to `chunk` seconds, fewer for many channels."""
    n_samples = _chunk_samples(chunk, representation.sample_rate)
    n_features = representation.encoder.filterbank.n_feats_out
    frame = 4 * channels * n_features
    n_frames = max(1, MAX_BLOCK // frame)
    return whole_hops(representation, min(n_samples, n_frames * representation.encoder.stride))


def _chunk_samples(chunk: float, sample_rate: float) -> int:
    check(0 < chunk < math.inf, "chunk", chunk, "positive and finite (s)")
    n_samples = round(chunk * sample_rate)
    check(n_samples >= 1, "chunk", chunk, f"at least one sample, {1 / sample_rate:.2g} s")
    return n_samples


def _device(model: object) -> torch.device:
    if not isinstance(model, nn.Module):  # a representation of another kind
        return torch.device("cpu")
    tensors = itertools.chain(model.parameters(), model.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def _separate_chunk(model: BaseModel, precision: str, wav: torch.Tensor) -> torch.Tensor:
    """`(channels, time)` -> `(channels, n_src, time)`, one channel at a time to save memory."""
    return torch.stack([_separate_channel(model, precision, channel) for channel in wav])


@torch.inference_mode()
def _separate_channel(model: BaseModel, precision: str, wav: torch.Tensor) -> torch.Tensor:
    """`(time,)` -> `(n_src, time)`."""
    name = f"{type(model).__name__}, given {len(wav)} samples,"
    device = _device(model)
    try:
        with in_precision(precision, device.type):
            estimates = model.forward_wav(wav[None, None].to(device))
    except Exception as error:  # models fail in different ways at a length that does not fit
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{name} fails: {reason}") from error
    shape = tuple(getattr(estimates, "shape", ()))
    if len(shape) != 3 or shape[0] != 1 or shape[2] != len(wav):
        raise ValueError(f"{name} gives the shape {shape}, expected (1, sources, {len(wav)})")
    if not wav.any():  # some models make sound of silence
        return torch.zeros(shape[1:])
    return estimates[0].to("cpu", wav.dtype)


@torch.inference_mode()
def _mask_chunk(
    representation: Representation, threshold: float | None, rule: str, both: torch.Tensor
) -> torch.Tensor:
    """Mixture and vocals, `(2, channels, time)` -> `(channels, 2, time)`."""
    parts = []
    for part in both.split(CHANNELS, dim=1):
        # (2, channels, time) -> two of (channels, 1, time)
        mixture, vocals = part.unsqueeze(2).to(_device(representation))
        signals = mixture, vocals, mixture - vocals
        parts.append(torch.cat(estimate_both(representation, *signals, threshold, rule), dim=1))
    return torch.cat(parts).cpu()


@torch.inference_mode()
def _encode_chunk(model: SinuDAE, wav: torch.Tensor) -> torch.Tensor:
    """`(channels, time)` -> `(channels, C, ceil(time / stride))`."""
    parts = [model.encode(part.to(_device(model))).cpu() for part in wav[:, None].split(CHANNELS)]
    rep = torch.cat(parts)
    edges = model.encoder.edges
    return rep[..., edges : rep.shape[-1] - edges]


@torch.inference_mode()
def _decode_chunk(model: SinuDAE, rep: torch.Tensor) -> torch.Tensor:
    """`(channels, C, frames)` -> `(channels, 1, stride * frames)`."""
    edges = [model.decoder.edges] * 2
    parts = [model.decode(pad(part.to(_device(model)), edges)) for part in rep.split(CHANNELS)]
    return torch.cat(parts).cpu()
