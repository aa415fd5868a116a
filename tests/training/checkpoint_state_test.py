"""Checkpoints that are damaged, of other parts or not finite: refused, or continued as if whole."""

import os
import shutil

import pytest
import torch
from mutations import mutated_bytes, mutated_values
from pytorch_lightning.callbacks import Timer
from torch.optim.lr_scheduler import LinearLR
from trainings import (
    SMALL,
    assert_same_bits,
    fit,
    make_system,
    make_trainer,
    state_of,
    write_tracks,
)

from asteroid_sinudae import SinuDAE
from asteroid_sinudae.training.checkpoint_state import check_state
from asteroid_sinudae.training.checkpoints import (
    LastCheckpoint,
    StopAfter,
    StopAtPlateau,
    check_resumable,
    read_checkpoint,
)

CONFIG = {"filterbank": SMALL, "training": {"seed": 1, "epochs": 3}, "run": {"train_segments": 10}}
CUT, WHOLE = 4, 7  # updates; an epoch has 3


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    return write_tracks(tmp_path_factory.mktemp("data"))


def decaying_system(tracks, total_iters=20, **options):
    system = make_system(tracks, config=CONFIG, **options)
    decay = LinearLR(system.optimizer, 1.0, 0.0, total_iters=total_iters)
    system.scheduler = {"scheduler": decay, "interval": "step"}
    return system


def callbacks_of(path, max_steps):
    return [Timer(), StopAtPlateau(), StopAfter(max_steps), LastCheckpoint(path)]


def run_until(max_steps, path, system, ckpt_path=None):
    fit(system, path.parent, callbacks_of(path, max_steps), ckpt_path=ckpt_path)
    return system


def check(content, system, path):
    """Everything that is checked before a training is continued."""
    check_resumable(content, CONFIG, path)
    check_state(content, system, make_trainer(path.parent, callbacks_of(path, WHOLE)), path)


@pytest.fixture(scope="module")
def cut(tmp_path_factory, tracks):
    """The checkpoint of a training that was cut off."""
    path = tmp_path_factory.mktemp("cut") / "last.ckpt"
    run_until(CUT, path, decaying_system(tracks))
    return path


@pytest.fixture(scope="module")
def expected(tmp_path_factory, tracks):
    """What the whole training ends with."""
    path = tmp_path_factory.mktemp("whole") / "last.ckpt"
    return state_of(run_until(WHOLE, path, decaying_system(tracks)))


@pytest.mark.parametrize("make", [decaying_system, make_system])
def test_checkpoints_after_every_update_are_accepted(tmp_path, tracks, make):
    path = tmp_path / "last.ckpt"
    for step in range(1, WHOLE + 1):
        system = make(tracks, config=CONFIG) if make is make_system else make(tracks)
        run_until(step, path, system, ckpt_path=path if step > 1 else None)
        content = read_checkpoint(path)
        assert content["global_step"] == step
        fresh = make(tracks, config=CONFIG) if make is make_system else make(tracks)
        check(content, fresh, path)


def without(key):
    def change(content):
        del content[key]

    return change


def with_value(value, *keys):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


WEIGHTS = "model.encoder.filterbank._filters"
PROGRESS = ("loops", "fit_loop", "epoch_loop.batch_progress", "current", "completed")
ADAM = ("optimizer_states", 0, "state", 1)
GROUP = ("optimizer_states", 0, "param_groups", 0)
DECAY = ("lr_schedulers", 0)


