"""Decode a file piece by piece with libsndfile or ffmpeg, and report damage.

libsndfile reads WAV, AIFF, CAF, W64, AU, FLAC, and Ogg with one or two channels, and knows their
exact length.  ffmpeg reads all other files, and those on which libsndfile fails.  With more than
two channels in Ogg, libsndfile keeps the order of Vorbis; ffmpeg gives WAV order: left, right,
centre, bass, ...
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from mixit_mss.audio import headers, mp3
from mixit_mss.audio.containers import Piece
from mixit_mss.audio.ffmpeg import FfmpegDecoder, contents
from mixit_mss.audio.headers import AudioError
from mixit_mss.audio.writing import for_libsndfile

INT16_SCALE = 1 << 15
# Length that libsndfile reports for a FLAC file written to a pipe, whose header has no length.
UNKNOWN_FRAMES = 1 << 62
# Files can have fewer samples than they state.  An MP3's own count is often off by two frames
# (encoders that count their header frame); an Ogg stream can have its end marker some pages early,
# where libvorbis stops.
SLACK = {"mp3": 2 * 1152, "ogg": 1 << 15}
# The errors of ffmpeg that mean damage in an MP3; it also reports tags at the end, and the first
# frames of a clip that was cut out of a longer file.
MP3_DAMAGE = re.compile(
    r"\] error: |big_values too|overread|invalid block type|Error while decoding MPEG audio frame|"
    r"bits_left=-|invalid new backstep"
)
SAMPLE_BYTES = {
    **dict.fromkeys(("PCM_S8", "PCM_U8", "ULAW", "ALAW"), 1),
    **{"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8},
}


class Source:
    """All audio of one file, or its samples ``start`` to ``stop``.

    With ``only_first``, at most the first of the files that were joined into it.

    Attributes:
        sample_rate: Hz.
        channels: number of channels.
        frames: samples per channel, if known without decoding.
        integers: whether the file holds 16-bit samples.
        warnings: lines in which the decoder has reported damage so far.
        notes: after decoding, sentences about what the file holds.
        cut: after decoding, what is missing, as words to follow the file's name; empty if complete.

    Raises:
        AudioError: the file cannot be read as audio, or its header is beyond all real recordings.
    """

    def __init__(
        self,
        path: str | Path,
        stream: int | None = None,
        start: int = 0,
        stop: int | None = None,
        only_first: bool = False,
    ):
        self.path, self._stream, self._start, self._stop = path, stream, start, stop
        self.warnings: list[str] = []
        self.notes: list[str] = []
        self.cut = ""
        self._pieces = headers.pieces(path, only_first)
        self._lengths: list[int | None] = []
        self._open: _Sndfile | FfmpegDecoder | None = None
        self.integers = True
        try:
            shapes = self._look()
        except BaseException:
            self.close()
            raise
        self.sample_rate, self.channels = shapes[0]
        if len(set(shapes)) > 1:
            self.close()
            rates, counts = (sorted(set(values)) for values in zip(*shapes, strict=True))
            raise AudioError(
                f"'{path}' is {len(shapes)} recordings joined, at {_list(rates)} Hz with "
                f"{_list(counts)} channels; split it, since they do not fit together"
            )
        self.frames = _total(self._lengths)

    def _look(self) -> list[tuple[int, int]]:
        """Rate and channels of each piece; leaves the first one open, since it is needed next."""
        shapes = []
        for index, piece in enumerate(self._pieces):
            decoder = self._decoder(piece, alone=len(self._pieces) == 1)
            shapes.append((decoder.samplerate, decoder.channels))
            self._lengths.append(decoder.frames if isinstance(decoder, _Sndfile) else None)
            self.integers &= isinstance(decoder, _Sndfile) and decoder.integers
            if index == 0 and (len(self._pieces) == 1 or isinstance(decoder, _Sndfile)):
                self._open = decoder
            else:
                decoder.close()
        return shapes

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """Blocks (sample, channel) of ``size`` samples, int16 or float32, the last one shorter.

        Raises:
            AudioError: a decoder was killed, or a sample is NaN or infinite.
        """
        held: np.ndarray = np.zeros((0, self.channels), np.int16 if self.integers else np.float32)
        for block in self._decoded(size):
            if self.integers and block.dtype != np.int16:
                block = np.rint(block * INT16_SCALE).clip(-INT16_SCALE, INT16_SCALE - 1)
                block = block.astype(np.int16)
            if not self.integers:
                block = planar(block).T if block.dtype == np.int16 else block
                if not np.isfinite(block).all():
                    raise AudioError(f"'{self.path}' has samples that are not finite numbers")
            held = np.concatenate([held, block]) if len(held) else block
            while len(held) >= size:
                yield held[:size]
                held = held[size:]
        if len(held):
            yield held

    def close(self) -> None:
        """Close the open decoder, if any."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _decoded(self, size: int) -> Iterator[np.ndarray]:
        at = 0  # first sample of the piece
        for piece, length in zip(self._pieces, self._lengths, strict=True):
            if self._stop is not None and at >= self._stop:
                return
            first = max(0, self._start - at)
            if length is not None and first >= length > 0 and len(self._pieces) > 1:
                at += length
                self.close()
                continue
            decoder = self._open if self._open is not None else self._decoder(piece, alone=False)
            self._open = None
            stop = None if self._stop is None else self._stop - at
            # for a single file, ffmpeg was started at the right sample
            whole = isinstance(decoder, FfmpegDecoder) and len(self._pieces) > 1
            count = 0
            try:
                for block in self._piece_blocks(decoder, piece, size, first, stop):
                    end = None if stop is None or not whole else max(0, stop - count)
                    part = block[max(0, first - count) : end] if whole else block
                    count += len(block)
                    if len(part):
                        yield part
                    if end is not None and end <= len(block):
                        break
                if self._start == 0 and self._stop is None:
                    self._judge(decoder, piece, count)
            except OSError as error:
                raise unreadable(self.path, str(error)) from error
            finally:
                decoder.close()
            at += length if length is not None else count

    def _piece_blocks(
        self,
        decoder: _Sndfile | FfmpegDecoder,
        piece: Piece,
        size: int,
        first: int,
        stop: int | None,
    ) -> Iterator[np.ndarray]:
        """Blocks of one piece from its sample ``first`` to ``stop``; from ffmpeg, all it gives."""
        if isinstance(decoder, FfmpegDecoder):
            yield from decoder.blocks(size)
            lines, is_mp3 = decoder.messages(), decoder.contents.form == "mp3"
            self.warnings += filter(MP3_DAMAGE.search, lines) if is_mp3 else lines
            return
        count = first
        for block in decoder.blocks(size, first, stop):
            count += len(block)
            yield block
        wanted = decoder.frames if stop is None else min(stop, decoder.frames)
        if count < wanted - SLACK.get(piece.kind, 0):
            yield from self._rescued(piece, size, count, stop)
        self.warnings += [decoder.fault] if decoder.fault else []

    def _rescued(
        self, piece: Piece, size: int, start: int, stop: int | None
    ) -> Iterator[np.ndarray]:
        """Decode with ffmpeg from the sample where libsndfile failed."""
        try:
            rest = FfmpegDecoder(self.path, start, stop, window=_window(piece))
        except OSError:
            return
        with rest:
            if (rest.samplerate, rest.channels) == (self.sample_rate, self.channels):
                yield from rest.blocks(size)
            self.warnings += rest.messages()

    def _decoder(self, piece: Piece, alone: bool) -> _Sndfile | FfmpegDecoder:
        reason = ""
        if piece.kind and self._stream in (None, 1):
            try:
                file = _Sndfile(self.path, piece, alone)
                if file.is_right:
                    headers.check_shape(self.path, file.samplerate, file.channels)
                    return file
                file.close()
            except (soundfile.LibsndfileError, TypeError, OSError) as error:
                reason = str(error)
        words = "" if piece.kind else headers.what_else(self.path)
        if words and words != "text":
            raise AudioError(f"'{self.path}' holds no audio ({words})")
        start, stop = (self._start, self._stop) if alone else (0, None)
        window = None if alone else (piece.start, piece.stop)
        found = mp3.place(self.path, start, stop) if not piece.kind and alone else None
        if found:
            window, dropped = (found[0], piece.stop), found[1]
            start, stop = dropped, None if stop is None else dropped + stop - start
        try:
            decoder = FfmpegDecoder(self.path, start, stop, self._stream, window)
        except OSError as error:
            raise unreadable(self.path, str(error) or reason) from error
        try:
            headers.check_shape(self.path, decoder.samplerate, decoder.channels)
        except AudioError:
            decoder.close()
            raise
        return decoder

    def _judge(self, decoder: _Sndfile | FfmpegDecoder, piece: Piece, count: int) -> None:
        """Compare the decoded length with the header."""
        slack, promised = SLACK.get(piece.kind, 0), None
        if isinstance(decoder, _Sndfile):
            promised = decoder.promised
        elif decoder.contents.form == "mp3":
            promised, slack = mp3.promise(self.path).frames, SLACK["mp3"]
        else:
            self._say_of(decoder)
            seconds = decoder.contents.seconds
            if seconds is not None and not decoder.contents.video:
                promised, slack = round(seconds * self.sample_rate), self.sample_rate
        if promised is not None and count < promised - slack:
            self.cut = (
                f"is cut short: it ends after {count} of {promised} samples "
                f"({self._time(count)} of {self._time(promised)})"
            )
        elif piece.unfinished and not self.cut:
            self.cut = f"is cut short: it ends after {self._time(count)} without a mark of its end"
        elif promised is not None and count > promised + slack:
            self.notes.append(
                f"'{self.path}' holds more than its header says: {self._time(count)}, not "
                f"{self._time(promised)}; all of it is used"
            )
        if piece.behind:
            self.notes.append(
                f"'{self.path}' goes on after the {self._time(count)} that its header states; the "
                f"last {piece.behind} bytes are not used"
            )

    def _say_of(self, decoder: FfmpegDecoder) -> None:
        found = decoder.contents
        if len(found.audio) > 1:
            self.notes.append(
                f"'{self.path}' holds {len(found.audio)} audio streams; number {found.taken + 1} is "
                f"used ({found.audio[found.taken]})"
            )
        if found.rest == "joined":
            self.notes.append(
                f"'{self.path}' is several files joined, and only the first is used; split it"
            )

    def _time(self, frames: int) -> str:
        return f"{frames / self.sample_rate:.2f} s"


