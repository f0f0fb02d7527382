#!/usr/bin/env python3
"""Small archives in the exact layout of FMA and MUSDB18-HQ, to run the recipe without the corpora.

FMA's clips are cut from any folder of recorded songs and encoded as its MP3s are: several rates and
bit rates, with and without a header that states the length, mono, short, empty, cut off, broken,
listed with a wrong checksum, missing, and twice.  MUSDB18-HQ's songs are any songs with stems, under
the names of its validation songs and made-up ones.  `run_stand_in.sh` serves and uses them.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import soundfile

from mixit_mss import audio
from mixit_mss.audio.ffmpeg import find_ffmpeg
from mixit_mss.bin.main import run
from mixit_mss.corpora.fma import audio_name
from mixit_mss.corpora.folder import labelled_songs, unlabelled_songs
from mixit_mss.corpora.musdb18hq import NUM_SONGS, STEMS, VALIDATION
from mixit_mss.errors import UserError
from mixit_mss.files import write_text

CLIP_SECONDS, SEGMENT_SECONDS, RATE = 30, 10, 44100
INAUDIBLE = 1e-3  # peak below which a song counts as silent
FIRST_TRACK, TRACK_STEP = 2, 137  # spread the clips over several folders
SOUND = "-ar 44100 -b:a 128k"
FORMS = {
    SOUND: "",
    "-ar 44100 -b:a 320k": "",
    "-ar 44100 -q:a 0": "",
    "-ar 48000 -b:a 192k": "",
    "-ar 44100 -b:a 256k -write_xing 0 -id3v2_version 0": "",
    "-ar 44100 -b:a 160k -joint_stereo 0": "",
    "-ar 44100 -ac 1 -b:a 64k": "mono",
    "-ar 22050 -b:a 64k": "low_sample_rate",
}
"""Encodings of FMA's MP3s, as ffmpeg options -> the reason if stage 1 must reject them."""
FAULTS = {
    "short": "too_short",
    "empty": "unreadable",
    "no_audio": "unreadable",
    "cut_off": "unreadable",
    "broken_frames": "decoder_warning|unreadable",  # depends on the decoder
    "zeros": "silent",
    "half_silent": "",  # only some of its segments are dropped
    "wrong_checksum": "",  # reported by stage 0, but the file is playable
    "missing": "unreadable",
    "same_file": "duplicate",
    "same_audio": "duplicate",
}
"""Faults of FMA's files, and the reason for which stage 1 must reject them."""
LICENCES = ("Attribution", "Attribution-NonCommercial-ShareAlike 3.0 International", "CC0", "")
# Two rows of column names, then the name of the index, as in FMA's table.
HEADER = (
    ("", "album", "artist", "set", "set", "track", "track", "track"),
    ("", "title", "name", "split", "subset", "genre_top", "license", "title"),
    ("track_id", "", "", "", "", "", "", ""),
)
ARCHIVES = ("fma_metadata", "fma_small", "musdb18hq")
EXPECTED = "expected.csv"


@dataclass(frozen=True)
class Recording:
    """A song to cut clips from."""

    path: str
    seconds: float
    sample_rate: int
    peak: float


@dataclass(frozen=True)
class Clip:
    """A track: where it is cut, how it is encoded, and its fault, if any.

    ``expected`` is the reason for which stage 1 must reject it; empty if stage 1 must keep it.
    """

    track: int
    source: str
    start: float
    seconds: float
    split: str
    form: str
    expected: str
    fault: str = ""


def listen(path: str) -> Recording:
    """Measure length, sample rate and peak of a song."""
    frames, peak = 0, 0.0
    with audio.stream(path) as blocks:
        for block in blocks:
            frames, peak = frames + block.shape[1], max(peak, float(np.abs(block).max()))
        return Recording(path, frames / blocks.sample_rate, blocks.sample_rate, peak)


def plan_clips(songs: Iterable[Recording], per_song: int) -> list[Clip]:
    """Plan clips of every song, cycling through all encodings, then one clip with each fault.

    Raises:
        UserError: no song is long enough for a whole clip.
    """
    clips: list[Clip] = []
    for index, song in enumerate(songs):
        # split by song, because FMA has no artist in two splits
        split = {0: "validation", 5: "test"}.get(index % 10, "training")
        for number in range(per_song):
            start = number * song.seconds / per_song
            seconds = min(CLIP_SECONDS, song.seconds - start)
            if number and seconds < SEGMENT_SECONDS:
                break
            form, expected = list(FORMS.items())[len(clips) % len(FORMS)]
            if song.sample_rate < RATE:
                form, expected = f"-ar {song.sample_rate} -b:a 128k", "low_sample_rate"
            if not expected and seconds < SEGMENT_SECONDS:
                expected = "too_short"
            if not expected and song.peak < INAUDIBLE:
                expected = "silent"
            track = FIRST_TRACK + TRACK_STEP * len(clips)
            clips.append(Clip(track, song.path, start, seconds, split, form, expected))
    whole = [
        clip
        for clip in clips
        if (clip.seconds, clip.form, clip.expected) == (CLIP_SECONDS, SOUND, "")
        and clip.split == "training"
    ]
    if not whole:
        raise UserError(f"too few songs of {CLIP_SECONDS} s to cut clips from; name more of them")
    for (fault, expected), clip in zip(FAULTS.items(), cycle(whole), strict=False):
        # half a second later, so that they are not all duplicates
        start = clip.start if fault.startswith("same") else clip.start + 0.5
        track = FIRST_TRACK + TRACK_STEP * len(clips)
        clips.append(replace(clip, track=track, start=start, expected=expected, fault=fault))
    return clips


