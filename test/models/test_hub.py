"""Model folders: what is saved comes back, and what is no model folder says so."""

import json
import shutil
import struct
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from mixit_mss import machine
from mixit_mss.errors import UserError
from mixit_mss.models import BSLocoformer, build_model, skeleton
from mixit_mss.models.hub import load_model, read_card, save_model


@pytest.fixture
def model():
    sizes = {"num_blocks": 1, "dim": 8, "ffn_dim": 8, "num_heads": 2, "num_groups": 2}
    stft = {"n_fft": 64, "hop": 16, "bands": 6, "sample_rate": 8000}
    return BSLocoformer(2, stems=["voice", "rest"], **sizes, **stft).eval()


def test_a_saved_model_comes_back_the_same(model, tmp_path):
    save_model(model, tmp_path / "m", {"seed": 3, "training_data": "band"})
    loaded = load_model(tmp_path / "m")
    mixture = torch.randn(1, 2, 500)
    with torch.no_grad():
        assert torch.equal(loaded(mixture), model(mixture))
    assert loaded.stems == ("voice", "rest")
    assert not loaded.training
    card = read_card(tmp_path / "m")
    assert card["seed"] == 3
    assert card["stems"] == ["voice", "rest"]
    assert card["sample_rate"] == 8000
    assert "training data: band" in (tmp_path / "m" / "README.md").read_text()


def test_saving_over_a_model_replaces_it(model, tmp_path):
    save_model(model, tmp_path)
    other = BSLocoformer(**{**model.config, "stems": ["a", "b"]})
    save_model(other, tmp_path)
    assert load_model(tmp_path).stems == ("a", "b")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]


def test_no_model_folder_is_one_sentence(model, tmp_path):
    with pytest.raises(UserError, match=r"is no model folder: it holds no config\.json"):
        load_model(tmp_path / "nowhere")
    save_model(model, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(UserError, match="broken model folder"):
        load_model(tmp_path)


def test_weights_of_another_network_are_refused(model, tmp_path):
    save_model(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["model"]["dim"] = 16
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="broken model folder"):
        load_model(tmp_path)


@pytest.fixture
def folder(model, tmp_path):
    save_model(model, tmp_path / "m")
    return tmp_path / "m"


def refused(folder, message):
    """A folder that cannot be opened is one sentence, soon and without much memory."""
    begin = time.process_time()
    with pytest.raises(UserError, match=message) as caught:
        load_model(folder)
    assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 1000
    assert time.process_time() - begin < 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": "8"}, "dim '8' must be a whole number"),
        ({"dim": 8.0}, "dim 8.0 must be a whole number"),
        ({"dim": True}, "dim True must be"),
        ({"dim": None}, "dim None must be"),
        ({"dim": 4000}, "dim 4000 must be .* from 1 to 2048"),
        ({"dim": 10**400}, "dim one of about .* digits must be"),
        ({"num_heads": -2}, "num_heads -2 must be"),
        ({"num_heads": 0}, "num_heads 0 must be"),
        ({"num_heads": 3}, "not divisible by num_heads 3"),
        ({"num_groups": 0}, "num_groups 0 must be"),
        ({"num_blocks": 10**6}, "num_blocks 1000000 must be"),
        ({"num_sources": 10**5}, "num_sources 100000 must be"),
        ({"num_sources": 3}, "2 stems are named"),
        ({"dropout": 1.5}, "dropout 1.5 must be a number from 0 to below 1"),
        ({"dropout": "0"}, "dropout '0' must be"),
        ({"hop": 1, "n_fft": 2048, "bands": 6}, "hop 1 must be at least 1/64 of n_fft"),
        ({"hop": 1, "sample_rate": 768000, "bands": 33}, "numbers of every second"),
        ({"hop": 0}, "hop 0 must be"),
        ({"n_fft": 10**9}, "n_fft 1000000000 must be"),
        ({"sample_rate": 67108864}, "sample_rate 67108864 must be"),
        ({"num_channels": 0}, "num_channels 0 must be"),
        ({"bands": "6"}, "bands must be a whole number, or a list"),
        ({"bands": [[6]]}, "bands must be a whole number, or a list"),
        ({"bands": []}, "1 to 2048 bands"),
        ({"bands": True}, "bands must be"),
        ({"bands": 10**9}, "bands must be at most 2048"),
        ({"stems": [["voice"], "rest"]}, "name of a stem must be text"),
        ({"stems": "ab"}, "stems must be a list"),
        ({"stems": 3}, "stems must be a list"),
        ({"stems": ["../../x", "rest"]}, "cannot be the name of a stem: it is a path"),
        ({"stems": ["/etc/x", "rest"]}, "is a path"),
        ({"stems": ["", "rest"]}, "is empty"),
        ({"stems": ["a\x00b", "rest"]}, "control characters"),
        ({"stems": ["x" * 101, "rest"]}, "more than 100 bytes"),
        ({"stems": ["rest", "rest"]}, "given twice"),
        ({"colour": 3}, "colour"),
        ({"name": "other"}, "no model 'other'"),
        ({"size": 3}, "size must be a name"),
        ({"size": "huge"}, "no size 'huge'"),
        ({"ffn_dim": 16}, "have shape"),
        ({"num_blocks": 2}, "lacks the weights"),
    ],
)
def test_sizes_that_cannot_be(folder, changes, message):
    config = json.loads((folder / "config.json").read_text())
    config["model"] |= changes
    (folder / "config.json").write_text(json.dumps(config))
    refused(folder, message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[1]", "describes no network"),
        ("3", "describes no network"),
        ("{}", "describes no network"),
        ('{"model": 3}', "describes no network"),
        ('{"model": {"name": ["bs_locoformer"]}}', "describes no network"),
        ('{"model": {"name": "bs_locoformer"}}', "broken model folder"),
        ('{"model": {"name": "bs_locoformer", "dropout": NaN}}', "NaN is no number"),
        ('{"a": ' + "9" * 5000 + "}", "not valid JSON"),
        (" " * 5_000_000, "larger than 4096 KiB"),
        (b"\xff\xfe{\x00}\x00", "is UTF-16 text"),
        (b'{"a": "caf\xe9"}', "is not UTF-8 text"),
    ],
)
def test_a_config_that_is_none(folder, text, message):
    (folder / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(folder, message)


def header_of(content: bytes) -> dict:
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length])


