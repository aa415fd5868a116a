"""Filterbanks and models under their names in Asteroid."""

import importlib
import types

import asteroid_sinudae as sinudae  # before the first import of asteroid

# isort: split
import asteroid.models
import asteroid_filterbanks
import pytest

from asteroid_sinudae import _registration

FILTERBANKS = {
    "conv": sinudae.ConvFB,
    "conv_smooth": sinudae.ConvSmoothFB,
    "cos": sinudae.CosFB,
    "mod_cos": sinudae.ModCosFB,
    "sinc_smooth": sinudae.SincSmoothFB,
}
MODELS = [
    sinudae.SinuDAE,
    sinudae.SinuDAEConvTasNet,
    sinudae.SinuDAEDPRNNTasNet,
    sinudae.SinuDAEDPTNet,
    sinudae.SinuDAELSTMTasNet,
]


def check_names():
    for alias, filterbank in FILTERBANKS.items():
        assert asteroid_filterbanks.get(alias) is filterbank
        assert asteroid_filterbanks.get(filterbank.__name__) is filterbank
    for model in MODELS:
        assert asteroid.models.get(model.__name__) is model
        assert asteroid.models.get(model.__name__.lower()) is model


def test_names_in_asteroid():
    check_names()


def test_a_reload_changes_nothing():
    before = dict(vars(asteroid_filterbanks)), dict(vars(asteroid.models))
    importlib.reload(sinudae)
    assert before == (dict(vars(asteroid_filterbanks)), dict(vars(asteroid.models)))
    check_names()


@pytest.mark.parametrize("alias, filterbank", FILTERBANKS.items())
def test_make_enc_dec_by_alias_gives_the_class_name_to_reload_by(alias, filterbank):
    enc, dec = asteroid_filterbanks.make_enc_dec(alias, n_filters=4, kernel_size=16, stride=8)
    assert type(enc.filterbank) is type(dec.filterbank) is filterbank
    assert enc.filterbank is not dec.filterbank
    assert enc.filterbank.get_config()["fb_name"] == filterbank.__name__


def test_register_replaces_its_own_class_and_no_other():
    def make(origin):
        return type("ModCosFB", (), {"__module__": origin})

    registry = types.ModuleType("registry")
    first, second, foreign = make("here"), make("here"), make("elsewhere")
    for cls in first, second:  # a module that is imported anew makes its classes anew
        _registration._register(registry, "mod_cos", cls)
        assert registry.mod_cos is cls
    with pytest.raises(ValueError, match="registry has another mod_cos already: <class 'here.Mod"):
        _registration._register(registry, "mod_cos", foreign)
    registry.cos = types.ModuleType("cos")
    with pytest.raises(ValueError, match="registry has another cos already: <module 'cos'>"):
        _registration._register(registry, "cos", first)
    assert registry.mod_cos is second


def test_a_user_cannot_take_a_registered_name():
    with pytest.raises(ValueError, match="ModCosFB already exists"):
        asteroid_filterbanks.register_filterbank(type("ModCosFB", (), {}))
    with pytest.raises(ValueError, match="SinuDAEConvTasNet already exists"):
        asteroid.models.register_model(type("SinuDAEConvTasNet", (), {}))
