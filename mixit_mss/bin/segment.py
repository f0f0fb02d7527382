"""Stage 1: cut a corpus into segments and drop silence."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from mixit_mss import limits
from mixit_mss.bin import arguments
from mixit_mss.bin.main import run
from mixit_mss.errors import UserError
from mixit_mss.machine import processes

if TYPE_CHECKING:
    from mixit_mss.corpora.folder import Found

DESCRIPTION = """\
Prepare a corpus for training: check every song, store it once at the training rate, and list the
segments that are not silent.

  --kind unlabelled   INPUT is any folder of songs. Each song is cut into 10-s segments every 5 s, and
                      a segment with more than 5 s of silence is dropped. A share of the songs is
                      held out for validation.
  --kind labelled     INPUT is INPUT/{train,valid,test}/<song>/{mixture,<stem>,...}.<suffix>. Training
                      stems are cut into 6-s segments in which the stem is active; validation songs
                      are stored whole; test songs stay where and as they are. The mixture of a song
                      is the sum of its stems, or, for test songs that have one, their mixture file.
                      Name all stems: those that --stems does not name are left out, in the mixture
                      too, which is then the sum of the named ones also in test songs.

Instead of --kind, --corpus names a published corpus, whose splits and licences are known:

  --corpus fma        unlabelled: INPUT/fma_metadata/ and INPUT/fma_<subset>/ of the Free Music Archive.
                      The tracks of its split "test" are left out.
  --corpus musdb18hq  labelled: INPUT/{train,test}/ of MUSDB18-HQ; 14 songs of train are for validation.

INPUT can also be a CSV table that lists the files: columns path (relative to the table) and song, and
as wanted split (train, valid, test; of songs without one, a share is drawn for valid and the rest is
for train), license and, for --kind labelled, stem.

OUT gets audio/, tracks.csv, segments.csv and rejected.csv, which says of every file and segment left
out why. A song that cannot be used does not stop the others. To resume, run the same command again: only
what is missing or has changed is done."""

CORPORA = {"fma": "unlabelled", "musdb18hq": "labelled"}
"""Published corpora and their kinds."""


def build_parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    parser = arguments.Parser(
        prog="mixit-mss segment",
        description=DESCRIPTION,
        formatter_class=arguments.Help,
    )
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--kind", choices=["unlabelled", "labelled"], help="see above")
    what.add_argument("--corpus", choices=list(CORPORA), help="see above")
    add(
        "--fma-subset",
        choices=["small", "medium", "large", "full"],
        help="fma: which tracks; needs the folder of this subset or of a larger one of clips",
    )
    add(
        "--input",
        type=arguments.input_path,
        required=True,
        metavar="DIR|CSV",
        help="folder of the corpus, or table of its files; it is only read",
    )
    add(
        "--out",
        type=arguments.output_folder,
        required=True,
        metavar="DIR",
        help="folder to write, for instance data/unlabelled",
    )
    add(
        "--sample-rate",
        type=arguments.ranged(limits.SAMPLE_RATE),
        default=44100,
        metavar="HZ",
        help="rate of training; higher ones are converted, lower ones rejected (default: 44100)",
    )
    add(
        "--channels",
        type=arguments.ranged(limits.CHANNELS),
        default=2,
        metavar="N",
        help="stored channels (default: 2)",
    )
    add(
        "--mono",
        choices=["duplicate", "reject"],
        default="duplicate",
        help="what becomes of mono files where two channels are stored (default: duplicate)",
    )
    add(
        "--store",
        choices=["flac", "wav", "source"],
        default="flac",
        help="16-bit FLAC, 16-bit WAV, or only the original files, of which ranges are decoded in "
        "training; slow for m4a, and for mp3 without a header that states the length (default: flac)",
    )
    add(
        "--stems",
        type=arguments.stems,
        default="vocals,drums,bass,other",
        metavar="A,B,...",
        help="labelled: names of the stems, separated by commas (default: vocals,drums,bass,other)",
    )
    add(
        "--segment-seconds",
        type=arguments.ranged(limits.SEGMENT_SECONDS),
        metavar="S",
        help="length of a segment (default: 10 unlabelled; 6, or 8 as in the release, labelled)",
    )
    add(
        "--hop-seconds",
        type=arguments.ranged(limits.SEGMENT_SECONDS),
        metavar="S",
        help="from one start to the next (default: half a segment)",
    )
    add(
        "--silence-rule",
        choices=["paper", "release"],
        default="paper",
        help="unlabelled: the paper's, by power in 1-s intervals, or that of the authors' code: half "
        "seconds of exact zeros, and one bad segment drops the whole song (default: paper)",
    )
    add(
        "--silence-db",
        type=arguments.number(-200, 0, "of dB", below=True),
        metavar="DB",
        help="unlabelled: an interval below this power re full scale is silent (default: -60)",
    )
    add(
        "--activity-rule",
        choices=["paper", "release"],
        default="paper",
        help="labelled: constants of the source activity detection (default: paper)",
    )
    add(
        "--activity-energy",
        choices=["sum", "mean"],
        default="sum",
        help="labelled: energy of a chunk as the sum of squares or the mean square (default: sum)",
    )
    add(
        "--valid-fraction",
        type=arguments.ranged(limits.SHARE),
        default=0.05,
        metavar="F",
        help="share held out for validation of the songs without a split, drawn by a hash of the name; "
        "at least two of four or more songs, none with 0 (default: 0.05)",
    )
    add(
        "--leave-out",
        type=arguments.input_path,
        metavar="DIR|CSV",
        help="unlabelled: the --input of the songs with stems; none of them is taken, should they lie "
        "in this one's folder",
    )
    add(
        "--nj",
        type=arguments.ranged(limits.PROCESSES),
        default=1,
        metavar="N",
        help="songs worked on at a time (default: 1)",
    )
    add(
        "--shard",
        type=arguments.shard,
        metavar="K/N",
        help="only the K-th of N shares of the songs, and no tables: N of these commands can run at "
        "once, on one machine or on several; then the command without --shard writes the tables",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the stage; raises :class:`UserError` for errors the user can fix."""
    options = _arguments(argv)
    options.nj = processes(options.nj, "--nj")
    from mixit_mss.parallel import parse_shard
    from mixit_mss.preparation.corpus import build_corpus

    shard = parse_shard(options.shard) if options.shard else None
    settings, fraction, found = _settings(options), _fraction(options), _records(options)
    if found.left_out:
        print(found.words())
    others = found.rejected()
    print(build_corpus(found.songs, settings, options.out, options.nj, fraction, shard, others))


