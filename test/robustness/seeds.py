"""Small sound inputs for every command, made once: the fuzz breaks copies of them.

``sounds/`` one song in many formats; ``music/`` manifests and their songs; ``labelled/`` stems in
folders; ``model/`` and ``model4/`` networks; ``conf/`` configs; ``estimates/``; ``exp/`` a scored
experiment; ``separated/``, ``segmented/`` and ``run/`` results that can be taken up; ``official.pth``; ``fma/`` and ``zips/``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import soundfile
import torch
from safetensors.torch import save_file

from mixit_mss.audio.ffmpeg import find_ffmpeg
from mixit_mss.bin import main as door
from mixit_mss.data.manifest import make_manifest, write_manifest
from mixit_mss.models import BSLocoformer
from mixit_mss.models.hub import save_model
from test import corpus_server

GOLDEN = Path(__file__).parents[1] / "golden"
RATE, SAMPLES = 8000, 17_600
STEMS = ("low", "high")
SPLITS = ("train", "train", "valid", "valid", "test", "test")
SIZES = {"num_blocks": 1, "dim": 8, "ffn_dim": 8, "num_heads": 2, "num_groups": 2, "kernel_size": 2}
AUDIO = {"sample_rate": RATE, "n_fft": 128, "hop": 32, "bands": 4}
FORMATS = ("flac", "mp3", "ogg", "opus", "m4a", "aiff", "w64", "wv", "aac", "mkv", "avi", "au")
SEGMENTS = (*("--sample-rate", "8000", "--segment-seconds", "1", "--hop-seconds", "1"),)
SEGMENTS += ("--valid-fraction", "0", "--stems", "low,high")
CHUNKS = ("--chunk-seconds", "0.5", "--hop-seconds", "0.25", "--device", "cpu")
TRAINING = """
optimizer: {lr: 2e-3}
schedule: {warmup_steps: 2}
run:
  epochs: 1
  steps_per_epoch: 1
  batch_size: 2
  chunk_seconds: 0.25
  validation_chunks: 1
  average_best: 1
  num_workers: 0
