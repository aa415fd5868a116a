"""Paths of estimates, by a folder or by a template."""

import os
from pathlib import Path

import pytest
import soundfile
from command_line import SIZES, save
from song_models import write
from songs_on_disk import RATE

import asteroid_sinudae as sinudae
from asteroid_sinudae.songs import files
from asteroid_sinudae.songs.outputs import Output

SOURCES = ("vocals", "accompaniment")


def paths(output, format="float", song="a/song.mp3", sources=SOURCES):
    found = Output(output, format).paths(Path(song), sources, force=False, inputs=[])
    assert list(found) == list(sources)
    return [str(path) for path in found.values()]


@pytest.mark.parametrize(
    "output, expected",
    [
        ("out", "out/song_{}.wav"),
        (Path("out"), "out/song_{}.wav"),
        ("out/", "out/song_{}.wav"),
        ("", "song_{}.wav"),
        (Path(), "song_{}.wav"),
        ("folder/../out", "folder/../out/song_{}.wav"),
        ("a{{b}}", "a{{b}}/song_{}.wav"),
        ("{{song}}", "{{song}}/song_{}.wav"),
        ("out/{song}/{source}", "out/song/{}.wav"),
        (Path("out/{song}/{source}"), "out/song/{}.wav"),
        ("{song}.{source}", "song.{}.wav"),
        ("{source}", "{}.wav"),
        ("{source}/{song}.wav", "{}/song.wav"),
        ("/{source}/x.WAV", "/{}/x.WAV"),
        ("{source}/a{{b}}", "{}/a{{b}}.wav"),
        ("../{{{song}}}/./{source}", "../{{song}}/{}.wav"),
        ("v1.0/{song}{source}{source}", "v1.0/song{0}{0}.wav"),
    ],
)
def test_paths(output, expected):
    assert paths(output) == [expected.format(source) for source in SOURCES]


@pytest.mark.parametrize("format", ["float", "wav", "wav16", "wav24", "flac"])
def test_suffix_is_that_of_the_format(format):
    suffix = "flac" if format == "flac" else "wav"
    assert paths("out", format)[0] == f"out/song_vocals.{suffix}"
    for template in "{song}/{source}", f"{{song}}/{{source}}.{suffix}":
        assert paths(template, format)[0] == f"song/vocals.{suffix}"
    other = "wav" if format == "flac" else "flac"
    for wrong in f"{{song}}/{{source}}.{other}", "{source}.mp3", "{source}_v1.2", "{source}/a.x":
        message = f"^output must be a template that ends in .{suffix}, or has no suffix, got '{{so"
        with pytest.raises(ValueError, match=message):
            Output(wrong, format)


@pytest.mark.parametrize(
    "song, stem",
    [("a.b.wav", "a.b"), ("{song}{0}.wav", "{song}{0}"), ("%s", "%s"), ("☃\udcff.mp3", "☃\udcff")],
)
def test_names_of_songs_are_taken_as_they_are(song, stem):
    assert paths("{song}/{source}", song=song, sources=["a.b{c}"]) == [f"{stem}/a.b{{c}}.wav"]
    assert paths("out", song=song, sources=["a.b{c}"]) == [f"out/{stem}_a.b{{c}}.wav"]


@pytest.mark.parametrize(
    "output",
    [
        *("a{b}", "{", "a}", "{}", "{0}", "{song", "{song}}", "{song.stem}/{source}", "{song[0]}"),
        *("{song!r}/{source}", "{song:>9}/{source}", "{song:{source}}", "{ song}", "{SONG}"),
        *("{format}/{song}/{source}", "{song}/{source}/{b}", "{song}/{/source}", "\udcff{"),
    ],
)
def test_braces_that_are_no_fields(output):
    with pytest.raises(ValueError) as caught:
        Output(output, "float")
    assert str(caught.value) == (
        "output must be a folder, or a template with {song} and {source}, in which other braces "
        f"are doubled ({{{{ and }}}}), got {output!r}"
    )


def test_template_of_folders():
    with pytest.raises(ValueError, match="^output must be a template of files, not of folders, go"):
        Output("out/{song}/", "float")


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_names_that_lead_elsewhere(name):
    """Of a source, by a model's file: `..` is the folder above, and no name is the root."""
    assert paths("{song}/{source}", sources=[name]) == [f"song/{name}.wav"]
    assert paths("/{source}_/{song}", sources=[name]) == [f"/{name}_/song.wav"]
    for template in "{source}/{song}", "out/{source}/{song}":
        message = rf"^{{source}} in {template} would be '{name}', expected a name that a folder can"
        with pytest.raises(ValueError, match=message):
            paths(template, sources=[name])


