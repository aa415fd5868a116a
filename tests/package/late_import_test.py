"""Our models import little of Asteroid, and nobody can tell: its names are there when asked for.

What is imported cannot be undone, so each order of imports has a process of its own: a fork of one
that has imported torch and scipy, but neither Asteroid nor this package.
"""

import json
import subprocess
import sys
from pkgutil import iter_modules

import numpy as np
import pytest
import soundfile
from helpers import environment

from asteroid_sinudae import filterbanks, models

MODEL = "sinudae_c800_s256"
# What takes time or memory to import, and no song needs that is at its model's sample rate.
HEAVY = {
    "IPython",
    "asteroid.losses",
    "asteroid.models.conv_tasnet",
    "huggingface_hub.hf_api",
    "matplotlib",
    "musdb",
    "museval",
    "ot",
    "pandas",
    "pb_bss_eval",
    "pydantic",
    "pytorch_lightning",
    "scipy",
    "sympy",
    "torch._dynamo",
    "torch_stoi",
    "torchaudio",
    "torchmetrics",
}

FORKS = """
import json, os, sys, traceback
import numpy, requests, scipy.optimize, scipy.signal, torch, yaml

for name, code in json.loads(sys.argv[1]).items():
    sys.stdout.flush()
    if os.fork() == 0:
        torch.set_num_threads(1)  # threads do not survive a fork
        try:
            exec(code, {"sys": sys})
        except BaseException:
            print(name)
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(0)
    _, status = os.wait()
    if status:
        print(name, "ended with status", status)
"""

OURS = """from asteroid_sinudae import SinuDAE
from asteroid_sinudae.utils import later
assert later.pending
"""
ORDERS = {
    "ours, then Asteroid": """
import asteroid, types
assert asteroid.models.get("sinudae") is SinuDAE
assert asteroid.models.BaseModel in SinuDAE.__mro__
assert type(asteroid) is type(asteroid.models) is types.ModuleType and not later.pending
""",
    "a class": """
from asteroid import ConvTasNet
import asteroid
assert asteroid.ConvTasNet is asteroid.models.ConvTasNet is ConvTasNet
assert issubclass(ConvTasNet, asteroid.models.BaseModel)
""",
    "a package that Asteroid imports by the way": """
import asteroid
asteroid.losses.PITLossWrapper, asteroid.dsp.LambdaOverlapAdd, asteroid.utils.torch_utils
""",
    "a submodule that is mended": """
from asteroid.dsp.overlap_add import LambdaOverlapAdd
import asteroid.dsp
assert asteroid.dsp.LambdaOverlapAdd is LambdaOverlapAdd
LambdaOverlapAdd(lambda x: x, None, 8, window="hanning")
""",
    "a submodule of a package that was not run": """
from asteroid.masknn.norms import GlobLN
from asteroid.masknn import norms
assert norms.GlobLN is GlobLN and norms._glob_norm.__name__ == "_glob_norm"
assert norms._glob_norm.__wrapped__
""",
    "a function of the module that was not run": """
from asteroid.separate import separate
import asteroid
assert asteroid.separate.separate is separate
""",
    "all names of a package": "from asteroid.masknn import *\nTDConvNet",
    "the list of names": """
import asteroid
assert {"ConvTasNet", "losses", "__version__"} <= set(dir(asteroid))
""",
    "the dictionary of names": """
import asteroid.models
assert "SinuDAEConvTasNet" in vars(asteroid.models)
""",
    "a name that is set is kept": """
import asteroid.separate
asteroid.separate.separate = print
asteroid.ConvTasNet
assert asteroid.separate.separate is print
""",
    "a name that is not there": """
import asteroid
try:
    asteroid.nothing
except AttributeError as error:
    assert str(error) == "module 'asteroid' has no attribute 'nothing'"
try:
    import asteroid.nothing
except ModuleNotFoundError as error:
    assert error.name == "asteroid.nothing"
""",
    "registration": """
from asteroid.models import register_model
class Another: pass
register_model(Another)
import asteroid
assert asteroid.models.get("another") is Another
""",
    "separators": """
from asteroid_sinudae import SinuDAEConvTasNet
import asteroid.models, asteroid_sinudae.models.separators
assert asteroid.models.get("SinuDAEConvTasNet") is SinuDAEConvTasNet
assert asteroid_sinudae.models.separators.SinuDAEConvTasNet is SinuDAEConvTasNet
""",
    "torchaudio between": "import torchaudio, asteroid\nasteroid.ConvTasNet",
    "a reload": """
import importlib, asteroid_sinudae
importlib.reload(asteroid_sinudae)
import asteroid.models
assert asteroid.models.get("SinuDAE") is SinuDAE
""",
    "specifications": """
from importlib.util import find_spec
assert find_spec("asteroid.models").name == "asteroid.models" and find_spec("asteroid.engine")
""",
    "pickles": """
import pickle
model = SinuDAE(n_filters=4, kernel_size=16, stride=8)
assert pickle.loads(pickle.dumps(model)).get_model_args() == model.get_model_args()
""",
    "model files": """
package = SinuDAE(n_filters=4, kernel_size=16, stride=8).serialize()
import asteroid
assert type(asteroid.models.BaseModel.from_pretrained(package)) is SinuDAE
""",
    "threads": """
import asteroid, threading
found = []
threads = [
    threading.Thread(target=lambda: found.append(asteroid.models.get("SinuDAE"))) for _ in range(8)
]
[thread.start() for thread in threads], [thread.join() for thread in threads]
assert found == 8 * [SinuDAE]
""",
    "a thread that asks before another has added the names": """
import asteroid, threading
from asteroid_sinudae import _registration
add_names, found = _registration.add_names, []
complete, answered = threading.Event(), threading.Event()

def ask():
    complete.wait()
    found.append(asteroid.models.get("SinuDAE"))
    answered.set()

def add_names_late():
    complete.set()
    answered.wait(0.5)  # in vain: the answer has to wait for the names
    add_names()

_registration.add_names = add_names_late
thread = threading.Thread(target=ask)
thread.start()
asteroid.ConvTasNet
thread.join()
assert found == [SinuDAE]
""",
    "a training step": """
import torch
from asteroid.engine import System
from torch.utils.data import DataLoader
import pytorch_lightning as pl
pl.seed_everything(0)
model = SinuDAE(n_filters=4, kernel_size=16, stride=8)
before = model.decoder.filterbank.frequency.detach().clone()
wav = torch.randn(2, 1, 64)
loader = DataLoader(list(zip(wav, wav)), batch_size=2)
system = System(
    model,
    torch.optim.SGD(model.parameters(), lr=1.0),
    lambda estimate, target: (estimate - target).square().mean(),
    loader,
    loader,
)
trainer = pl.Trainer(
    max_steps=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
    enable_model_summary=False, accelerator="cpu", num_sanity_val_steps=0, limit_val_batches=0,
)
trainer.fit(system)
assert not torch.equal(model.decoder.filterbank.frequency, before)
""",
}
ORDERS = {name: OURS + code for name, code in ORDERS.items()}
ORDERS |= {
    "torchaudio before Asteroid": """
import asteroid_sinudae, torchaudio
assert "asteroid" not in sys.modules
torchaudio.transforms.Resample(3, 2)
""",
    "separators at first": """
from asteroid_sinudae.models.baselines import STFTConvTasNet
import asteroid.models
assert asteroid.models.get("STFTConvTasNet") is STFTConvTasNet
""",
    "Asteroid before our models": """
import asteroid_sinudae
from asteroid.models.base_models import BaseModel
import asteroid
assert asteroid.models.get("SinuDAE") is asteroid_sinudae.SinuDAE
""",
}
# Each module of those that Asteroid gets names from may be the first that is imported.
ORDERS |= {
    f"{module.name} at first": f"import {module.name}"
    for package in (filterbanks, models)
    for module in iter_modules(package.__path__, f"{package.__name__}.")
}