@pytest.mark.parametrize(
    "change, message",
    [
        (with_value([], "optimizer_states"), "optimizer_states must be a list of 1, got [[]]"),
        (with_value({}, "optimizer_states"), "optimizer_states must be a list of 1, got {}"),
        (with_value([{}], "optimizer_states"), "optimizer_states.0.state is missing"),
        (without("optimizer_states"), "optimizer_states is missing"),
        (with_value({}, *ADAM[:-1]), "optimizer_states.0.state.0 is missing"),
        (with_value([], *ADAM[:-1]), "optimizer_states.0.state must be a mapping of 5, got [[]]"),
        (with_value(torch.zeros(8, 1, 63), *ADAM, "exp_avg"), ".exp_avg must be a finite torch.fl"),
        (with_value(torch.full([8, 1, 64], torch.nan), *ADAM, "exp_avg_sq"), "exp_avg_sq must be"),
        (with_value(torch.tensor(5.0), *ADAM, "step"), r"state.1.step must be 4.0, got 5"),
        (with_value(0.5, *GROUP, "lr"), "param_groups.0.lr must be about 0.0024, got 0.5"),
        (with_value(0.5, *GROUP, "eps"), "param_groups.0.eps must be 1e-08, got 0.5"),
        (with_value([0, 1], *GROUP, "params"), "param_groups.0.params must be a list of 5, got"),
        (with_value([], "lr_schedulers"), "lr_schedulers must be a list of 1, got [[]]"),
        (without("lr_schedulers"), "lr_schedulers is missing"),
        (with_value(3, *DECAY, "last_epoch"), "lr_schedulers.0.last_epoch must be 4, got 3"),
        (with_value(10**9, *DECAY, "total_iters"), "lr_schedulers.0._last_lr must be about 0.003"),
        (with_value(None, *DECAY, "step"), "lr_schedulers.0 has the unknown key 'step'"),
        (with_value({}, "loops"), "loops.fit_loop is missing"),
        (without("loops"), "loops is missing"),
        (with_value(1, *PROGRESS), "batch_progress.current.completed must be 0, got 1"),
        (with_value({}, "callbacks"), "callbacks.Timer is missing"),
        (without("callbacks"), "callbacks is missing"),
        (without("state_dict"), "state_dict is missing"),
        (with_value({}, "state_dict"), "state_dict.epoch_neg_snr is missing"),
        (with_value(torch.zeros(3), "state_dict", "other"), "state_dict has the unknown key 'oth"),
        (with_value(torch.zeros(8, 64), "state_dict", WEIGHTS), r"must be a finite torch.float32 "),
        (
            with_value(torch.zeros(8, 1, 64).half(), "state_dict", WEIGHTS),
            "of shape .8, 1, 64., got",
        ),
        (
            with_value(torch.full([8, 1, 64], torch.nan), "state_dict", WEIGHTS),
            "with NaN or infinity",
        ),
        (
            with_value(torch.full([8, 1, 64], torch.inf), "state_dict", WEIGHTS),
            "with NaN or infinity",
        ),
        (with_value(torch.eye(8).to_sparse(), "state_dict", WEIGHTS), "not dense"),
        (with_value(torch.ones(8, 1, 64, device="meta"), "state_dict", WEIGHTS), "not dense"),
        (with_value(torch.ones(1).expand(10**13), "state_dict", WEIGHTS), "of shape .10{13},."),
        (with_value(10**400, *GROUP, "lr"), "lr must be a finite number of 0 or more, got 1000"),
        (with_value([0.0], "state_dict", WEIGHTS), r"must be a finite .*, got \[0.0\]"),
        (without("global_step"), "global_step must be a whole number of 1 or more, got None"),
        (with_value(0, "global_step"), "global_step must be a whole number of 1 or more, got 0"),
        (with_value(5, "epoch"), "epoch must be 1, got 5"),
        (without("training_config"), "training_config must hold groups of keys"),
        (with_value(True, "training_config", "training", "seed"), "was trained with seed=True, as"),
        (
            with_value(torch.ones(2), "training_config", "training", "seed"),
            "trained with seed=tens",
        ),
        (with_value({}, "training_config", "filterbank"), "was trained with n_filters=None, asked"),
    ],
)
def test_checkpoints_that_lack_a_part_or_have_another(cut, tracks, change, message):
    content = read_checkpoint(cut)
    change(content)
    message = message.replace("[[]]", r"\[\]")
    with pytest.raises(ValueError, match=f"^{cut}[^\n]*{message}[^\n]*$"):
        check(content, decaying_system(tracks), cut)


def used(content):
    """What continuing a training reads."""
    parts = ("global_step", "state_dict", "optimizer_states", "lr_schedulers")
    plateau = [value for key, value in content["callbacks"].items() if "Plateau" in key]
    return [*(content[part] for part in parts), content["loops"]["fit_loop"], plateau]


