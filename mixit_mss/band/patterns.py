"""The band's repertoire: grooves, fills, bass figures, comping figures and melodic rhythms.

One character is a sixteenth; ``.`` rests and ``-`` holds (see ``mixit_mss.band.score.pattern_steps``).
Patterns are listed by metre: 16 steps for 4/4, 12 for 3/4 and for 6/8.
"""

from __future__ import annotations

STEPS_PER_BAR = {"4/4": 16, "3/4": 12, "6/8": 12}
STEPS_PER_BEAT = {"4/4": 4, "3/4": 4, "6/8": 6}

# Drums: X accent, x normal, o soft.  "time" is played on the hi-hat, the ride or another piece.
GROOVES = {
    "rock": {"kick": "X.......X.x.....", "snare": "....X.......X...", "time": "X.x.X.x.X.x.X.x."},
    "drive": {"kick": "X.x...x.X.x...x.", "snare": "....X.......X...", "time": "X.X.X.X.X.X.X.X."},
    "punk": {"kick": "X..xX...X..xX...", "snare": "..X...X...X...X.", "time": "X.x.X.x.X.x.X.x."},
    "half time": {"kick": "X.....x.........", "snare": "........X.......", "time": "x.x.x.x.x.x.x.x."},
    "ballad": {"kick": "X.........x.....", "stick": "....x.......x...", "time": "x...x...x...x..."},
    "pop": {"kick": "X..x....X.x.....", "snare": "....X.......X..o", "time": "x.x.x.x.x.x.x.x."},
    "floor": {"kick": "X...X...X...X...", "clap": "....X.......X...", "open": "..x...x...x...x."},
    "disco": {"kick": "X...X...X...X...", "snare": "....X.......X...", "time": "xoxoxoxoxoxoxoxo"},
    "break": {"kick": "X.X.......xx....", "snare": "....X..o.o..X..o", "time": "x.x.x.x.x.x.x.x."},
    "funk": {"kick": "X.x...x...x..x..", "snare": "....X..o.o..X...", "time": "XoxoXoxoXoxoXoxo"},
    "funk 2": {"kick": "X..x..x.o.x....x", "snare": "....X.oo....X.o.", "time": "x.xxx.xxx.xxx.xx"},
    "boom bap": {"kick": "X......xX.x.....", "snare": "....X.......X...", "time": "x.x.x.x.x.x.x.x."},
    "trap": {"kick": "X.....x...x.....", "clap": "........X.......", "time": "x.x.xxx.x.x.xoxo"},
    "swing": {"kick": "o...o...o...o...", "pedal": "....x.......x...", "time": "x...X.x.x...X.x."},
    "brushes": {"kick": "o.......o.......", "pedal": "....x.......x...", "snare": "x.o.X.o.x.o.X.o."},
    "bossa": {"kick": "X.....x.X.....x.", "stick": "x..x..x...x..x..", "time": "x.x.x.x.x.x.x.x."},
    "samba": {"kick": "X..xX..xX..xX..x", "stick": "x.x..x.x.x.x..x.", "shaker": "XooxXooxXooxXoox"},
    "salsa": {"kick": "...x..x....x..x.", "cowbell": "X...X.x.X...X.x.", "conga": "..x...xx..x...xx"},
    "one drop": {"kick": "........X.......", "stick": "........X.......", "time": "x.x.x.x.x.x.x.xo"},
    "train": {"kick": "X...x...X...x...", "snare": "ooooXooooooxXooo", "pedal": "....x.......x..."},
    "tribal": {"kick": "X.....x.X.......", "tom 3": "..x..x....x..x..", "tom 4": "x.......x...x.x."},
    "march": {"kick": "X.......X.......", "snare": "X.xxX.x.X.xxXxxx", "pedal": "....x.......x..."},
    "waltz": {"kick": "X...........", "snare": "....x...x...", "time": "x...x...x..."},
    "rock waltz": {"kick": "X.....x.....", "snare": "........X...", "time": "x.x.x.x.x.x."},
    "jazz waltz": {"kick": "o.......o...", "pedal": "....x.......", "time": "X...x.x.x..."},
    "soft waltz": {"kick": "x...........", "stick": "....x...x...", "shaker": "x.o.x.o.x.o."},
    "slow six": {"kick": "X.........x.", "snare": "......X.....", "time": "X.x.x.X.x.x."},
    "six ballad": {"kick": "X.....x...x.", "stick": "......x.....", "time": "x.x.x.x.x.x."},
    "jig": {"kick": "X.....X.....", "snare": "....x.....x.", "time": "X...x.X...x."},
    "afro six": {"kick": "X.....X...x.", "bell": "x.x.xx.x.x.x", "conga": "..x.x...x.x."},
}  # fmt: skip