def with_header(content: bytes, header: object) -> bytes:
    (length,) = struct.unpack("<Q", content[:8])
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def changed(name, **changes):
    def change(content):
        header = header_of(content)
        header[name] |= changes
        return with_header(content, header)

    return change


NORM = "encoder.norms.0.bias"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: b"", "empty, cut short"),
        (lambda content: content[:5], "empty, cut short"),
        (lambda content: content[:200], "empty, cut short"),
        (lambda content: content[:-4], "cut short or damaged"),
        (lambda content: content + b"more", "cut short or damaged"),
        (lambda content: b"\xff" * 8 + content[8:], "empty, cut short"),
        (lambda content: b"\x80\x04\x95pickle" * 9, "empty, cut short"),
        (lambda content: with_header(content, [1]), "header that cannot be read"),
        (lambda content: with_header(content, {}), "cut short or damaged"),
        (changed(NORM, shape=[1 << 40]), "header that cannot be read"),
        (changed(NORM, shape=[-1]), "header that cannot be read"),
        (changed(NORM, shape="x"), "header that cannot be read"),
        (changed(NORM, data_offsets=[0]), "header that cannot be read"),
        (changed(NORM, dtype="I32"), "not floating point"),
        (changed(NORM, dtype=["F32"]), "header that cannot be read"),
    ],
)
def test_weights_that_are_none(folder, change, message):
    path = folder / "model.safetensors"
    path.write_bytes(change(path.read_bytes()))
    refused(folder, f"broken model folder.*{message}")


def test_weights_of_other_names_shapes_and_values(folder):
    path = folder / "model.safetensors"
    good = load_file(path)
    for change, message in (
        ({NORM: torch.zeros(3)}, "have shape"),
        ({"more": torch.zeros(3)}, "'more' have no place"),
        ({NORM: torch.full_like(good[NORM], float("nan"))}, "hold NaN or infinite"),
        ({NORM: torch.full_like(good[NORM], float("inf"))}, "hold NaN or infinite"),
        ({NORM: good[NORM].int()}, "not floating point"),
    ):
        save_file({**good, **change}, path)
        refused(folder, message)
    save_file({name: tensor for name, tensor in good.items() if name != NORM}, path)
    refused(folder, f"lacks the weights '{NORM}'")
    save_file({name: tensor.half() for name, tensor in good.items()}, path)
    refused(folder, "not as they were written together")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "sha256": None}))
    assert next(load_model(folder).parameters()).dtype == torch.float32


def test_parts_that_are_folders_or_missing(folder, tmp_path):
    refused(folder / "config.json", "is no model folder but a file")
    for name in ("model.safetensors", "config.json"):
        copy = shutil.copytree(folder, tmp_path / f"without {name}")
        (copy / name).unlink()
        refused(copy, f"holds no {name}")
        (copy / name).mkdir()
        refused(copy, f"holds no {name}")


def test_a_network_is_weighed_before_it_is_built(folder, monkeypatch):
    asked = []

    def free():
        asked.append(torch.get_default_device().type)
        return 10_000

    monkeypatch.setattr(machine, "free_bytes", free)
    with pytest.raises(UserError, match=r"a network of [\d,]+ parameters needs .* GiB of memory"):
        load_model(folder)
    assert len(asked) == 1


@pytest.mark.parametrize(
    "more", [{"num_blocks": 128}, {"num_sources": 256}, {"dim": 1024, "ffn_dim": 8192}]
)
def test_the_largest_that_can_be_asked_for_are_weighed_soon(more, monkeypatch):
    monkeypatch.setattr(machine, "free_bytes", lambda: 2**20)
    sizes = {"dim": 64, "ffn_dim": 64, "num_heads": 8, "num_groups": 8, "num_blocks": 2}
    begin = time.process_time()
    with pytest.raises(UserError, match=r"needs .* GiB of memory"):
        skeleton(**{"name": "bs_locoformer", "num_sources": 4, "n_fft": 2048, **sizes, **more})
    assert time.process_time() - begin < 5


def test_a_skeleton_draws_no_random_numbers(model):
    """So that weighing a network changes no training."""
    before = torch.get_rng_state()
    empty = skeleton(name="bs_locoformer", **model.config)
    assert torch.equal(torch.get_rng_state(), before)
    assert {parameter.device.type for parameter in empty.parameters()} == {"meta"}
    full = build_model("bs_locoformer", **model.config).state_dict()
    shapes = {name: tensor.shape for name, tensor in empty.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in full.items()}
