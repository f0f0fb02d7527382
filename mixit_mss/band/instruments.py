"""The band's instruments: General MIDI programs per stem, with the range in which each sounds good.

Program numbers count from 0; pitches are MIDI keys (60 is middle C).  No program belongs to two
stems, so that stems differ audibly.
"""

from __future__ import annotations

from typing import NamedTuple

DRUM_CHANNEL = 9


class Instrument(NamedTuple):
    """One General MIDI program; ``family`` says which patterns suit it."""

    name: str
    program: int
    family: str
    low: int
    high: int


def _family(family: str, low: int, high: int, **programs: int) -> tuple[Instrument, ...]:
    return tuple(
        Instrument(name.replace("_", " "), program, family, low, high)
        for name, program in programs.items()
    )


# (weight of the family, its instruments); voices sing almost half of the lead lines.
VOCALS = (
    (0.42, _family("voice", 55, 79, choir_aahs=52, voice_oohs=53, synth_voice=54, solo_vox=85)),
    (0.10, _family("flute", 62, 88, flute=73, recorder=74, pan_flute=75, whistle=78, ocarina=79)),
    (0.13, _family("reed", 58, 80, soprano_sax=64, alto_sax=65, oboe=68, clarinet=71)),
    (0.07, _family("low reed", 48, 72, tenor_sax=66, baritone_sax=67, english_horn=69)),
    (0.10, _family("horn", 54, 78, trumpet=56, muted_trumpet=59, trombone=57, french_horn=60)),
    (0.08, _family("bow", 57, 86, violin=40, viola=41, fiddle=110)),
    (0.10, _family("synth", 55, 81, square_lead=80, saw_lead=81, calliope_lead=82, charang=84)),
)

BASSES = (
    (0.20, _family("upright", 28, 52, acoustic_bass=32)),
    (0.45, _family("electric", 28, 53, fingered_bass=33, picked_bass=34, fretless_bass=35)),
    (0.15, _family("slap", 28, 53, slap_bass_1=36, slap_bass_2=37)),
    (0.20, _family("synth", 28, 50, synth_bass_1=38, synth_bass_2=39)),
)

OTHERS = (
    (0.24, _family("piano", 40, 88, grand_piano=0, bright_piano=1, electric_grand=2, honky_tonk=3)),
    (0.11, _family("piano", 40, 84, rhodes=4, electric_piano=5, harpsichord=6, clavinet=7)),
    (0.10, _family("mallet", 53, 89, vibraphone=11, marimba=12, xylophone=13, dulcimer=15)),
    (0.03, _family("mallet", 65, 96, celesta=8, glockenspiel=9, music_box=10, kalimba=108)),
    (0.10, _family("organ", 43, 84, drawbar_organ=16, percussive_organ=17, rock_organ=18)),
    (0.05, _family("organ", 48, 84, church_organ=19, reed_organ=20, accordion=21, bandoneon=23)),
    (
        0.20,
        _family(
            "guitar", 42, 79, nylon_guitar=24, steel_guitar=25, jazz_guitar=26, clean_guitar=27
        ),
    ),
    (
        0.09,
        _family("power guitar", 40, 67, muted_guitar=28, overdrive_guitar=29, distortion_guitar=30),
    ),
    (
        0.10,
        _family(
            "strings",
            43,
            84,
            string_ensemble=48,
            slow_strings=49,
            synth_strings=50,
            tremolo_strings=44,
        ),
    ),
    (0.05, _family("pluck", 48, 84, pizzicato_strings=45, harp=46, sitar=104, banjo=105, koto=107)),
    (0.07, _family("brass", 46, 77, brass_section=61, synth_brass_1=62, synth_brass_2=63)),
    (
        0.09,
        _family(
            "pad", 45, 84, warm_pad=89, polysynth=90, bowed_glass=92, halo_pad=94, sweep_pad=95
        ),
    ),
)

KITS = (
    (0.26, _family("kit", 35, 82, standard_kit=0)),
    (0.34, _family("kit", 35, 82, room_kit=8, power_kit=16)),
    (0.20, _family("kit", 35, 82, electronic_kit=24, tr_808_kit=25)),
    (0.20, _family("kit", 35, 82, jazz_kit=32, brush_kit=40)),
)

CAST = {"vocals": VOCALS, "drums": KITS, "bass": BASSES, "other": OTHERS}
STEMS = tuple(CAST)

# Keys of the percussion channel, by the names used in the grooves.
PERCUSSION = {
    "kick": 36, "snare": 38, "stick": 37, "clap": 39, "hat": 42, "pedal": 44, "open": 46,
    "ride": 51, "bell": 53, "crash": 49, "crash 2": 57, "splash": 55, "tom 1": 50, "tom 2": 48,
    "tom 3": 45, "tom 4": 41, "tambourine": 54, "cowbell": 56, "bongo": 60, "conga mute": 62,
    "conga": 63, "conga low": 64, "agogo": 67, "shaker": 70, "cabasa": 69, "claves": 75,
}  # fmt: skip
