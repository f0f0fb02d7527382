"""Stage 2: join prepared corpora into one manifest per kind, and check them against the files."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import combinations
from pathlib import Path

from mixit_mss import audio
from mixit_mss.data.manifest import (
    SPLITS,
    Manifest,
    concatenate,
    gaps,
    manifest_paths,
    portable_path,
    read_manifest,
    write_manifest,
)
from mixit_mss.errors import UserError
from mixit_mss.files import sweep
from mixit_mss.names import printable
from mixit_mss.preparation.leaks import sentence, shared_files, shared_samples
from mixit_mss.stamps import STAMP, Fingerprint

READERS = 8


def join_corpora(corpora: dict[str, list[str]], folder: str | Path) -> str:
    """Write ``folder/<kind>.tracks.csv`` and ``.segments.csv`` for every kind that has corpora.

    Args:
        corpora: maps each kind ("unlabelled", "labelled") to folders that stage 1 wrote.
        folder: gets the manifests.

    Returns:
        A summary to print.

    Raises:
        UserError: a table or a file is missing, a file differs from its table, splits share a song,
            or a song of the validation or test set is among the unlabelled songs.
    """
    corpora = {kind: names for kind, names in corpora.items() if names}
    if not corpora:
        raise UserError("no corpus was named; use --unlabelled DIR or --labelled DIR or both")
    folder = Path(folder)
    places = {
        kind: [portable_path(name, folder) for name in names] for kind, names in corpora.items()
    }
    tables = {
        f"{kind} {number} {table.name}": table
        for kind, names in corpora.items()
        for number, name in enumerate(names)
        for table in _tables(name)
    }
    wanted = Fingerprint("make-manifests", {"corpora": places}, tables)
    if wanted.is_done(folder):
        return f"{folder}: nothing to do, the tables of the corpora are as they were"
    parts = {kind: _parts(kind, names) for kind, names in corpora.items()}
    _check_leaks(parts)
    manifests = {kind: _join(kind, corpora[kind], parts[kind]) for kind in corpora}
    # Remove the stamp first, so that half-written tables never look finished.
    (folder / STAMP).unlink(missing_ok=True)
    sweep(folder)
    for kind, manifest in manifests.items():
        write_manifest(folder / kind, manifest)
    wanted.mark_done(folder, [table for kind in corpora for table in manifest_paths(folder / kind)])
    return "\n".join(_summary(folder / kind, manifest) for kind, manifest in manifests.items())


def check_headers(manifest: Manifest) -> None:
    """Compare length, sample rate and channels of every file with the table.

    The length is compared only if the header states it: decoding the other files again, as stage 1
    did, would take as long as stage 1.

    Raises:
        UserError: names the first file that differs.
    """
    columns = ("path", "frames", "sample_rate", "channels")
    rows = list(zip(*(manifest.tracks[name] for name in columns), strict=True))
    with ThreadPoolExecutor(READERS) as readers:
        look = partial(audio.probe, count=False)
        infos = readers.map(look, [path for path, *_ in rows])
        for (path, frames, rate, channels), info in zip(rows, infos, strict=True):
            if info.frames is not None and abs(info.frames - frames) > audio.header_slack(path):
                info = audio.probe(path)  # it may be several files joined
            same = (info.sample_rate, info.channels) == (rate, channels)
            longer = 0 if info.frames is None else abs(info.frames - frames)
            if not same or longer > audio.header_slack(path):
                length = "" if info.frames is None else f"{info.frames} samples, "
                raise UserError(
                    f"'{path}' has {length}{info.channels} channels at "
                    f"{info.sample_rate} Hz, but '{manifest.name}' lists {frames}, {channels} and "
                    f"{rate}; run stage 1 again"
                )


def check_disjoint(manifest: Manifest) -> None:
    """Check that no song is in two splits.

    Raises:
        UserError: names one such song.
    """
    tracks = manifest.tracks
    songs = {split: set(tracks["song"][tracks["split"] == split]) for split in SPLITS}
    for one, other in combinations(SPLITS, 2):
        common = sorted(songs[one] & songs[other])
        if common:
            raise UserError(
                f"song '{common[0]}' of '{manifest.name}' is in both {one} and {other} "
                f"({len(common)} such songs); a song may be in one split only"
            )


def _tables(name: str) -> tuple[Path, Path]:
    if not os.path.isdir(name):
        raise UserError(f"'{name}' is not a folder; run stage 1 (mixit-mss segment) first")
    return manifest_paths(name)


def _parts(kind: str, names: list[str]) -> list[Manifest]:
    """Read and check the tables of all corpora of one kind."""
    parts = []
    for name in names:
        part = read_manifest(name)
        labelled = bool((part.tracks["stem"] != "mixture").any())
        if labelled != (kind == "labelled"):
            raise UserError(f"'{name}' is no {kind} corpus; it was given as --{kind}")
        check_headers(part)
        check_disjoint(part)
        parts.append(part)
    if len({Path(name).name for name in names}) < len(names):
        raise UserError(f"two --{kind} folders have the same name: {', '.join(names)}")
    return parts


def _check_leaks(parts: dict[str, list[Manifest]]) -> None:
    """Check that no song of the validation or test set is used in pre-training."""
    unlabelled, labelled = (parts.get(kind, []) for kind in ("unlabelled", "labelled"))
    pairs = [
        pair for one in unlabelled for other in labelled for pair in shared_samples(one, other)
    ]
    if unlabelled and labelled:
        named = ([(part.name, part) for part in kind] for kind in (unlabelled, labelled))
        pairs += shared_files(*named)
    if said := sentence(pairs):
        raise UserError(said)


def _join(kind: str, names: list[str], parts: list[Manifest]) -> Manifest:
    """Manifest of all corpora of one kind; if several, songs are prefixed with the corpus name."""
    if len(names) > 1:
        for name, part in zip(names, parts, strict=True):
            corpus = printable(Path(name).name)
            part.tracks["song"] = [f"{corpus}/{song}" for song in part.tracks["song"]]
    return concatenate(parts, kind)


def _summary(stem_path: Path, manifest: Manifest) -> str:
    lines = [f"{stem_path}: {len(manifest.tracks)} tracks, {manifest.hours:.2f} h of audio"]
    for split in SPLITS:
        part = manifest.select(split=split)
        for stem in dict.fromkeys(part.tracks["stem"]):
            tracks = part.select(stem=stem)
            lines.append(
                f"  {split} {stem}: {len(tracks.tracks)} tracks, {tracks.hours:.2f} h, "
                f"{len(tracks.segments.track)} segments"
            )
    return "\n".join([*lines, *gaps(manifest)])
