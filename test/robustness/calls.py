"""What every command is asked when nothing is broken, and which of its inputs can be.

Each of :data:`CALLS` succeeds as it is: a test sees to that, so that the fuzz cannot come to test
nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from test.robustness.sandbox import Call, Sandbox

CHUNKS = ("--chunk-seconds", "0.5")
CPU = ("--device", "cpu")
SEGMENTS = (
    "--sample-rate",
    "8000",
    "--segment-seconds",
    "1",
    "--hop-seconds",
    "1",
    "--valid-fraction",
    "0",
)
STEMS = ("--stems", "low,high")


def _words(*words: object) -> list[str]:
    return [str(word) for word in words]


def _model_aims(folder: Path) -> dict[str, list[Path]]:
    return {"json": [folder / "config.json"], "checkpoints": [folder / "model.safetensors"]}


def _tables(stem: Path) -> list[Path]:
    return [stem.with_name(f"{stem.name}.{name}.csv") for name in ("tracks", "segments")]


def separate(box: Sandbox, song: str = "song.wav") -> Call:
    """One song."""
    model, path = box.take("model"), box.take(f"sounds/{song}")
    argv = _words("separate", path, "--model", model, "--out", box.out, *CHUNKS, *CPU)
    argv += ["--hop-seconds", "0.25"]
    return Call(argv, out=(box.out,), aims={"audio": [path], **_model_aims(model)})


def separate_folder(box: Sandbox, song: str = "song.wav") -> Call:
    """A folder with one song more, and a picture."""
    call = separate(box)
    for number in (1, 2):
        path = box.take(f"sounds/{song}", f"album/{number}{Path(song).suffix}")
    (box.inputs / "album/cover.jpg").write_bytes(b"\xff\xd8\xff")
    call.argv[1] = str(box.inputs / "album")
    call.argv += ["--two-stems", "low", "--format", "flac16"]
    call.aims["audio"] = [path]
    return call


def separate_manifest(box: Sandbox) -> Call:
    """The test songs of a manifest."""
    music, model = box.take("music"), box.take("model")
    argv = _words("separate", "--manifest", music / "labelled", "--model", model, "--out", box.out)
    argv += [*CHUNKS, *CPU, "--hop-seconds", "0.5"]
    aims = {"audio": [music / "song4_mixture.wav"], "tables": _tables(music / "labelled")}
    return Call(argv, out=(box.out,), aims=aims)


def separate_again(box: Sandbox) -> Call:
    """One song, whose stems are there already, with their stamp."""
    call = separate(box)
    stems = box.take("separated/song", "../out/song")
    (stems / "lyrics.txt").write_text("mine\n")
    call.own = tuple(stems / name for name in ("low.wav", "high.wav", ".done.json"))
    call.aims = {"json": [stems / ".done.json"]}
    return call


def separate_pipe(box: Sandbox, song: str = "song.wav") -> Call:
    """From standard input to standard output."""
    call = separate(box, song)
    call.stdin = box.inputs / song
    call.argv[1] = "-"
    call.argv[call.argv.index("--out") + 1] = "-"
    call.argv += ["--stems", "low"]
    return call


def segment(box: Sandbox, song: str = "song.wav") -> Call:
    """A folder of songs."""
    paths = [box.take(f"sounds/{song}", f"album/{n}{Path(song).suffix}") for n in (1, 2)]
    argv = _words("segment", "--kind", "unlabelled", "--input", box.inputs / "album", *SEGMENTS)
    return Call(
        [*argv, "--out", str(box.out / "data")], out=(box.out / "data",), aims={"audio": paths}
    )


def segment_labelled(box: Sandbox) -> Call:
    """Songs with stems, in folders."""
    folder = box.take("labelled")
    argv = _words(
        "segment", "--kind", "labelled", "--input", folder, "--out", box.out / "data", *SEGMENTS
    )
    stems = [
        folder / f"{split}/{song}.wav"
        for split, song in (("train/song0", "low"), ("test/song4", "mixture"))
    ]
    return Call([*argv, *STEMS], out=(box.out / "data",), aims={"audio": stems})


def segment_again(box: Sandbox) -> Call:
    """Songs with stems whose results are there already."""
    call = segment_labelled(box)
    data = box.take("segmented", "../out/data")
    call.own = (data,)
    (data / "audio/mine.flac").write_text("mine")
    notes = [data / name for name in (".done.json", ".journal.jsonl", ".journal.jsonl")]
    tables = [data / name for name in ("tracks.csv", "segments.csv", "rejected.csv")]
    call.aims = {"json": notes, "tables": tables}
    return call


def segment_table(box: Sandbox) -> Call:
    """Songs with stems, in a table."""
    folder, table = box.take("music"), box.inputs / "songs.csv"
    rows = [
        f"music/song{n}_{stem}.wav,song{n},{stem},{split},CC0\n"
        for n, split in enumerate(("train", "train", "valid"))
        for stem in ("low", "high", "mixture")
    ]
    table.write_text("path,song,stem,split,license\n" + "".join(rows))
    argv = _words(
        "segment", "--kind", "labelled", "--input", table, "--out", box.out / "data", *SEGMENTS
    )
    aims = {"tables": [table], "audio": [folder / "song0_low.wav"]}
    return Call([*argv, *STEMS], out=(box.out / "data",), aims=aims)


def segment_fma(box: Sandbox) -> Call:
    """FMA, in few clips."""
    root = box.take("fma")
    argv = _words("segment", "--corpus", "fma", "--fma-subset", "large", "--input", root, *SEGMENTS)
    aims = {
        "tables": [root / "fma_metadata/tracks.csv"],
        "audio": [root / "fma_large/000/000002.mp3"],
    }
    return Call([*argv, "--out", str(box.out / "data")], out=(box.out / "data",), aims=aims)


def make_manifests(box: Sandbox) -> Call:
    """Of one corpus of each kind."""
    parts = box.take("parts")
    argv = ["make-manifests", "--out", str(box.out / "manifests")]
    for kind in ("unlabelled", "labelled"):
        argv += [f"--{kind}", str(parts / kind)]
    tables = [parts / "labelled/tracks.csv", parts / "unlabelled/segments.csv"]
    return Call(argv, out=(box.out / "manifests",), aims={"tables": tables})


def _yaml(box: Sandbox, name: str) -> dict[str, list[Path]]:
    conf = box.inputs / "conf"
    return {"yaml": [conf / f"{name}.yaml", conf / "model.yaml", conf / "base.yaml"]}


def plan(box: Sandbox) -> Call:
    """A pre-training."""
    conf = box.take("conf")
    argv = _words("plan", "--config", conf / "pretrain.yaml", "--model", conf / "model.yaml")
    return Call([*argv, "--no-dry-run", "--json"], aims=_yaml(box, "pretrain"))


def plan_init(box: Sandbox) -> Call:
    """A fine-tuning of a model folder, with a manifest."""
    conf, model, music = (box.take(name) for name in ("conf", "model", "music"))
    argv = _words("plan", "--config", conf / "finetune.yaml", "--init", model, "--no-dry-run")
    aims = {**_yaml(box, "finetune"), **_model_aims(model), "tables": _tables(music / "labelled")}
    return Call([*argv, "--manifest", str(music / "labelled")], aims=aims)


def check(box: Sandbox) -> Call:
    """All that a recipe's trainings take."""
    conf, music = box.take("conf"), box.take("music")
    argv = _words("check", "--model", conf / "model.yaml", "--pretrain", conf / "pretrain.yaml")
    argv += _words("--finetune", conf / "finetune.yaml", "--labelled", music / "labelled", *STEMS)
    aims = {"tables": [*_tables(music / "labelled"), *_tables(music / "unlabelled")]}
    aims["yaml"] = [conf / f"{name}.yaml" for name in ("pretrain", "finetune", "model", "base")]
    return Call([*argv, "--unlabelled", str(music / "unlabelled")], aims=aims)


