"""Hostile arguments: every option of every command, and what stands where a path belongs."""

from __future__ import annotations

import argparse
import importlib
import os

from test.robustness import calls
from test.robustness.known import LEFT_OUT
from test.robustness.mutations import NAMES, NUMBERS, OUTPUTS, PATHS, Generator, hostile, pick
from test.robustness.sandbox import Call, Sandbox

FILES_OUT = ("--page", "--figures", "--jobs-folder", "--out")
DISPATCH = ("dispatch", "--jobs-folder", "out/jobs", "--", "score", "--manifest", "in/x")


def arguments(box: Sandbox, generator: Generator) -> Call:
    """One or two arguments of a sound call changed."""
    if generator.random() < 0.05:
        call = Call([*DISPATCH], out=(box.out / "jobs",))
    else:
        names = [
            name
            for name, make in calls.CALLS.items()
            if name not in ("read_manifest", "load_model")
        ]
        call = calls.CALLS[pick(generator, names)](box)
    notes = [_change(box, call, generator) for _ in range(int(pick(generator, (1, 1, 1, 2))))]
    call.note = "; ".join(notes)
    return call


def options_of(command: str, words: list[str]) -> list[argparse.Action]:
    """What can be given to a command, or to that of its own commands which the words name."""
    module = importlib.import_module(f"mixit_mss.bin.{command.replace('-', '_')}")
    parser = module.build_parser()
    actions = list(parser._actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            chosen = next((action.choices[word] for word in words if word in action.choices), None)
            actions = list(chosen._actions) if chosen else []
    return [
        action
        for action in actions
        if not LEFT_OUT.keys()
        & {*action.option_strings, *(f"{command} {o}" for o in action.option_strings)}
    ]


def _change(box: Sandbox, call: Call, generator: Generator) -> str:
    draw = generator.random()
    if draw < 0.06:
        place = int(generator.integers(1, len(call.argv)))
        del call.argv[place]
        return f"without word {place}"
    if draw < 0.12:
        word = hostile(generator).replace("{root}", str(box.root))
        call.argv.append(word)
        return f"one word more: {word[:60]!r}"
    actions = options_of(call.argv[0], call.argv[1:])
    action = pick(generator, actions)
    if not action.option_strings:
        return _positional(box, call, generator)
    name = pick(generator, action.option_strings)
    if action.nargs == 0:
        call.argv.append(name)
        return name
    value = _value(action, generator).replace("{root}", str(box.root))
    if name in FILES_OUT:
        _allow(box, call, name, value)
    _set(call, name, value)
    return f"{name}={value[:60]!r}"


def _value(action: argparse.Action, generator: Generator) -> str:
    """Mostly of the sort that the option asks for."""
    if any(name in FILES_OUT for name in action.option_strings):
        return pick(generator, OUTPUTS)
    if generator.random() < 0.1:
        return hostile(generator)
    if action.choices is not None and generator.random() < 0.7:
        return str(pick(generator, sorted(action.choices, key=str)))
    number = action.type is not None or isinstance(action.default, (int, float))
    return pick(generator, NUMBERS if number else PATHS if generator.random() < 0.8 else NAMES)


def _positional(box: Sandbox, call: Call, generator: Generator) -> str:
    value = pick(generator, PATHS).replace("{root}", str(box.root))
    call.argv[1] = value
    return f"first word {value[:60]!r}"


def _set(call: Call, name: str, value: str) -> None:
    """In place of the value that it has, or added."""
    if name in call.argv:
        place = call.argv.index(name)
        del call.argv[place : place + 2]
    call.argv.append(f"{name}={value}")


def _allow(box: Sandbox, call: Call, name: str, value: str) -> None:
    """Let the call write where it is told to; a file that is named itself may be replaced."""
    if "\0" in value or not value:
        return
    path = box.work / value
    call.out = (*call.out, path)
    writes_a_file = call.argv[0] in ("score", "report", "curves")
    if writes_a_file and name != "--figures" and os.path.isfile(path):
        call.own = (*call.own, path)
    if writes_a_file:
        call.out = (*call.out, path.parent)