def encode(clip: Clip) -> bytes:
    """Encode a clip as MP3, with its fault."""
    seconds = SEGMENT_SECONDS / 2 if clip.fault == "short" else clip.seconds
    rate = audio.probe(clip.source).sample_rate
    waveform, _ = audio.read(clip.source, int(clip.start * rate), int(seconds * rate))
    if clip.fault in ("zeros", "half_silent"):
        waveform[:, 0 if clip.fault == "zeros" else waveform.shape[1] // 2 :] = 0
    title = ["-metadata", "title=under another name"] if clip.fault == "same_audio" else []
    with tempfile.TemporaryDirectory() as folder:
        # files, not pipes, because the header with the length is written last
        wav, mp3 = Path(folder) / "clip.wav", Path(folder) / "clip.mp3"
        audio.write(wav, waveform, rate)
        command = [find_ffmpeg(), "-nostdin", "-v", "error", "-i", str(wav), *title]
        subprocess.run([*command, *clip.form.split(), str(mp3)], check=True)
        content = mp3.read_bytes()
    generator, middle = np.random.default_rng(clip.track), len(content) // 2
    if clip.fault == "empty":
        return b""
    if clip.fault == "no_audio":
        return generator.bytes(20_000)
    if clip.fault == "cut_off":
        return content[:middle]
    if clip.fault == "broken_frames":
        for place in generator.integers(middle // 2, middle + middle // 2, 10):
            content = content[:place] + generator.bytes(30) + content[place + 30 :]
    return content


def write_fma(clips: list[Clip], out: Path, num_threads: int) -> None:
    """Write ``fma_metadata.zip`` and ``fma_small.zip``, compressed with bzip2."""
    sums = []
    with _archive(out / "fma_small.zip", zipfile.ZIP_BZIP2) as archive:
        _add(archive, "fma_small/README.txt", b"A stand-in for FMA: 30-s clips.\n")
        with ThreadPoolExecutor(num_threads) as pool:
            for clip, content in zip(clips, pool.map(encode, clips), strict=True):
                digest = hashlib.sha1(content, usedforsecurity=False).hexdigest()
                sums.append(f"{digest[::-1] if clip.fault == 'wrong_checksum' else digest}  ")
                sums[-1] += f"{audio_name(clip.track)}\n"
                if clip.fault != "missing":
                    _add(archive, f"fma_small/{audio_name(clip.track)}", content)
        _add(archive, "fma_small/checksums", "".join(sums).encode())
    rows = [
        (
            *(
                clip.track,
                "An album, of sorts",
                Path(clip.source).stem,
                clip.split,
                "small",
                "Rock",
            ),
            *(LICENCES[number % len(LICENCES)], f'{Path(clip.source).stem}, "{clip.start:g} s"'),
        )
        for number, clip in enumerate(clips)
    ]
    # tracks of the larger subsets are listed in the table but not in the archive
    first = clips[-1].track + 1
    for number, subset in enumerate(("medium", "large", "full")):
        rows.append((first + number, "", "", "training", subset, "", "CC0", f"only in {subset}"))
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([*HEADER, *rows])
    with _archive(out / "fma_metadata.zip", zipfile.ZIP_BZIP2) as archive:
        _add(archive, "fma_metadata/README.txt", b"A stand-in for FMA's tables.\n")
        _add(archive, "fma_metadata/tracks.csv", table.getvalue().encode())


def write_musdb(labelled: Path, out: Path) -> None:
    """Write ``musdb18hq.zip``: the songs of each split, repeated to reach the required number."""
    songs: dict[str, dict[str, dict[str, str]]] = {"train": {}, "valid": {}, "test": {}}
    for record in labelled_songs(labelled, list(STEMS)):
        songs[record.split].setdefault(record.song, {})[record.stem] = record.path
    names = {
        "valid": list(VALIDATION),
        "train": [f"Band - Song {n:03d}" for n in range(NUM_SONGS["train"] - len(VALIDATION))],
        "test": [f"Test Band - Song {n:03d}" for n in range(NUM_SONGS["test"])],
    }
    with _archive(out / "musdb18hq.zip", zipfile.ZIP_DEFLATED) as archive:
        for split, wanted in names.items():
            if not songs[split]:
                raise UserError(f"'{labelled}' has no songs in {split}/")
            folder = "test" if split == "test" else "train"
            files_of = islice(cycle(songs[split].values()), len(wanted))
            for name, files in zip(wanted, files_of, strict=True):
                for stem in ("mixture", *STEMS):
                    _add(archive, f"{folder}/{name}/{stem}.wav", _as_wav(files[stem]))


def write_archive_table(out: Path) -> None:
    """Write ``archives.csv`` for `mixit-mss download --archives`."""
    lines = ["archive,bytes,extracted_bytes,sha256"]
    for name in ARCHIVES:
        path = out / f"{name}.zip"
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        lines.append(f"{name},{path.stat().st_size},{size},{digest.hexdigest()}")
    write_text(out / "archives.csv", "\n".join(lines) + "\n")


def check(expected: Path, corpus: Path) -> str:
    """Compare the output of stage 1 with the expected reasons.

    Raises:
        UserError: they differ; the message names the tracks.
    """
    import pandas as pd

    wanted = pd.read_csv(expected, keep_default_na=False)
    wanted = wanted[wanted["split"] != "test"].set_index("track")["expected"].to_dict()
    rejected = pd.read_csv(corpus / "rejected.csv", keep_default_na=False)
    whole = rejected[rejected["start_seconds"] == ""]
    found = {int(Path(row.path).stem): row.reason for row in whole.itertuples()}
    found |= dict.fromkeys(pd.read_csv(corpus / "tracks.csv")["song"], "")
    differ = [
        f"{track}: {found.get(track, 'not listed') or 'kept'}, not {reason or 'kept'}"
        for track, reason in wanted.items()
        if found.get(track) not in reason.split("|")
    ]
    if differ or set(found) != set(wanted):
        raise UserError(f"'{corpus}' is not as '{expected}' says: {'; '.join(differ)}")
    kept = sum(not reason for reason in wanted.values())
    return f"{corpus}: all {len(wanted)} tracks as expected, {kept} of them kept"


def _archive(path: Path, compression: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path, "w", compression, compresslevel=1)


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add a member without a timestamp, so that the same songs give the same archive."""
    archive.writestr(zipfile.ZipInfo(name), content, archive.compression, archive.compresslevel)


def _as_wav(path: str) -> bytes:
    samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    if rate != RATE or samples.shape[1] != 2:
        raise UserError(f"'{path}' is not stereo at {RATE} Hz, as every song of MUSDB18-HQ is")
    file = io.BytesIO()
    soundfile.write(file, samples, rate, "PCM_16", format="WAV")
    return file.getvalue()


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--music", type=Path, metavar="DIR", help="recorded songs, any number and format")
    add("--labelled", type=Path, metavar="DIR", help="{train,valid,test}/<song>/<stem>.*, 44.1 kHz")
    add(
        "--clips", type=int, default=3, metavar="N", help="clips of each recorded song (default: 3)"
    )
    add(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help=f"gets {', '.join(f'{name}.zip' for name in ARCHIVES)}; archives.csv, their sizes and "
        f"checksums; {EXPECTED}, what stage 1 has to find of every clip",
    )
    add("--nj", type=int, default=2, metavar="N", help="clips encoded at a time (default: 2)")
    add("--check", type=Path, metavar="DIR", help="compare what stage 1 wrote there with --out")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Make the archives, or check the results of stage 1."""
    options = build_parser().parse_args(argv)
    if options.check:
        print(check(options.out / EXPECTED, options.check))
        return
    if not (options.music and options.labelled):
        raise UserError("--music and --labelled are needed: folders of songs")
    options.out.mkdir(parents=True, exist_ok=True)
    songs = [listen(song.path) for song in unlabelled_songs(options.music)]
    clips = plan_clips(songs, options.clips)
    write_fma(clips, options.out, options.nj)
    write_musdb(options.labelled, options.out)
    write_archive_table(options.out)
    rows = ["track,split,expected,fault,form,source"]
    rows += [
        f'{c.track},{c.split},{c.expected},{c.fault},"{c.form}","{c.source} from {c.start:g} s"'
        for c in clips
    ]
    write_text(options.out / EXPECTED, "\n".join(rows) + "\n")
    print(f"{options.out}: {len(clips)} clips of {len(songs)} songs, and 150 songs with stems")


if __name__ == "__main__":
    sys.exit(run(main, "make_stand_in"))
