"""Files of torch.save that claim what they do not hold, or hold what they should not."""

import collections
import io
import subprocess
import sys
import zipfile
from fractions import Fraction

import numpy as np
import pytest
import torch

from asteroid_sinudae.utils.files import load_safely, save_atomically

CONTENT = {"a": {"b": torch.arange(40.0).view(8, 5)}, "c": [1, 2.5, None, True, "text"]}
OBJECTS = "is refused: it is damaged, or holds objects other than tensors and plain values"
DAMAGED = "is damaged or not a file written by torch.save"


@pytest.fixture
def path(tmp_path):
    torch.save(CONTENT, tmp_path / "file.pth")
    return tmp_path / "file.pth"


def rewrite(path, change=lambda name, data: data, **options):
    """The same archive, by Python's module, with members changed; left out where that is None."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in members.items():
            data = change(name, data)
            if data is not None:
                archive.writestr(name, data)


def of_pickle(path, *pieces):
    """A file with a pickle by hand: of {"infos": pieces}."""
    pickle = b"\x80\x02}X\x05\x00\x00\x00infos" + b"".join(pieces) + b"s."
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (("data.pkl", pickle), ("byteorder", b"little"), ("version", b"3\n")):
            archive.writestr(f"file/{name}", data)


def refusal(path):
    with pytest.raises(ValueError) as caught:
        load_safely(path)
    message = str(caught.value)
    assert message.startswith(f"{path} ") and "\n" not in message and len(message) < 600
    return message.removeprefix(f"{path} ")


def test_what_is_plain_is_loaded(tmp_path):
    """All that checkpoints and Asteroid's files hold, in both formats."""
    weight = torch.nn.Linear(3, 2).state_dict()  # with _metadata
    content = {
        **CONTENT,
        "weight": weight,
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "types": [torch.float16, torch.Size([1, 2]), torch.device("cpu"), b"bytes", {1, 2}, 1j],
        "version": torch.__version__,
        ("a", 1): collections.OrderedDict(x=1),
        "half": torch.ones(3).half(),
        "scalar": torch.tensor(3),
        "none": torch.zeros(0, 4),
        "part": torch.arange(10)[2:7:2],
        "turned": torch.randn(4, 5).t(),
    }
    for zipped in True, False:
        torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
        loaded = load_safely(tmp_path / "x.pth")
        assert loaded.keys() == content.keys() and loaded["types"] == content["types"]
        for key in "parameter", "half", "scalar", "none", "part", "turned":
            assert torch.equal(loaded[key], content[key])
        assert loaded["weight"].keys() == weight.keys()


def test_archive_by_another_program(path):
    rewrite(path)
    assert torch.equal(load_safely(path)["a"]["b"], CONTENT["a"]["b"])


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_members(path, method):
    """torch.save compresses none: it could be a bomb."""
    rewrite(path, compression=method)
    assert refusal(path) == f"{DAMAGED} (file/data.pkl is compressed or encrypted)"


@pytest.mark.parametrize("local, central, value", [(6, 8, 1), (8, 10, 99), (8, 10, 8)])
def test_encrypted_members_and_methods_that_are_not_theirs(path, local, central, value):
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
        place = data.find(signature)
        while place >= 0:
            data[place + offset] |= value
            place = data.find(signature, place + 4)
    path.write_bytes(data)
    assert refusal(path).startswith(f"{DAMAGED} (file/data.pkl is compressed or encrypted")


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda data: data[:-4], "storage 0 of 160 bytes, it has 156"),
        (lambda data: data + bytes(4), "storage 0 of 160 bytes, it has 164"),
        (lambda data: b"", "storage 0 of 160 bytes, it has 0"),
        (lambda data: None, "storage 0 of 160 bytes, it has None"),
    ],
)
def test_storages_of_other_sizes(path, change, said):
    rewrite(path, lambda name, data: change(data) if name.endswith("data/0") else data)
    assert refusal(path) == f"{DAMAGED} ({said})"


