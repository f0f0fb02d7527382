"""Training for real, small: MixIT separates what it never heard apart, and runs can be continued."""

import functools
import subprocess
import sys

import numpy as np
import pytest
import torch
from tones import RATE, edit, run_finetune, run_pretrain, tone

from mixit_mss.data.manifest import concatenate, read_manifest, write_manifest
from mixit_mss.errors import UserError
from mixit_mss.losses import mixit_loss
from mixit_mss.models import BSLocoformer
from mixit_mss.models.hub import load_model, read_card
from mixit_mss.training.checkpoints import average_weights


def test_a_run_leaves_a_model_and_does_nothing_again(corpus, capsys):
    experiment = run_pretrain(corpus)
    card = read_card(experiment / "model")
    assert (card["steps"], card["seed"]) == (6, 0)
    assert card["training_data"]["songs"] == 6
    assert "epoch 3/3  step 6/6" in capsys.readouterr().out
    weights = (experiment / "model/model.safetensors").read_bytes()
    # that there is nothing to do is known before anything heavy is loaded
    words = ["--model", str(corpus / "model.yaml"), "--manifest", str(corpus / "unlabelled")]
    words += ["--config", str(corpus / "pretrain.yaml"), "--out", str(experiment)]
    code = f"import sys; from mixit_mss.bin import pretrain; pretrain.main({words}); "
    code += "assert not {'torch', 'pytorch_lightning'} & set(sys.modules)"
    again = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "nothing changed" in again.stdout
    assert (experiment / "model/model.safetensors").read_bytes() == weights


def test_a_missing_table_is_named_before_torch_is_loaded(corpus):
    words = ["--model", str(corpus / "model.yaml"), "--manifest", str(corpus / "none")]
    words += ["--config", str(corpus / "pretrain.yaml"), "--out", str(corpus / "exp")]
    code = "import sys; from mixit_mss.bin.main import main; "
    code += f"status = main({['pretrain', *words]}); assert 'torch' not in sys.modules; sys.exit(status)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "none.tracks.csv' does not exist" in done.stderr and done.stderr.count("\n") == 1


def test_the_model_is_the_average_of_the_best_checkpoints(corpus):
    experiment = run_pretrain(corpus)
    best = sorted(map(str, (experiment / "checkpoints").rglob("best-*.ckpt")))
    assert len(best) == 2
    states = [torch.load(path, weights_only=True)["state_dict"] for path in best]
    model = load_model(experiment / "model").state_dict()
    for name, tensor in average_weights(best).items():
        mean = (states[0][f"model.{name}"] + states[1][f"model.{name}"]) / 2
        torch.testing.assert_close(model[name], mean)
        torch.testing.assert_close(tensor, mean)


def test_another_seed_or_config_starts_anew(corpus, capsys):
    experiment = run_pretrain(corpus)
    first = load_model(experiment / "model").state_dict()
    run_pretrain(corpus, seed=1)
    assert "going on" not in capsys.readouterr().out
    second = load_model(experiment / "model").state_dict()
    assert any(not torch.equal(first[name], second[name]) for name in first)
    assert read_card(experiment / "model")["seed"] == 1


def test_activation_checkpointing_trains_the_same_network(corpus):
    usual = load_model(run_pretrain(corpus) / "model").state_dict()
    config = (corpus / "pretrain.yaml").read_text()
    lean = config.replace("num_workers: 0", "num_workers: 0, activation_checkpointing: true")
    (corpus / "pretrain.yaml").write_text(lean)
    again = load_model(run_pretrain(corpus) / "model").state_dict()
    for name, tensor in usual.items():
        torch.testing.assert_close(again[name], tensor, rtol=1e-4, atol=1e-5)


def test_compiled_blocks_train_the_same_network(corpus, monkeypatch):
    usual = load_model(run_pretrain(corpus) / "model").state_dict()
    captured = functools.partialmethod(torch.nn.Module.compile, backend="eager")
    monkeypatch.setattr(torch.nn.Module, "compile", captured)
    edit(corpus / "pretrain.yaml", compile="true")
    again = load_model(run_pretrain(corpus, out="compiled") / "model").state_dict()
    assert list(again) == list(usual)
    for name, tensor in usual.items():
        torch.testing.assert_close(again[name], tensor, rtol=1e-4, atol=1e-5)