class _Sndfile:
    """libsndfile's view of one piece."""

    def __init__(self, path: str | Path, piece: Piece, alone: bool):
        plain = alone and piece.start == 0 and not piece.patch
        self._window = None if plain else headers.Window(path, piece)
        try:
            self._file = soundfile.SoundFile(self._window or for_libsndfile(path))
        except BaseException:
            self._close_window()
            raise
        self.samplerate, self.channels = self._file.samplerate, self._file.channels
        self.frames: int = self._file.frames
        self.integers = self._file.subtype == "PCM_16"
        self.promised, self.fault = self.frames, ""
        if piece.kind == "pcm":
            self.promised = self._promised(piece)
        known = self.frames < UNKNOWN_FRAMES and not self._file.subtype.startswith("MPEG")
        there = self.frames > 0 or piece.present == 0
        self.is_right = known and there and not (piece.kind == "ogg" and self.channels > 2)

    def _promised(self, piece: Piece) -> int | None:
        if piece.promised is None:
            return None
        width = SAMPLE_BYTES.get(self._file.subtype, 0) * self.channels
        if width:
            return piece.promised // width
        return round(self.frames * piece.promised / max(1, piece.present))

    def blocks(self, size: int, start: int, stop: int | None) -> Iterator[np.ndarray]:
        """Samples from ``start`` to ``stop``, as far as they can be decoded."""
        if self.frames == 0:
            return
        kind = "int16" if self.integers else "float32"
        stop = self.frames if stop is None else min(stop, self.frames)
        # libsndfile cannot seek beyond the end
        place = min(start, self.frames)
        try:
            if place:
                self._file.seek(place)
        except soundfile.LibsndfileError as error:
            self.fault = error.error_string.strip() or "it cannot be decoded"
            return
        while place < stop:
            try:
                block = self._file.read(min(size, stop - place), kind, always_2d=True)
            except soundfile.LibsndfileError as error:
                self.fault = error.error_string.strip() or "it cannot be decoded"
                return
            if not len(block):
                return
            place += len(block)
            yield block

    def close(self) -> None:
        self._file.close()
        self._close_window()

    def _close_window(self) -> None:
        if self._window is not None:
            self._window.close()


