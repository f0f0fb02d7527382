"""A corpus of tones, small enough to train on within a test."""

import re

import numpy as np
import soundfile

from mixit_mss.data.manifest import make_manifest, write_manifest
from mixit_mss.training.runs import finetune, finetuning, pretrain, pretraining

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


def make_corpus(folder):
    """Manifests of unlabelled and labelled tones, and config files, in ``folder``."""
    generator = np.random.default_rng(0)
    row = {"sample_rate": RATE, "channels": 2, "license": "", "frames": 2 * RATE}
    segments = (np.array([0, RATE]), RATE)
    unlabelled, labelled = [], []
    for number in range(6):
        split = "valid" if number > 3 else "train"
        song = f"song{number}"
        stems = {"low": tone(generator, 100, 500), "high": tone(generator, 2000, 3500)}
        for stem, wave in (*stems.items(), ("mixture", sum(stems.values()))):
            path = folder / f"{song}_{stem}.wav"
            soundfile.write(path, wave.T, RATE, subtype="FLOAT")
            table = unlabelled if stem == "mixture" else labelled
            table.append({**row, "song": song, "stem": stem, "split": split, "path": str(path)})
    for name, rows in (("unlabelled", unlabelled), ("labelled", labelled)):
        write_manifest(folder / name, make_manifest(rows, [segments] * len(rows), name))
    (folder / "model.yaml").write_text(MODEL)
    (folder / "pretrain.yaml").write_text("num_outputs: 4\n" + TRAINING)
    (folder / "finetune.yaml").write_text(TRAINING)
    return folder


def edit(path, **changes):
    """Put ``key: value`` of the run section's last line anew, or add them."""
    text = path.read_text()
    for key, value in changes.items():
        found = re.search(rf"\b{key}: [^,}}]+", text)
        text = (
            text.replace(found[0], f"{key}: {value}")
            if found
            else text.replace("num_workers: 0", f"num_workers: 0, {key}: {value}")
        )
    path.write_text(text)


def run_pretrain(corpus, **options):
    files = (corpus / "pretrain.yaml", corpus / "model.yaml", corpus / "unlabelled")
    out = corpus / options.pop("out", "exp")
    stems = options.pop("monitor_stems", None)
    pretrain(pretraining(*map(str, files), str(out), **{"seed": 0, **options}), stems)
    return out


def run_finetune(corpus, out, **options):
    files = {"config": corpus / "finetune.yaml", "manifest": corpus / "labelled", "out": out}
    finetune(finetuning(**{key: str(path) for key, path in files.items()}, **options))
    return out