def test_half_precision_trains_nearly_the_same_network(corpus):
    usual = load_model(run_pretrain(corpus) / "model").state_dict()
    edit(corpus / "pretrain.yaml", precision="bf16-mixed")
    half = load_model(run_pretrain(corpus, out="half") / "model").state_dict()
    moved = max((half[name] - usual[name]).abs().max().item() for name in usual)
    assert 0 < moved < 5e-3  # the learning rate is 2e-3, and AdamW's steps are of its size


def test_only_encoder_and_decoder_change_when_asked(corpus):
    run_pretrain(corpus)
    start = load_model(corpus / "exp/model").select_sources([0, 1], stems=["low", "high"])
    from mixit_mss.models.hub import save_model

    save_model(start, corpus / "selected")
    out = run_finetune(
        corpus, corpus / "tuned", init=str(corpus / "selected"), trainable="encoder_decoder"
    )
    tuned = load_model(out / "model")
    assert tuned.stems == ("low", "high")
    for part, same in (("separator", True), ("encoder", False), ("decoder", False)):
        pairs = zip(
            getattr(start, part).parameters(), getattr(tuned, part).parameters(), strict=True
        )
        assert all(torch.equal(a, b) for a, b in pairs) == same, part


def test_unnamed_outputs_cannot_be_fine_tuned(corpus):
    run_pretrain(corpus)
    with pytest.raises(UserError, match="its outputs have no stems; choose some"):
        run_finetune(corpus, corpus / "tuned", init=str(corpus / "exp/model"))


def test_from_scratch_the_stems_name_the_outputs(corpus):
    out = run_finetune(corpus, corpus / "tuned", model=str(corpus / "model.yaml"))
    assert load_model(out / "model").stems == ("low", "high")


def test_mixit_learns_to_separate_from_mixtures_alone():
    """Each song is a low or a high tone; no mixture of two songs is ever heard apart."""
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    sizes = {"num_blocks": 1, "dim": 8, "ffn_dim": 8, "num_heads": 2, "num_groups": 2}
    stft = {"n_fft": 128, "hop": 32, "bands": 8, "sample_rate": RATE, "kernel_size": 2}
    model = BSLocoformer(4, **sizes, **stft)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)

    def batch(size):
        pairs = [
            np.stack([tone(generator, 100, 500, 0.5), tone(generator, 2000, 3500, 0.5)])
            for _ in range(size)
        ]
        return torch.from_numpy(np.stack(pairs))

    held_out = batch(8)

    def score():
        with torch.no_grad():
            return mixit_loss(model(held_out.sum(1)), held_out)[0].mean().item() / 2

    before = score()
    for _ in range(60):
        mixtures = batch(4)
        loss = mixit_loss(model(mixtures.sum(1)), mixtures)[0].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert before > -3
    assert score() < -12


def test_stems_that_model_and_songs_do_not_share_are_said_before_the_work(corpus, capsys):
    tuned = run_finetune(corpus, corpus / "tuned", model=str(corpus / "model.yaml"))
    songs = read_manifest(corpus / "labelled")
    whole = songs.tracks.copy()
    songs.tracks["stem"] = whole["stem"].replace("high", "flute")
    write_manifest(corpus / "labelled", songs)
    with pytest.raises(
        UserError, match=r"its outputs high are no stems of .* which has low, flute"
    ):
        run_finetune(corpus, corpus / "more", init=str(tuned / "model"))
    assert not (corpus / "more").exists()
    third = songs.select(stem="low")
    third.tracks["stem"] = "third"
    songs.tracks = whole
    write_manifest(corpus / "labelled", concatenate([songs, third]))
    capsys.readouterr()
    run_finetune(corpus, corpus / "more", init=str(tuned / "model"))
    assert "has no output for third: these stems" in capsys.readouterr().out
    assert load_model(corpus / "more/model").stems == ("low", "high")


def test_songs_below_the_networks_rate_are_said(corpus, capsys):
    model = corpus / "model.yaml"
    model.write_text(model.read_text().replace("sample_rate: 8000", "sample_rate: 16000"))
    run_pretrain(corpus)
    said = capsys.readouterr().out
    assert "at 8000 Hz or more but below the network's 16000 Hz" in said
