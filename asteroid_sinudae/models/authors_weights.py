"""The paper's authors' published checkpoints as a :class:`.SinuDAE`."""

import torch

from ..utils.checks import FLOATS, check, check_dense
from .sinudae import SinuDAE

ENCODER_KEYS = ("conv_a1.weight", "conv_a2.weight")
DECODER_KEYS = ("freq_mat", "phi", "norm_factor")


def from_state_dicts(
    encoder: dict[str, torch.Tensor],
    decoder: dict[str, torch.Tensor],
    stride: int = 256,
    sample_rate: float = 44100.0,
    smooth_dilation: int = 10,
) -> SinuDAE:
    r"""Model of the two state dicts that the authors publish for each of theirs [1].

    Their encoder is :math:`A = \mathrm{ReLU}(X + V * X)` with :math:`X` the strided convolution by
    ``conv_a1`` and :math:`V` the dilated ``conv_a2``; their decoder's kernels are
    :math:`\cos(2\pi f_c^2 t + \phi_c) \odot b_c` (Eq. (3)) with :math:`f_c` in ``freq_mat``,
    :math:`\phi_c` in ``phi`` and :math:`b_c` in ``norm_factor``. Both are computed alike here, up
    to the frames' place: the authors centre them on the whole signal, :class:`.Encoder` puts frame
    `t` on hop `t`, less than one hop away. The channels stay in the files' order, which need not be
    that of their carriers; :func:`.sort_channels` would put them into it.

    Args:
        encoder (dict): ``conv_a1.weight`` of shape `(C, 1, L)` and ``conv_a2.weight`` of shape
            `(C, C, L')`, with any `C` and `L` and an odd `L'`.
        decoder (dict): ``freq_mat`` and ``phi`` of shape `(C, 1, 1)`, ``norm_factor`` of shape
            `(C, 1, L)`.
        stride (int): Hop in samples, which the state dicts do not hold.
        sample_rate (float): Sample rate in Hz of the audio it was trained on, likewise.
        smooth_dilation (int): Distance of the taps of ``conv_a2`` in frames, likewise.

    Returns:
        :class:`.SinuDAE` in single precision.

    Raises:
        ValueError: naming the key and what was expected of it, if one is missing or unknown, is no
            tensor of finite numbers, or has a shape that does not fit; naming the argument, if a
            size makes no sense.

    References
        [1] : "Unsupervised Interpretable Representation Learning for Singing Voice Separation".
        EUSIPCO 2020. Stylianos I. Mimilakis, Konstantinos Drossos, Gerald Schuller.
        https://github.com/Js-Mim/rl_singing_voice

    Examples
        >>> encoder = {
        ...     "conv_a1.weight": torch.randn(20, 1, 64),
        ...     "conv_a2.weight": torch.randn(20, 20, 5),
        ... }
        >>> decoder = {
        ...     "freq_mat": torch.rand(20, 1, 1),
        ...     "phi": torch.randn(20, 1, 1),
        ...     "norm_factor": torch.randn(20, 1, 64),
        ... }
        >>> from_state_dicts(encoder, decoder, stride=8).encode(torch.randn(1, 1, 1001)).shape
        torch.Size([1, 20, 126])
    """
    encoder = _read_tensors("encoder", encoder, ENCODER_KEYS)
    decoder = _read_tensors("decoder", decoder, DECODER_KEYS)
    n_filters, kernel_size = _named_sizes("encoder", encoder, "conv_a1.weight", ("C", 1, "L"))
    (taps,) = _named_sizes("encoder", encoder, "conv_a2.weight", (n_filters, n_filters, "odd L'"))
    for key, size in (("freq_mat", 1), ("phi", 1), ("norm_factor", kernel_size)):
        _named_sizes("decoder", decoder, key, (n_filters, 1, size))

    model = SinuDAE(
        n_filters=n_filters,
        kernel_size=kernel_size,
        stride=stride,
        sample_rate=sample_rate,
        smooth_kernel_size=taps,
        smooth_dilation=smooth_dilation,
    )
    model.load_state_dict(
        {
            "encoder.filterbank._filters": encoder["conv_a1.weight"],
            "encoder.filterbank.smooth_weight": encoder["conv_a2.weight"],
            "decoder.filterbank.frequency": decoder["freq_mat"],
            "decoder.filterbank.phase": decoder["phi"],
            "decoder.filterbank.modulator": decoder["norm_factor"],
        }
    )
    return model


def _read_tensors(side: str, state_dict: dict, keys: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """The tensors under exactly these keys, in single precision, all of them finite."""
    check(isinstance(state_dict, dict), side, type(state_dict), "a state dict")
    missing = [key for key in keys if key not in state_dict]
    unknown = sorted(str(key) for key in state_dict if key not in keys)
    if missing or unknown:
        raise ValueError(
            f"{side} must have the keys {', '.join(keys)} and no other: "
            f"missing {', '.join(missing) or 'none'}, unknown {', '.join(unknown) or 'none'}"
        )
    tensors = {}
    for key in keys:
        check_dense(f"{side}'s {key}", state_dict[key], FLOATS)
        tensors[key] = state_dict[key].detach().float()
        n_wrong = int((~tensors[key].isfinite()).sum())
        if n_wrong:
            raise ValueError(
                f"{side}'s {key} must be finite, got {n_wrong} NaN or infinite of "
                f"{tensors[key].numel()} values"
            )
    return tensors


def _named_sizes(
    side: str, tensors: dict[str, torch.Tensor], key: str, expected: tuple[int | str, ...]
) -> list[int]:
    """Sizes where `expected` has a name, which stands for any size of at least 1, or an odd one."""
    shape = tuple(tensors[key].shape)

    def fits(size: int, want: int | str) -> bool:
        if isinstance(want, int):
            return size == want
        return size % 2 == 1 if want.startswith("odd") else size >= 1

    is_alike = len(shape) == len(expected) and all(map(fits, shape, expected))
    check(is_alike, f"{side}'s {key}", shape, f"of shape ({', '.join(map(str, expected))})")
    return [size for size, want in zip(shape, expected, strict=True) if isinstance(want, str)]
