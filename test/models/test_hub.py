"""Model folders: what is saved comes back, and what is no model folder says so."""

import json

import pytest
import torch

from mixit_mss.errors import UserError
from mixit_mss.models import BSLocoformer
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
