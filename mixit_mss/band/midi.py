"""Write the tracks of a stem as a MIDI file."""

from __future__ import annotations

from collections.abc import Sequence

import mido

from mixit_mss.band.instruments import DRUM_CHANNEL
from mixit_mss.band.plan import Plan
from mixit_mss.band.score import TICKS_PER_QUARTER, Track


def midi_file(plan: Plan, tracks: Sequence[Track], seconds: float) -> mido.MidiFile:
    """Make a MIDI file of ``seconds`` from the tracks of one stem, each on its own channel."""
    song = mido.MidiFile(ticks_per_beat=TICKS_PER_QUARTER)
    end = round(seconds * plan.ticks_per_second)
    tempo = mido.MetaMessage("set_tempo", tempo=round(60e6 / plan.tempo))
    song.tracks.append(mido.MidiTrack([tempo, mido.MetaMessage("end_of_track", time=end)]))
    for index, track in enumerate(tracks):
        channel = DRUM_CHANNEL if track.stem == "drums" else index
        song.tracks.append(_midi_track(track, channel, end))
    return song


def _midi_track(track: Track, channel: int, end: int) -> mido.MidiTrack:
    setting = {7: track.volume, 10: track.pan, 91: track.reverb, 93: track.chorus}
    # (tick, order, message): at the same tick, note-offs and bends come before note-ons
    events = [(0, 0, mido.Message("program_change", program=track.instrument.program))]
    events += [
        (0, 1, mido.Message("control_change", control=number, value=value))
        for number, value in setting.items()
    ]
    for control in track.controls:
        if control.kind == "bend":
            message = mido.Message("pitchwheel", pitch=control.value)
        else:
            message = mido.Message("control_change", control=1, value=control.value)
        events.append((min(control.start, end), 3, message))
    for note in track.notes:
        if note.start < end:
            # a note without note-off would sound forever: release every note by the end
            until = min(note.start + note.ticks, end)
            events.append((note.start, 4, _key("note_on", note.pitch, note.velocity)))
            events.append((until, 2, _key("note_off", note.pitch, 0)))
    events.sort(key=lambda event: event[:2])
    messages = mido.MidiTrack()
    now = 0
    for tick, _, message in events:
        messages.append(message.copy(channel=channel, time=tick - now))
        now = tick
    messages.append(mido.MetaMessage("end_of_track", time=end - now))
    return messages


def _key(kind: str, pitch: int, velocity: int) -> mido.Message:
    return mido.Message(kind, note=pitch, velocity=velocity)
