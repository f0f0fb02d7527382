#!/usr/bin/env python3
"""Write a manifest with the first N training songs of another, and all its other splits."""

from __future__ import annotations

import argparse
import sys

from mixit_mss.bin.main import run
from mixit_mss.errors import UserError


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="songs.py",
        description="Write a manifest with the first so many training songs, by name, of another one. "
        "Amounts are nested, and validation and test songs are the same for all of them.",
    )
    parser.add_argument("--manifest", required=True, help="such as manifests/band/unlabelled")
    parser.add_argument("--songs", required=True, type=int, help="training songs to keep")
    parser.add_argument("--out", required=True, help="such as manifests/band_25/unlabelled")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Read a manifest, select songs and write the new one."""
    args = build_parser().parse_args(argv)
    from mixit_mss.data.manifest import SPLITS, concatenate, read_manifest, write_manifest

    manifest = read_manifest(args.manifest)
    tracks = manifest.tracks
    trains = (tracks.split == "train").to_numpy()
    songs = sorted(set(tracks.song[trains]))
    if not 0 < args.songs <= len(songs):
        raise UserError(
            f"--songs {args.songs}: '{args.manifest}' has {len(songs)} training songs; "
            "give a number from 1 to that"
        )
    left_out = trains & tracks.song.isin(songs[args.songs :]).to_numpy()
    tracks.loc[left_out, "split"] = ""
    write_manifest(args.out, concatenate([manifest.select(split=split) for split in SPLITS]))
    print(f"{args.out}: {args.songs} of {len(songs)} training songs")


if __name__ == "__main__":
    sys.exit(run(main, "songs.py"))