def select_channels(box: Sandbox) -> Call:
    """Two of three outputs."""
    model, music = box.take("model3"), box.take("music")
    argv = _words("select-channels", "--model", model, "--manifest", music / "labelled", *STEMS)
    aims = {
        "tables": _tables(music / "labelled"),
        "audio": [music / "song2_low.wav"],
        **_model_aims(model),
    }
    return Call([*argv, *CHUNKS, "--out", str(box.out)], out=(box.out,), aims=aims)


def diagnose(box: Sandbox) -> Call:
    """Three outputs on the test songs."""
    model, music = box.take("model3"), box.take("music")
    argv = _words("diagnose", "--model", model, "--manifest", music / "labelled", *CHUNKS, *CPU)
    out = box.out / "diagnosis"
    aims = {
        "tables": _tables(music / "labelled"),
        "audio": [music / "song4_low.wav"],
        **_model_aims(model),
    }
    return Call([*argv, "--out", str(out)], out=(out,), aims=aims)


def score(box: Sandbox) -> Call:
    """The estimates of a manifest's test songs."""
    music, estimates, table = box.take("music"), box.take("estimates"), box.out / "scores.csv"
    argv = _words("score", "--manifest", music / "labelled", "--estimates", estimates)
    argv += _words("--out", table, "--label", "tuned")
    out = (table, box.out / ".scores", box.out / "experiment.json")
    aims = {"tables": _tables(music / "labelled"), "audio": [estimates / "song4/low.wav"]}
    return Call(argv, out=out, aims=aims)


