"""Training for real, small: MixIT separates what it never heard apart, and runs can be continued."""

import numpy as np
import pytest
import soundfile
import torch

from mixit_mss.data.manifest import make_manifest, write_manifest
from mixit_mss.errors import UserError
from mixit_mss.losses import mixit_loss
from mixit_mss.models import BSLocoformer
from mixit_mss.models.hub import load_model, read_card
from mixit_mss.training.checkpoints import average_weights
from mixit_mss.training.runs import finetune, pretrain

RATE = 8000
MODEL = """
name: bs_locoformer
num_blocks: 1
dim: 8
ffn_dim: 8
num_heads: 2
num_groups: 2
kernel_size: 2
sample_rate: 8000
n_fft: 128
hop: 32
bands: 8
"""
TRAINING = """
optimizer: {lr: 2e-3}
schedule: {warmup_steps: 2}
run:
  {epochs: 3, steps_per_epoch: 2, batch_size: 2, chunk_seconds: 0.5, validation_chunks: 2,
   average_best: 2, num_workers: 0}
"""


def tone(generator, low, high, seconds=2.0):
    """A stereo tone of random frequency, between ``low`` and ``high`` Hz."""
    time = np.arange(int(seconds * RATE)) / RATE
    wave = np.sin(2 * np.pi * (generator.uniform(low, high) * time + generator.uniform()))
    return 0.1 * np.stack([wave, generator.uniform(0.5, 1) * wave]).astype(np.float32)


@pytest.fixture
def corpus(tmp_path):
    """Manifests of unlabelled and labelled tones, and config files."""
    generator = np.random.default_rng(0)
    row = {"sample_rate": RATE, "channels": 2, "license": "", "frames": 2 * RATE}
    segments = (np.array([0, RATE]), RATE)
    unlabelled, labelled = [], []
    for number in range(6):
        split = "valid" if number > 3 else "train"
        song = f"song{number}"
        stems = {"low": tone(generator, 100, 500), "high": tone(generator, 2000, 3500)}
        for stem, wave in (*stems.items(), ("mixture", sum(stems.values()))):
            path = tmp_path / f"{song}_{stem}.wav"
            soundfile.write(path, wave.T, RATE, subtype="FLOAT")
            table = unlabelled if stem == "mixture" else labelled
            table.append({**row, "song": song, "stem": stem, "split": split, "path": str(path)})
    for name, rows in (("unlabelled", unlabelled), ("labelled", labelled)):
        write_manifest(tmp_path / name, make_manifest(rows, [segments] * len(rows), name))
    (tmp_path / "model.yaml").write_text(MODEL)
    (tmp_path / "pretrain.yaml").write_text("num_outputs: 4\n" + TRAINING)
    (tmp_path / "finetune.yaml").write_text(TRAINING)
    return tmp_path


def run_pretrain(corpus, **options):
    files = (corpus / "pretrain.yaml", corpus / "model.yaml", corpus / "unlabelled")
    pretrain(*map(str, files), str(corpus / "exp"), **{"seed": 0, **options})
    return corpus / "exp"


def run_finetune(corpus, out, **options):
    files = {"config": corpus / "finetune.yaml", "manifest": corpus / "labelled", "out": out}
    finetune(**{key: str(path) for key, path in files.items()}, **options)
    return out


def test_a_run_leaves_a_model_and_does_nothing_again(corpus, capsys):
    experiment = run_pretrain(corpus)
    card = read_card(experiment / "model")
    assert (card["steps"], card["seed"]) == (6, 0)
    assert card["training_data"]["songs"] == 6
    assert "epoch 3/3  step 6/6" in capsys.readouterr().out
    weights = (experiment / "model/model.safetensors").read_bytes()
    run_pretrain(corpus)
    assert "nothing changed" in capsys.readouterr().out
    assert (experiment / "model/model.safetensors").read_bytes() == weights


def test_the_model_is_the_average_of_the_best_checkpoints(corpus):
    experiment = run_pretrain(corpus)
    best = sorted(map(str, (experiment / "checkpoints").glob("best-*.ckpt")))
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