def test_a_checkpoint_with_any_value_changed_is_refused_or_continued_as_if_whole(
    tmp_path, cut, tracks, expected
):
    content = read_checkpoint(cut)
    system = decaying_system(tracks)
    refused, accepted = 0, []
    for changed in mutated_values(content, 200):
        try:
            if not isinstance(changed, dict):
                raise ValueError("read_checkpoint refuses it")
            check(changed, system, cut)
            accepted.append(changed)
        except (ValueError, OSError) as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 100 and len(accepted) > 10
    path = tmp_path / "last.ckpt"
    for number, changed in enumerate(accepted):
        assert plain(used(changed)) == plain(used(content))
        if number % 8 == 0:
            torch.save(changed, path)
            assert_same_bits(
                state_of(run_until(WHOLE, path, decaying_system(tracks), path)), expected
            )


def test_a_checkpoint_with_any_byte_changed_is_refused_or_the_same(tmp_path, cut):
    content = read_checkpoint(cut)
    path = tmp_path / "last.ckpt"
    refused = 0
    for data in mutated_bytes(cut.read_bytes(), 100):
        path.write_bytes(data)
        try:
            found = read_checkpoint(path)
        except (ValueError, OSError) as error:
            assert "\n" not in str(error)
            refused += 1
        else:
            assert plain(found) == plain(content)
    assert refused > 60


def plain(content):
    if torch.is_tensor(content):
        return content.dtype, content.tolist()
    if isinstance(content, dict):
        return {key: plain(value) for key, value in content.items()}
    return [plain(each) for each in content] if isinstance(content, list) else content


def test_weights_that_are_not_finite_do_not_replace_a_checkpoint(tmp_path, cut, tracks):
    path = tmp_path / "last.ckpt"
    shutil.copy(cut, path)
    before = path.read_bytes()
    system = decaying_system(tracks)

    def overflow(*arguments, update=system.optimizer_step, **options):
        update(*arguments, **options)
        with torch.no_grad():
            system.model.decoder.filterbank.phase[0] = torch.nan

    system.optimizer_step = overflow
    message = (
        "^model.decoder.filterbank.phase must be finite, got NaN or infinity after 5 updates: "
    )
    with pytest.raises(ValueError, match=message):
        run_until(5, path, system, path)
    assert path.read_bytes() == before and os.listdir(tmp_path).count("last.ckpt") == 1


# A decay that becomes longer


@pytest.mark.parametrize("before, after", [(4, 8), (10, 40), (20, 5)])
def test_a_decay_is_stretched_from_where_it_is(tmp_path, tracks, before, after):
    path = tmp_path / "last.ckpt"
    run_until(CUT, path, decaying_system(tracks, before))
    rates = []
    system = decaying_system(tracks, after)
    system.on_train_batch_start = lambda *_: rates.append(system.optimizer.param_groups[0]["lr"])
    content = read_checkpoint(path)
    check(content, system, path)
    run_until(8, path, system, path)
    expected = [3e-3 * max(0, 1 - step / after) for step in range(CUT, 8)]
    assert rates == pytest.approx(expected, rel=1e-9)
    content = read_checkpoint(path)
    check(content, decaying_system(tracks, after), path)
    assert content["lr_schedulers"][0]["total_iters"] == after


def test_the_rate_of_each_tensor_is_stretched_from_its_own_start(tmp_path, tracks):
    def system(total_iters):
        torch.manual_seed(0)
        model = SinuDAE(**SMALL)
        groups = [{"params": [p], "lr": 1e-3 * n} for n, p in enumerate(model.parameters(), 1)]
        return decaying_system(tracks, total_iters, model=model, optimizer=torch.optim.Adam(groups))

    path = tmp_path / "last.ckpt"
    run_until(CUT, path, system(CUT))
    longer = system(16)
    run_until(8, path, longer, path)
    rates = [group["lr"] for group in longer.optimizer.param_groups]
    assert rates == pytest.approx([0.5e-3 * n for n in range(1, 6)], rel=1e-9)