def test_one_bit_of_a_weight(path):
    data = bytearray(path.read_bytes())
    weights = CONTENT["a"]["b"].numpy().tobytes()
    data[data.find(weights) + 41] ^= 4
    path.write_bytes(data)
    assert refusal(path) == f"{DAMAGED} (checksum of file/data/0)"


def test_the_same_member_twice(path):
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("file/data.pkl", b"")
    assert refusal(path) == f"{DAMAGED} (its members overlap)"


def test_old_format_that_is_cut_short(path):
    torch.save(CONTENT, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    path.write_bytes(data[:-20])
    assert refusal(path) == f"{DAMAGED} (its tensors are larger than it)"
    path.write_bytes(data[:60])
    assert refusal(path).startswith(DAMAGED)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "value, said",
    [
        (torch.zeros(1).expand(1000, 1000), "holds 1 numbers for a.0 of shape (1000, 1000), "),
        (torch.zeros(9).as_strided((3, 4), (1, 1)), "holds 9 numbers for a.0 of shape (3, 4), exp"),
        (torch.eye(3).to_sparse(), f"{OBJECTS}, which could run code when loaded: torch._utils._r"),
        (torch.eye(3).to_sparse_csr(), OBJECTS),
        (torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), OBJECTS),
        (torch.empty(3, device="meta"), OBJECTS),
        (torch.zeros(3, dtype=torch.complex64), OBJECTS),
        (torch.zeros(3).to(torch.float8_e5m2), OBJECTS),
        (torch.zeros(3, dtype=torch.uint16), OBJECTS),
        (torch.zeros(3).untyped_storage(), OBJECTS),
        (np.float64(44100), OBJECTS),
        (np.zeros(3), OBJECTS),
        (np.bool_(True), OBJECTS),
        (Fraction(1, 3), OBJECTS),
        (bytearray(3), OBJECTS),
        (print, OBJECTS),
        (dict, OBJECTS),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.filterwarnings("ignore")
def test_values_that_are_not_plain(tmp_path, zipped, value, said):
    if not zipped and type(value) is torch.UntypedStorage:
        pytest.skip("the old format has no such storage")
    content = {"c": 1, "a": [value]}
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    message = refusal(tmp_path / "x.pth")
    assert message.startswith(said) and "a.0" in message


def test_object_is_named(tmp_path):
    save_atomically({"model_args": {"sample_rate": np.float64(44100)}}, tmp_path / "x.pth")
    message = refusal(tmp_path / "x.pth")
    assert message.startswith(OBJECTS) and message.endswith(".scalar at model_args.sample_rate")


def test_many_tensors_on_one_storage(tmp_path):
    weight = torch.zeros(1000)
    torch.save({"tied": weight, "other": weight}, tmp_path / "x.pth")
    assert torch.equal(load_safely(tmp_path / "x.pth")["other"], weight)
    torch.save({number: weight.view(-1) for number in range(1000)}, tmp_path / "x.pth")
    assert refusal(tmp_path / "x.pth").startswith(f"{DAMAGED} (its tensors show 4000000 bytes, ")


def nested(depth):
    content = []
    for _ in range(depth):
        content = [content]
    return content


def test_lists_that_are_more_than_the_file(tmp_path):
    path = tmp_path / "x.pth"
    torch.save({"deep": nested(98)}, path)
    assert load_safely(path) == {"deep": nested(98)}
    torch.save({"deep": nested(101)}, path)
    assert "deeper than 100" in refusal(path)
    of_pickle(path, b"]" * 200_000, b"a" * 199_999)
    assert "deeper than 100" in refusal(path)
    circle = {}
    circle["self"] = circle
    torch.save(circle, path)
    assert "deeper than 100" in refusal(path)
    laughs = [1] * 10
    for _ in range(8):
        laughs = [laughs] * 10
    torch.save({"laughs": laughs}, path)
    assert "more than 1000000 values" in refusal(path)


@pytest.mark.parametrize(
    "pieces, said",
    [
        ((b"c__builtin__\nbytearray\nJ\x00\x00\x00\x70\x85R",), "__builtin__.bytearray at infos"),
        ((b"ctorch\nFloatTensor\nJ\x00\x00\x00\x70\x85R",), "torch.FloatTensor at infos"),
        ((b"cos\nsystem\nX\x05\x00\x00\x00false\x85R",), "os.system at infos"),
        ((b"(cos\nsystem\nX\x05\x00\x00\x00falseo",), "(opcode OBJ)"),
        ((b"K\x01r\xff\xff\xff\x7f",), "(index 2147483647 out of order)"),
        ((b")" + b"\x85" * 1_000_000,), "(more than 100000 tuples)"),
        ((b"\x8e\x00\x00\x00\x00\x01\x00\x00\x00", b"x" * 10), ")"),
        ((b"\x96\x00\x00\x00\x00\x01\x00\x00\x00", b"x" * 10), ")"),
        ((b"X\xff\xff\xff\x7f", b"x" * 10), ")"),
        ((b"ccollections\nOrderedDict\n)R}cos\nsystem\nK\x01sb",), "os.system"),  # as an attribute
    ],
)
def test_pickles_by_hand(tmp_path, pieces, said):
    of_pickle(tmp_path / "x.pth", *pieces)
    assert refusal(tmp_path / "x.pth").endswith(said)


def test_tensor_whose_state_is_changed_afterwards(path):
    """What is checked is what would be loaded: `set_` after the fact is refused."""
    with zipfile.ZipFile(path) as archive:
        data = archive.read("file/data.pkl")
    place = data.rindex(b"Rq") + 3  # after the tensor is made
    data = data[:place] + b"K\x01b" + data[place:]
    rewrite(path, lambda name, old: data if name.endswith("data.pkl") else old)
    assert "_rebuild_tensor_v2 with a state" in refusal(path)


def test_file_that_cannot_be_read(tmp_path):
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "nowhere").symlink_to(tmp_path / "nothing")
    for name in "circle", "nowhere", "", "missing", "a\0b":
        with pytest.raises(FileNotFoundError, match="not found: expected a file written by"):
            load_safely(tmp_path / name)
    with pytest.raises(OSError, match="File name too long"):
        load_safely(tmp_path / ("a" * 300))
    (tmp_path / "empty").touch()
    assert refusal(tmp_path / "empty").startswith(DAMAGED)