def different(output, *songs, sources=SOURCES):
    Output(output, "float").check_different(map(Path, songs), sources)


def test_estimates_that_would_be_one_file():
    for output in "out", "{song}/{source}", "{song}{source}":
        different(output, "a.wav", "b.wav", "c/d.wav", "ab.wav")
    for output, songs, said in [
        ("out", ["s.mp3", "s.ogg"], "out/s_vocals.wav, expected songs of different names"),
        ("out", ["s.mp3", "s.mp3"], "out/s_vocals.wav, expected songs of different names"),
        ("{song}/{source}", ["s.mp3", "a/s.ogg"], "s/vocals.wav, expected songs of different name"),
        ("out/{source}", ["s.mp3", "t.mp3"], "out/vocals.wav, expected {song} in the template"),
    ]:
        with pytest.raises(ValueError) as caught:
            (
                different(output, "first.wav", *songs)
                if "song" in output
                else different(output, *songs)
            )
        first, second = songs
        assert str(caught.value).startswith(f"{first} and {second} would both be written to {said}")
    with pytest.raises(ValueError) as caught:
        different("{song}{source}", "a.wav", "ab.wav", sources=["bc", "c"])
    assert str(caught.value) == (
        "a.wav and ab.wav would both be written to abc.wav, expected songs of different names"
    )


def test_sources_that_would_be_one_file():
    different("out/{song}", "a.wav", "b.wav", sources=["vocals"])
    for call in different, lambda output, song: paths(output, song=song):
        with pytest.raises(ValueError) as caught:
            call("out/{song}", "a.wav")
        assert str(caught.value) == (
            "vocals and accompaniment of a.wav would both be written to out/a.wav, expected "
            "{source} in the template, or one source"
        )


# With models


@pytest.fixture
def model(dae):
    """A separator that names its sources in `model.pth`, and none in `nameless.pth`."""
    model = sinudae.SinuDAEConvTasNet(2, pretrained=dae, freeze=True, **SIZES)
    save(model, "model.pth", sources=list(SOURCES))
    save(model, "nameless.pth")
    write("a.wav", RATE)


def test_separated_and_masked_files(model):
    template = "new/{song}/{source}.flac"
    found = sinudae.separate_file("model.pth", "a.wav", template, format="flac")
    assert found == {name: Path(f"new/a/{name}.flac") for name in SOURCES}
    for path in found.values():
        assert soundfile.info(path).frames == RATE
    with pytest.raises(ValueError, match="^new/a/vocals.flac exists already"):
        sinudae.mask_file(None, "a.wav", "a.wav", Path(template), format="flac")
    sinudae.mask_file(None, "a.wav", "a.wav", "{source}", force=True)
    sinudae.separate_file("model.pth", "a.wav", "{song}.1.wav", sources=["vocals"], format="wav16")
    assert {"vocals.wav", "accompaniment.wav", "a.1.wav"} <= set(os.listdir())


def test_one_file_is_refused_before_anything_is_computed(model, monkeypatch):
    with pytest.raises(ValueError, match="^source1 and source2 of a.wav would both be written to"):
        sinudae.separate_file("nameless.pth", "a.wav", "out/{song}")
    with monkeypatch.context() as patch:
        patch.setattr(files.apply, "_separate_channel", None)
        with pytest.raises(ValueError, match="^vocals and accompaniment of a.wav would both be"):
            sinudae.separate_file("model.pth", "a.wav", "out/{song}")
        with pytest.raises(ValueError, match="^output must be a template that ends in .wav"):
            sinudae.separate_file("model.pth", "a.wav", "out/{song}.mp3")
        with pytest.raises(ValueError, match="^vocals and accompaniment of a.wav would both be"):
            sinudae.mask_file(None, "a.wav", "a.wav", "out/{song}")
    assert not Path("out").exists()


@pytest.mark.parametrize(
    "output, message",
    [
        ("{song}", "a.wav is also to be read"),
        ("new/../{song}", "new/../a.wav is also to be read"),
        ("{source}/../{song}", "vocals/../a.wav is also to be read"),
        ("new/../b.wav{song}/../b", "new/../b.wava/../b.wav exists already"),
    ],
)
def test_files_are_not_replaced_through_folders_that_are_not_there(model, output, message):
    Path("b.wav").write_text("mine")
    before = Path("a.wav").read_bytes()
    force = message.endswith("also to be read")
    with pytest.raises(ValueError, match=f"^{message}"):
        sinudae.separate_file("model.pth", "a.wav", output, sources=["vocals"], force=force)
    assert Path("a.wav").read_bytes() == before and Path("b.wav").read_text() == "mine"
    with pytest.raises(ValueError, match="^vocals and accompaniment of a.wav would both be "):
        different("{source}/../{song}", "a.wav")