def is_done(argv: list[str]) -> bool:
    """Whether all songs are prepared and the tables exist."""
    from mixit_mss.preparation.corpus import is_built

    options = _arguments(argv)
    found = _records(options)
    others = found.rejected()
    return is_built(found.songs, _settings(options), options.out, _fraction(options), others)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    options = build_parser().parse_args(argv)
    options.kind = options.kind or CORPORA[options.corpus]
    options.stems = [stem.strip() for stem in options.stems.split(",")]
    _check(options)
    return options


def _fraction(options: argparse.Namespace) -> float:
    """The validation share still to draw; 0 for songs with stems, which are split earlier."""
    return options.valid_fraction if options.kind == "unlabelled" else 0.0


def _records(options: argparse.Namespace) -> Found:
    """Find the files of the corpus, from a table or from the folder's layout."""
    from mixit_mss.corpora import fma, folder, musdb18hq, table
    from mixit_mss.preparation.corpus import with_splits

    if options.corpus == "fma":
        songs = fma.fma_songs(options.input, options.fma_subset)
        return folder.Found([song for song in songs if song.split != "test"])
    if options.corpus == "musdb18hq":
        songs = musdb18hq.musdb_songs(options.input)
        return folder.without_mixtures_of_more(songs, options.stems)
    if options.input.lower().endswith(".csv"):
        songs = table.listed_songs(options.input)
        if options.kind == "unlabelled":
            return folder.Found(songs)
        songs = with_splits(songs, options.valid_fraction)
        return folder.without_mixtures_of_more(songs, options.stems)
    if options.kind == "unlabelled":
        apart = folder.songs_apart(options.leave_out) if options.leave_out else ()
        return folder.find_unlabelled(options.input, apart)
    return folder.find_labelled(options.input, options.stems)


def _settings(options: argparse.Namespace):
    """Settings for this kind of corpus, checked for consistency."""
    from mixit_mss.preparation import activity, segmentation
    from mixit_mss.preparation import song as preparation

    common = {name: getattr(options, name) for name in ("sample_rate", "channels", "mono", "store")}
    length, hop = options.segment_seconds, options.hop_seconds
    try:
        if options.kind == "labelled":
            rule = activity.ACTIVITY_RULES[options.activity_rule]
            length = length or rule.segment_seconds
            rule = replace(rule, segment_seconds=length, hop_seconds=hop or length / 2)
            rule = replace(rule, energy=options.activity_energy)
            segmentation.whole_ratio(rule.hop_seconds, rule.chunk_seconds, "hop")
            return preparation.LabelledSettings(**common, stems=tuple(options.stems), activity=rule)
        silence = segmentation.SILENCE_RULES[options.silence_rule]
        if options.silence_db is not None:
            silence = replace(silence, threshold_db=options.silence_db)
        length = length or 10.0
        hop = hop or length / 2
        segmentation.whole_ratio(length, silence.interval_seconds, "segment")
        segmentation.whole_ratio(hop, silence.interval_seconds, "hop")
        return preparation.UnlabelledSettings(
            **common, segment_seconds=length, hop_seconds=hop, silence=silence
        )
    except ValueError as error:
        raise UserError(f"--segment-seconds and --hop-seconds do not fit: {error}") from error


def _check(options: argparse.Namespace) -> None:
    if (options.corpus == "fma") != (options.fma_subset is not None):
        raise UserError("--corpus fma and --fma-subset go together: give both or neither")
    if options.corpus == "musdb18hq":
        from mixit_mss.corpora.musdb18hq import STEMS

        if unknown := [stem for stem in options.stems if stem not in STEMS]:
            raise UserError(f"--stems {','.join(unknown)}: MUSDB18-HQ has {', '.join(STEMS)}")
    if "mixture" in options.stems:
        raise UserError("--stems: mixture is what the stems add up to, and none of them")
    source, target = (os.path.realpath(path) for path in (options.input, options.out))
    if os.path.commonpath([source, target]) in (source, target):
        raise UserError(
            f"--out {options.out} and --input {options.input} must not lie in each other"
        )


if __name__ == "__main__":
    sys.exit(run(main, "segment"))
