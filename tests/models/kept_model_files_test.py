"""Model files of each kind, written by version 0.2.0 before its modules moved, still load alike."""

from pathlib import Path

import asteroid_sinudae as sinudae  # before the first import of asteroid

# isort: split
import pytest
import torch
from asteroid.models import BaseModel

FOLDER = Path(__file__).parents[1] / "fixtures" / "model_files"
EXPECTED = torch.load(FOLDER / "expected.pth")
NAMES = sorted(EXPECTED["models"])


def test_every_kind_has_a_file():
    kinds = {name.partition("-")[0] for name in NAMES}
    models = {name for name in sinudae.__all__ if isinstance(getattr(sinudae, name), type)}
    assert kinds == {name for name in models if issubclass(getattr(sinudae, name), BaseModel)}
    assert {path.stem for path in FOLDER.iterdir()} == {*NAMES, "expected"}


@pytest.mark.parametrize("name", NAMES)
def test_kept_file_gives_the_outputs_that_it_gave(name):
    path, expected = FOLDER / f"{name}.pth", EXPECTED["models"][name]
    own = getattr(sinudae, name.partition("-")[0]).from_pretrained(path)
    for model in (own, BaseModel.from_pretrained(str(path))):
        assert type(model) is type(own)
        args = model.get_model_args()
        if "bands" in args:  # kernels of files from before there was a choice are whole
            assert args.pop("compact") is False
        assert args == expected["args"]
        with torch.no_grad():
            output = model.eval()(EXPECTED["wav"])
        torch.testing.assert_close(output, expected["output"], rtol=0, atol=1e-6)
