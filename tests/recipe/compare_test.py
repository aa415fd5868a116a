"""compare.py: the table of one or more runs, and the sentence below it."""

import pytest
from helpers import call, printed_tables
from made_results import BASE, write_result

STFT = {"si_sdr": 130.0, "si_sdr_bm_0.5": 8.27}
MIXTURE = {"si_sdr_bm_0.5": -4.53}


@pytest.fixture
def runs(tmp_path):
    """A run of 40 updates beside an untrained model, and one that is untrained itself."""
    medians = {
        "good": {"a DAE": {"si_sdr": 41.77, "si_sdr_bm_0.5": 9.71}, "multires_c800_s256": STFT},
        "bad": {"a DAE": {"si_sdr": -0.72, "si_sdr_bm_0.5": -2.93}},
    }
    for steps, (name, own) in zip((40, 0), medians.items(), strict=True):
        own |= {"STFT": STFT, "unprocessed mixture": MIXTURE}
        write_result(tmp_path / name, BASE, steps=steps, medians=own, evaluated="a DAE")
    return [tmp_path / name for name in medians]


def compared(tmp_path, capsys, *runs):
    """The tables that are printed, the last line that is, and what is in the file."""
    output = tmp_path / "table.md"
    call("compare.py", *runs, output=output)
    printed = capsys.readouterr().out
    *lines, _, _, last = printed.splitlines()  # before them the path
    assert max(map(len, lines)) <= 100
    return printed_tables(printed), last, output.read_text()


def test_one_run(tmp_path, capsys, runs):
    (rows,), last, text = compared(tmp_path, capsys, runs[0])
    assert rows == [
        ["representation", "rec.", "BM 0.5"],
        ["a DAE, 40 updates", "41.77", "9.71"],
        ["multires_c800_s256, untrained", "130.00", "8.27"],
        ["STFT", "130.00", "8.27"],
        ["unprocessed mixture", "–", "-4.53"],
    ]
    assert "at 9.7 dB (a DAE, 40 updates), 1.4 dB above the STFT (8.3 dB); for comparison: " in last
    assert text.endswith(f"\n\n{last}\n") and "SI-SDR-BM (dB), threshold 0.5" in text


def test_two_runs(tmp_path, capsys, runs):
    tables, last, text = compared(tmp_path, capsys, *runs[::-1])
    others = ["STFT", "unprocessed mixture"]
    assert [[row[0] for row in rows[1:]] for rows in tables] == [
        ["a DAE, untrained", *others],
        ["a DAE, 40 updates", "multires_c800_s256, untrained", *others],
    ]
    assert "at −2.9 dB (bad: a DAE, untrained), 11.2 dB below the STFT (8.3 dB); " in last
    assert "9.7 dB (good: a DAE, 40 updates)" in last and last.count("unprocessed mixture") == 1
    assert text.count("| STFT ") == text.count("| unprocessed mixture ") == 2