def test_each_order_of_imports():
    run = subprocess.run(
        [sys.executable, "-c", FORKS, json.dumps(ORDERS)],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0 and run.stdout == "", run.stdout + run.stderr


@pytest.mark.parametrize(
    "code",
    [
        f"from asteroid_sinudae import SinuDAE\nSinuDAE.from_pretrained({MODEL!r})",
        f"assert main(['encode', {MODEL!r}, 'song.wav', '-o', 'song.npz']) == 0",
        f"assert main(['separate', {MODEL!r}, 'song.wav', '-o', 'folder']) == 0",
        f"assert main(['info', {MODEL!r}]) == 0",
    ],
)
def test_what_a_song_does_not_need_is_not_imported(tmp_path, code):
    soundfile.write(tmp_path / "song.wav", np.zeros(4410), 44100)
    before = "import sys\nfrom asteroid_sinudae.cli import main\n"
    after = f"\nprint(sorted({HEAVY!r} & set(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", before + code + after],
        env=environment(),
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert run.stdout.splitlines()[-1] == "[]", run.stderr


def test_a_command_does_not_look_for_garbage_among_modules():
    """Later looks would go through the quarter of a million objects that PyTorch is made of."""
    code = f"""
import gc, sys
from asteroid_sinudae.cli import main
arguments = ["info", {MODEL!r}]
frozen = gc.get_freeze_count()  # Python 3.12 freezes some objects itself
assert main(arguments) == 0 and gc.get_freeze_count() == frozen  # the caller keeps its garbage
sys.argv[1:] = arguments
assert main() == 0
assert gc.isenabled() and gc.get_freeze_count() > len(gc.get_objects())
"""
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
