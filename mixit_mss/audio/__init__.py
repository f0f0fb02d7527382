"""The only door to audio files: probe, read a range, stream, write, resample.

Every waveform is float32, full scale 1, with axes (channel, sample), and channels in the order of
WAV.  One rule holds for every format:

- What can be decoded is used, from all files that were joined to one.
- Where that is not what the header promised, :class:`~mixit_mss.audio.reading.AudioStream` says so: ``notes`` are sentences
  for people, and ``cut`` tells what is missing.  Who must have all of a file refuses it then.
- A header that states what no recording has (:data:`~mixit_mss.audio.headers.RATES`,
  :data:`~mixit_mss.audio.headers.MAX_CHANNELS`) and samples that are no finite numbers are errors,
  and so is all but a regular file.  Nothing is allocated by what a header says.
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
