"""A seeded fuzz of every command: thousands of broken inputs, none of which may do harm.

An input is made by a function of (seed, kind, number) alone, see :mod:`.kinds`, in a sandbox full of
files of somebody else, see :mod:`.sandbox`.  Each runs in a process of its own, forked from one that
has all modules loaded, see :mod:`.campaign`; :mod:`.verdict` says what counts as a fault.
``python -m test.robustness --help`` explains the rest.
"""