def has_audio(path: str | Path) -> bool:
    """Whether a file holds audio, judged by its first bytes and not by its name."""
    try:
        headers.check_file(path)
        if headers.what_else(path):
            return False
        if headers.pieces(path)[0].kind:
            return True
    except (AudioError, OSError):
        return False
    found = contents(path)
    return bool(found.audio) and found.rest != "guessed"


def unreadable(path: str | Path, reason: str) -> AudioError:
    """The error for a file that no decoder can read."""
    reason = reason.strip().rstrip(".")
    if reason.startswith("holds "):
        return AudioError(f"'{path}' {reason}")
    return AudioError(f"'{path}' cannot be decoded as audio ({reason})")


def planar(samples: np.ndarray) -> np.ndarray:
    """Convert (sample, channel) int16 or float32 to a waveform (channel, sample) float32.

    16-bit samples are converted here instead of by libsndfile, with the same result, because the
    axes have to be swapped anyway: one pass over memory instead of two.
    """
    scale = np.float32(1 / INT16_SCALE if samples.dtype == np.int16 else 1)
    planar = np.empty(samples.shape[::-1], np.float32)
    for channel, target in zip(samples.T, planar, strict=True):
        np.multiply(channel, scale, out=target)
    return planar


def _window(piece: Piece) -> tuple[int, int] | None:
    return None if piece.start == 0 else (piece.start, piece.stop)


def _total(lengths: list[int | None]) -> int | None:
    known = [length for length in lengths if length is not None]
    return sum(known) if len(known) == len(lengths) else None


def _list(values: list[int]) -> str:
    return " and ".join(map(str, values))
