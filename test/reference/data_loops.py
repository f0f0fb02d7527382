"""Loops over samples and segments, for segmentation and activity; nothing is shared or streamed."""

import math


def segments_with_sound(waveform, rate, segment, hop, interval, threshold_db, max_silent):
    """(start, kept) of each segment of a (channel, sample) list; the paper's silence rule.

    All times are whole numbers of samples, so there is no rounding to agree on.
    """
    total = len(waveform[0])
    found = []
    start = 0
    while start + segment * rate <= total:
        silent_seconds = 0.0
        for first in range(start, int(start + segment * rate), int(interval * rate)):
            squares, count = 0.0, 0
            for channel in waveform:
                for value in channel[first : first + int(interval * rate)]:
                    squares += float(value) ** 2
                    count += 1
            if threshold_db is None:
                silent = squares == 0
            else:
                silent = squares == 0 or 10 * math.log10(squares / count) < threshold_db
            silent_seconds += interval if silent else 0.0
        found.append((start, silent_seconds <= max_silent + 1e-9))
        start += int(hop * rate)
    return found


def active_segments(waveform, segment_frames, hop_frames, num_chunks, min_active):
    """(start, kept) of each segment; BSRNN's detection with the sum of squares as energy."""
    total = len(waveform[0])
    chunk = segment_frames // num_chunks
    table = []
    for start in range(0, total - segment_frames + 1, hop_frames):
        energies = []
        for index in range(num_chunks):
            first = start + index * chunk
            energy = 0.0
            for channel in waveform:
                for value in channel[first : first + chunk]:
                    energy += float(value) ** 2
            energies.append(energy if energy > 0 else 1e-5)
        table.append((start, energies))
    every = sorted(energy for _, energies in table for energy in energies)
    place = 0.15 * (len(every) - 1)
    low = math.floor(place)
    high = min(low + 1, len(every) - 1)
    threshold = max(every[low] + (place - low) * (every[high] - every[low]), 1e-3)
    return [
        (start, sum(energy > threshold for energy in energies) >= min_active)
        for start, energies in table
    ]