"""


def build(folder: Path) -> None:
    """Write all of them below ``folder``."""
    _sounds(folder / "sounds")
    _music(folder)
    _models(folder)
    _configs(folder / "conf")
    _experiment(folder / "exp")
    _fma(folder / "fma")
    _zips(folder / "zips")
    _run(folder)
    _done(folder)


def tone(number: int, stem: str) -> np.ndarray:
    """(sample, 2) float32 of 2.2 s, below 600 Hz or above 2 kHz."""
    generator = np.random.default_rng([number, len(stem)])
    low, high = (100, 600) if stem == "low" else (2000, 3500)
    phase = 2 * np.pi * generator.uniform(low, high) * np.arange(SAMPLES) / RATE
    return (0.2 * np.stack([np.sin(phase), np.cos(phase)], axis=1)).astype(np.float32)


def _write(path: Path, wave: np.ndarray, subtype: str = "PCM_16") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, RATE, subtype=subtype)


def _sounds(folder: Path) -> None:
    wave = tone(0, "low") + tone(0, "high")
    _write(folder / "song.wav", wave)
    _write(folder / "float.wav", wave, "FLOAT")
    _write(folder / "many.wav", np.tile(wave, (1, 3)), "PCM_24")
    command = [find_ffmpeg(), "-nostdin", "-v", "error", "-y", "-i", folder / "song.wav"]
    outputs = [word for suffix in FORMATS for word in ("-vn", folder / f"song.{suffix}")]
    subprocess.run([*command, *map(str, outputs)], check=True)


def _music(folder: Path) -> None:
    """Manifests of songs beside them, the same as a folder of stems, and estimates."""
    tables: dict[str, list[dict]] = {"labelled": [], "unlabelled": []}
    for number, split in enumerate(SPLITS):
        stems = {stem: tone(number, stem) for stem in STEMS}
        for stem, wave in (*stems.items(), ("mixture", sum(stems.values()))):
            name = f"song{number}_{stem}.wav"
            _write(folder / "music" / name, wave)
            _write(folder / f"labelled/{split}/song{number}/{stem}.wav", wave)
            if split == "test" and stem != "mixture":
                _write(folder / f"estimates/song{number}/{stem}.wav", 0.9 * wave)
            row = {"song": f"song{number}", "stem": stem, "split": split, "license": "CC0"}
            row |= {"frames": SAMPLES, "sample_rate": RATE, "channels": 2}
            tables["labelled"].append({**row, "path": str(folder / "music" / name)})
    mixtures = [row for row in tables["labelled"] if row["stem"] == "mixture"]
    tables["unlabelled"] = [
        {**r, "split": "train" if r["split"] == "test" else r["split"]} for r in mixtures
    ]
    for name, rows in tables.items():
        segments = [(np.array([0]), SAMPLES)] * len(rows)
        write_manifest(folder / "music" / name, make_manifest(rows, segments, name))
        parts = folder / "parts" / name
        shutil.copytree(folder / "music", parts, ignore=shutil.ignore_patterns("*.csv"))
        for table in ("tracks", "segments"):
            shutil.copy(folder / f"music/{name}.{table}.csv", parts / f"{table}.csv")


def _models(folder: Path) -> None:
    torch.manual_seed(0)
    save_model(BSLocoformer(2, **SIZES, **AUDIO, stems=STEMS), folder / "model")
    save_model(BSLocoformer(3, **SIZES, **AUDIO), folder / "model3")
    with np.load(GOLDEN / "official_network_tiny.npz") as arrays:
        entries = {
            name.removeprefix("state_dict/"): torch.from_numpy(arrays[name].astype(np.float32))
            for name in arrays
            if name.startswith("state_dict/")
        }
    torch.save(entries, folder / "official.pth")
    save_file(entries, str(folder / "official.safetensors"))


def _configs(folder: Path) -> None:
    folder.mkdir()
    sizes = "".join(f"{key}: {value}\n" for key, value in {**SIZES, **AUDIO}.items())
    (folder / "model.yaml").write_text("name: bs_locoformer\n" + sizes)
    (folder / "base.yaml").write_text(TRAINING)
    (folder / "pretrain.yaml").write_text("base: base.yaml\nnum_outputs: 4\n")
    (folder / "finetune.yaml").write_text("mixing: {gain_db: 5.0}\n" + TRAINING)


def _experiment(folder: Path) -> None:
    """What training and scoring leave, in few numbers."""
    folder.mkdir()
    rows = [f"song{n},{stem},{n}.5,1.0,2.25\n" for n in (4, 5) for stem in STEMS]
    (folder / "scores.csv").write_text("song,stem,usdr,usdr_per_channel,csdr\n" + "".join(rows))
    (folder / "votes.csv").write_text(
        "channel,low,high,chosen_for\n0,0,3,high\n1,3,0,low\n2,0,0,\n"
    )
    (folder / "history.csv").write_text(
        "epoch,step,train_loss,val_loss,val_usdr,lr\n1,10,-1.5,-1.0,1.0,0.001\n2,20,-2.5,-2.0,2.0,0.001\n"
    )
    facts = {"label": "tuned", "order": 1, "parameters": 84376, "steps": 20, "seed": 0}
    facts |= {"commit": "abc1234", "command": "mixit-mss finetune", "config": "conf/finetune.yaml"}
    (folder / "experiment.json").write_text(json.dumps(facts))


def _fma(folder: Path) -> None:
    (folder / "fma_metadata").mkdir(parents=True)
    (folder / "fma_metadata/tracks.csv").write_text(corpus_server.tracks_csv())
    for track in (2, 3, 5):
        path = folder / f"fma_large/000/{track:06d}.mp3"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder.parent / "sounds/song.mp3", path)


def _zips(folder: Path) -> None:
    folder.mkdir()
    members = corpus_server.musdb_members(500)
    (folder / "musdb18hq.zip").write_bytes(corpus_server.make_zip(members))
    metadata = corpus_server.metadata_members()
    (folder / "fma_metadata.zip").write_bytes(corpus_server.make_zip(metadata))
    clips = corpus_server.fma_members(size=500)
    (folder / "fma_small.zip").write_bytes(corpus_server.make_zip(clips))


def _run(folder: Path) -> None:
    conf = folder / "conf"
    argv = ["pretrain", "--device", "cpu", "--config", str(conf / "pretrain.yaml")]
    argv += ["--model", str(conf / "model.yaml"), "--manifest", str(folder / "music/unlabelled")]
    if door.main([*argv, "--out", str(folder / "run")]):
        raise RuntimeError("the training that the fuzz takes up fails")


def _done(folder: Path) -> None:
    """What a finished separation and a finished segmentation leave."""
    separate = ["separate", folder / "sounds/song.wav", "--model", folder / "model", *CHUNKS]
    segment = ["segment", "--kind", "labelled", "--input", folder / "labelled", *SEGMENTS]
    for name, argv in (("separated", separate), ("segmented", segment)):
        if door.main([*map(str, argv), "--out", str(folder / name)]):
            raise RuntimeError(f"the fuzz has nothing to break: what should be {name} fails")
