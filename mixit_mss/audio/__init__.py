"""Access to audio files: probe, read a range, stream, write, resample.

All other modules read and write audio through this package.  Every waveform is float32, full scale
1, with axes (channel, sample) and channels in WAV order.  The same rules hold for every format:

- All audio that can be decoded is used, from all files that were joined into one.
- If that differs from the header, :class:`~mixit_mss.audio.reading.AudioStream` reports it:
  ``notes`` are sentences for people, and ``cut`` describes what is missing.  A caller that needs
  the whole file must check ``cut``.
- A header beyond the limits of real recordings (:data:`~mixit_mss.audio.headers.RATES`,
  :data:`~mixit_mss.audio.headers.MAX_CHANNELS`), a NaN or infinite sample, and anything but a
  regular file is an error.  No memory is allocated on the word of a header.
"""

from mixit_mss.audio.decoding import MP3_DAMAGE, SLACK, Source, has_audio, planar
from mixit_mss.audio.headers import AudioError
from mixit_mss.audio.reading import (
    BLOCK_FRAMES,
    AudioInfo,
    AudioStream,
    decode_warnings,
    header_slack,
    probe,
    read,
    stream,
    to_channels,
    to_samples,
)
from mixit_mss.audio.resampling import can_resample, resample, resample_blocks
from mixit_mss.audio.writing import Writer, open_writer, to_integers, write

__all__ = [
    "BLOCK_FRAMES",
    "MP3_DAMAGE",
    "SLACK",
    "AudioError",
    "AudioInfo",
    "AudioStream",
    "Source",
    "Writer",
    "can_resample",
    "decode_warnings",
    "has_audio",
    "header_slack",
    "open_writer",
    "planar",
    "probe",
    "read",
    "resample",
    "resample_blocks",
    "stream",
    "to_channels",
    "to_integers",
    "to_samples",
    "write",
]