PERCUSSION_LINES = {
    "tambourine": ("....X.......X...", "x.x.X.x.x.x.X.x."),
    "shaker": ("xoxoxoxoxoxoxoxo", "X.xoX.xoX.xoX.xo"),
    "cabasa": ("x.xxx.xxx.xxx.xx",),
    "conga": ("..x...xx..x...xx", "x..x..x...x.xx.."),
    "bongo": ("x.xox.xox.xox.xo",),
    "cowbell": ("x...x...x...x...",),
    "agogo": ("x..x..x.x..x..x.",),
    "claves": ("x..x..x...x.x...",),
    "clap": ("....x.......x...",),
}

# Fills at the end of a bar: S snare, 1234 toms from high to low, K kick, . rest.
FILLS = (
    "SSSS112233444444", "S.S.1.1.2.3.4.4.", "SS11SS22SS33SS44", "....S.SS1122S.44", "........S.SSSSSS",
    "........11223344", "........S.1.3.4.", "............SSSS", "............1234", "K.S.K.SSK.S.4.44", "............S.S.",
)  # fmt: skip

# Bass: r root, f fifth, o octave, t third, s seventh or sixth below, a approach to the next root.
BASS_FIGURES = {
    "4/4": {
        "whole": "r---------------", "halves": "r-------r-------", "two feel": "r-------f-------",
        "quarters": "r---r---r---r---", "eighths": "r-r-r-r-r-r-r-r-", "pushed": "r--r----r-----a-",
        "octaves": "r-o-r-o-r-o-r-o-", "offbeat": "..r-..r-..r-..r-", "disco": "r.o.r.o.r.oor.o.",
        "bossa": "r-----f-f-----r-", "tumbao": "r-----f-....o---", "dotted": "r--r--r-r--r--f-",
        "walking": "r---t---f---a---", "walking 2": "r---f---o---a---", "walking 3": "o---f---t---a---",
        "funk": "r..r..o...r.s.r.", "slap": "r..o..r.r..o..f.", "boogie": "r-r-t-t-f-f-s-f-",
        "reggae": "....r--r..f-r---", "arpeggio": "r-f-o-f-t-f-r-a-", "sub": "r-----r---......",
        "gallop": "r.rrr.rrr.rrr.rr",
    },
    "3/4": {
        "whole": "r-----------", "waltz": "r---........", "root fifth": "r-------f---",
        "walking": "r---t---a---", "walking 2": "r---f---a---", "eighths": "r-r-r-r-r-f-",
        "arpeggio": "r-f-o-f-t-f-",
    },
    "6/8": {
        "whole": "r-----------", "two": "r-----r-----", "root fifth": "r-----f-----",
        "shuffle": "r---r-f---a-", "rolling": "r-f-o-o-f-t-", "eighths": "r-r-r-r-r-r-",
    },
}  # fmt: skip