def score_folder(box: Sandbox) -> Call:
    """One song's estimates, without a manifest."""
    folders = (
        box.take("labelled/test/song4", "references"),
        box.take("estimates/song4", "estimates"),
    )
    argv = _words("score", "--references", folders[0], "--estimates", folders[1])
    return Call(argv, aims={"audio": [folder / "low.wav" for folder in folders]})


def report(box: Sandbox) -> Call:
    """One experiment."""
    exp, music, estimates = (
        box.take("exp"),
        box.take("music"),
        box.take("estimates", "exp/estimates"),
    )
    argv = _words("report", exp, "--manifests", music, "--out", box.out / "RESULTS.md")
    argv += _words("--figures", box.out / "figures", "--recipe", "fuzz", "--seconds", "0.3")
    aims = {
        "tables": [exp / name for name in ("scores.csv", "votes.csv", "history.csv")]
        + _tables(music / "labelled"),
        "json": [exp / "experiment.json"],
        "audio": [estimates / "song4/low.wav"],
    }
    return Call(argv, out=(box.out, exp / "report.html"), aims=aims)


def curves(box: Sandbox) -> Call:
    """Of one training."""
    exp = box.take("exp")
    argv = _words("curves", exp, "--out", box.out / "curves.png")
    return Call(argv, out=(box.out / "curves.png",), aims={"tables": [exp / "history.csv"]})


def import_official(box: Sandbox) -> Call:
    """A file of weights in the authors' layout."""
    path = box.take("official.pth")
    argv = _words("import-official", path, "--out", box.out / "model")
    return Call(argv, out=(box.out / "model",), aims={"checkpoints": [path]})


def download(box: Sandbox) -> Call:
    """MUSDB18-HQ in miniature, from a server on this machine."""
    path, table = box.take("zips/musdb18hq.zip"), box.inputs / "archives.csv"
    note_archives(table, [path], 10**6)
    argv = _words(
        "download", "musdb18hq", "--out", box.out, "--archives", table, "--base-url", "{url}"
    )
    aims = {"zips": [path], "tables": [table]}
    return Call([*argv, "--nj", "1"], out=(box.out,), serve={path.name: path}, aims=aims)