def test_program_of_torchscript(tmp_path):
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/constants.pkl", b"\x80\x02).")
        archive.writestr("x/data.pkl", b"\x80\x02c__torch__\nNet\n)\x81}b.")
    assert refusal(path).startswith(OBJECTS)


MEASURE = """
import resource, sys
from asteroid_sinudae.utils.files import load_safely

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        load_safely(path)
    except ValueError:
        print("refused")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_is_that_of_the_file(tmp_path):
    big = io.BytesIO()
    torch.save({"a": torch.zeros(40_000_000)}, big)
    (tmp_path / "0").write_bytes(big.getvalue())
    rewrite(tmp_path / "0", compression=zipfile.ZIP_DEFLATED, compresslevel=1)
    assert (tmp_path / "0").stat().st_size < 1_000_000
    torch.save({"a": torch.zeros(1).expand(40_000_000)}, tmp_path / "1")
    of_pickle(tmp_path / "2", b"c__builtin__\nbytearray\nJ\x00\x00\x00\x10\x85R")
    of_pickle(tmp_path / "3", b"K\x01r\xff\xff\xff\x0f")
    command = [sys.executable, "-c", MEASURE, *(str(tmp_path / name) for name in "0123")]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    *refused, kilobytes = run.stdout.split()
    assert refused == ["refused"] * 4 and int(kilobytes) < 60_000
