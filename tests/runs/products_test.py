"""What a second of audio costs a separator."""

import torch
from torch import nn

from asteroid_sinudae.runs.separators import products_per_second


class Recurrent(nn.Module):
    sample_rate = 100.0

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 3, 10, stride=5)
        self.norm = nn.BatchNorm1d(3)
        self.rnn = nn.LSTM(3, 7, bidirectional=True)

    def forward(self, waveform):
        features = self.norm(self.conv(waveform)).permute(2, 0, 1)  # (frames, 1, 3)
        return self.rnn(features)[0]


def test_convolutions_and_recurrent_layers_count():
    frames = (100 - 10) // 5 + 1
    of_gates = 2 * 4 * 7 * (3 + 7)
    assert products_per_second(Recurrent()) == frames * (3 * 10 + of_gates)


def test_nothing_is_changed():
    model = Recurrent()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    products_per_second(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training and torch.backends.mkldnn.enabled