# Comping: c the chord, u its upper notes, b its lowest, p root and fifth, 0123 notes from the lowest.
COMPING = {
    "4/4": {
        "pad": "c---------------", "halves": "c-------c-------", "quarters": "c---c---c---c---",
        "eighths": "c-c-c-c-c-c-c-c-", "skank": "..c-..c-..c-..c-", "backbeat": "....c---....c---",
        "charleston": "c-----c-........", "pushed": "c--c--c-..c-c---", "montuno": "0-u-.u0-.u-u0-u-",
        "strum": "c---c-u-..u-c-u-", "strum 16": "c-u-cuu-c-u-cuu-", "boom chuck": "b---u---b---u---",
        "up": "0-1-2-3-2-1-0-1-", "up 16": "0123012301230123", "broken": "0-2-1-2-0-2-1-2-",
        "picking": "0-3-1-3-0-2-1-3-", "stabs": "c--.......c-c-..", "stabs 2": "c-......c-.c-...",
        "hit": "c-c-....c---c---", "power": "p-p-p-p-p-p-p-p-", "power long": "p-------p---p---",
        "chug": "p.ppp.ppp.ppp.pp", "held line": "3-------2-------", "slow line": "2---3---1---2---",
        "ostinato": "3.2.3.1.3.2.3.0.",
    },
    "3/4": {
        "pad": "c-----------", "boom chuck": "b---u---u---", "quarters": "c---c---c---",
        "eighths": "c-c-c-c-c-c-", "up": "0-1-2-3-2-1-", "broken": "0-2-3-2-3-2-",
        "stabs": "....c-..c-..", "held line": "3-------2---", "strum": "c---c-u-c-u-",
        "power": "p---p-p-p-p-", "ostinato": "3-2-1-3-2-0-",
    },
    "6/8": {
        "pad": "c-----------", "halves": "c-----c-----", "eighths": "c-c-c-c-c-c-",
        "up": "0-1-2-3-2-1-", "boom chuck": "b---u-b---u-", "broken": "0-2-3-1-2-3-",
        "strum": "c---u-c-u-u-", "held line": "3-----2-----", "stabs": "....c-....c-",
        "power": "p---p-p---p-", "ostinato": "3-2-1-3-2-0-",
    },
}  # fmt: skip

# Comping figures that suit each instrument family; figures missing from a metre are skipped.
COMPING_OF_FAMILY = {
    "piano": (
        "pad", "halves", "quarters", "eighths", "charleston", "pushed", "montuno", "boom chuck",
        "up", "up 16", "broken", "skank", "stabs 2",
    ),
    "mallet": ("up", "up 16", "broken", "ostinato", "charleston", "quarters", "held line"),
    "organ": ("pad", "halves", "skank", "pushed", "stabs 2", "eighths", "held line"),
    "guitar": ("strum", "strum 16", "picking", "broken", "up", "skank", "backbeat", "boom chuck"),
    "power guitar": ("power", "power long", "chug", "ostinato"),
    "strings": ("pad", "halves", "held line", "slow line", "eighths", "pad"),
    "pluck": ("up", "up 16", "broken", "picking", "ostinato", "quarters"),
    "brass": ("stabs", "stabs 2", "hit", "halves", "pushed", "slow line"),
    "pad": ("pad", "pad", "halves", "held line"),
}  # fmt: skip

# Melody: every letter is a note.  A phrase is an opening bar and a closing bar that breathes.
OPENINGS = {
    "4/4": (
        "n-n-n---n-n-n---", "n-----n-n---n---", "n---n---n-n-n---", "n--n--n-n-n-n---", "..n-n-n-n-----n-",
        "n-nnn-n-n-n-n---", "n-------n---n---", "n-n-nnn-n-------", "n---nn--n---n-n-", "....n-n-n-n-n-n-",
    ),
    "3/4": (
        "n---n---n---", "n-----n-n---", "n-------n---", "n-n-n-n-n---", "n---n-n-n-n-", "..n-n---n---",
    ),
    "6/8": (
        "n-----n---n-", "n---n-n-----", "n-n-n-n-----", "n---n-n---n-", "n-n-n-n-n-n-", "..n-n-n---n-",
    ),
}  # fmt: skip
CLOSINGS = {
    "4/4": (
        "n-n-n-------....", "n-----------....", "n---n-------....", "n-n-n---........", "n--n--------....", "n-n-n-n-n---....",
    ),
    "3/4": ("n---------..", "n---n-------", "n-n-n---....", "n-------...."),
    "6/8": ("n---------..", "n---n-----..", "n-n-n-......", "n-----------"),
}  # fmt: skip