def download_fma(box: Sandbox) -> Call:
    """FMA in miniature, from a server on this machine."""
    paths = [box.take(f"zips/fma_{name}.zip") for name in ("metadata", "small")]
    table = box.inputs / "archives.csv"
    note_archives(table, paths, 10**6)
    argv = _words("download", "fma", "--out", box.out, "--archives", table, "--base-url", "{url}")
    serve = {path.name: path for path in paths}
    return Call(
        [*argv, "--nj", "1"], out=(box.out,), serve=serve, aims={"zips": paths, "tables": [table]}
    )


def download_nothing(box: Sandbox) -> Call:
    """A copy of FMA that is on disk."""
    root = box.take("fma")
    argv = _words("download", "fma", "--fma-dir", root, "--subset", "large", "--out", box.out)
    return Call(argv, out=(box.out,), aims={"tables": [root / "fma_metadata/tracks.csv"]})


def note_archives(table: Path, paths: list[Path], extracted: int) -> None:
    """A table of archives that fits the zips, so that they are looked into."""
    rows = [
        f"{path.stem},{path.stat().st_size},{extracted},{hashlib.sha256(path.read_bytes()).hexdigest()}\n"
        for path in paths
    ]
    table.write_text("archive,bytes,extracted_bytes,sha256\n" + "".join(rows))


def render_songs(box: Sandbox) -> Call:
    """One song of the band."""
    counts = ("--unlabelled", 1, "--train", 0, "--valid", 0, "--test", 0)
    argv = _words("render-songs", "--out", box.out / "songs", *counts, "--seconds", 2, "--nj", 1)
    return Call(argv, out=(box.out / "songs",))


def _training(box: Sandbox, stage: str, kind: str, *start: object) -> Call:
    conf, music, out = box.take("conf"), box.take("music"), box.out / "run"
    argv = _words(stage, "--config", conf / f"{stage}.yaml", *start, "--manifest", music / kind)
    aims = {**_yaml(box, stage), "tables": _tables(music / kind)}
    return Call([*argv, *CPU, "--out", str(out)], out=(out,), own=(out,), aims=aims)


def pretrain(box: Sandbox) -> Call:
    """One step."""
    return _training(box, "pretrain", "unlabelled", "--model", box.inputs / "conf/model.yaml")


def finetune(box: Sandbox) -> Call:
    """One step from a model folder."""
    model = box.take("model")
    call = _training(box, "finetune", "labelled", "--init", model)
    call.aims |= _model_aims(model)
    return call


def resume(box: Sandbox) -> Call:
    """A training whose end was not noted, from its last checkpoint."""
    call = pretrain(box)
    box.take("run", "../out/run")
    run = box.out / "run"
    (run / ".done.json").unlink()
    checkpoints = sorted(run.rglob("*.ckpt"))
    call.aims = {"checkpoints": checkpoints, "json": [run / "run.json", run / "experiment.json"]}
    return call


def read_manifest(box: Sandbox) -> Call:
    """The Python call that reads tables."""
    music = box.take("music")
    function = "mixit_mss.data.manifest:read_manifest"
    return Call(
        [str(music / "labelled")], python=function, aims={"tables": _tables(music / "labelled")}
    )


def load_model(box: Sandbox) -> Call:
    """The Python call that opens a model folder."""
    model = box.take("model")
    return Call([str(model)], python="mixit_mss.models.hub:load_model", aims=_model_aims(model))


CALLS: dict[str, Callable[[Sandbox], Call]] = {
    function.__name__: function
    for function in (
        *(separate, separate_folder, separate_manifest, separate_again, separate_pipe),
        *(
            segment,
            segment_labelled,
            segment_again,
            segment_table,
            segment_fma,
            make_manifests,
            plan,
            plan_init,
        ),
        *(check, select_channels, diagnose, score, score_folder, report, curves, import_official),
        *(download, download_fma, download_nothing, render_songs, pretrain, finetune, resume),
        *(read_manifest, load_model),
    )
}
"""All of them by name."""
