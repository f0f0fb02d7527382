"""Cores and memory: as much as there is, never more, and nothing where nobody says."""

import os

import pytest

from mixit_mss import machine
from mixit_mss.errors import UserError


def test_the_smaller_of_machine_and_container_counts(tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:   1000 kB\n")
    (tmp_path / "max").write_text("500000\n")
    (tmp_path / "used").write_text("100000\n")
    monkeypatch.setattr(machine, "MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "LIMITS", (tmp_path / "max", tmp_path / "used"))
    assert machine.free_bytes() == 400_000
    (tmp_path / "max").write_text("max\n")
    assert machine.free_bytes() == 1_024_000
    (tmp_path / "meminfo").unlink()
    assert machine.free_bytes() == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    monkeypatch.setattr(os, "sysconf", lambda name: (_ for _ in ()).throw(ValueError))
    assert machine.free_bytes() is None
    machine.require_memory(10**18, "nothing is known, so this")


def test_what_does_not_fit_is_a_sentence(monkeypatch):
    monkeypatch.setattr(machine, "free_bytes", lambda: 2**30)
    machine.require_memory(2**30, "this")
    with pytest.raises(
        UserError, match=r"this needs 2\.0 GiB of memory, of which 1\.0 GiB are free"
    ):
        machine.require_memory(2**31, "this")


def test_more_processes_than_are_of_use_are_not_started(monkeypatch, capsys):
    monkeypatch.setattr(machine, "cores", lambda: 2)
    assert machine.processes(8, "--nj") == 8
    assert capsys.readouterr().err == ""
    assert machine.processes(100, "--nj") == 8
    assert capsys.readouterr().err == "--nj 100: this machine has 2 cores; 8 are taken\n"
    monkeypatch.setattr(machine, "cores", lambda: 64)
    assert machine.processes(100, "--nj") == 100


def test_memory_errors_are_known_without_torch():
    class OutOfMemoryError(RuntimeError):
        pass

    for error in (
        MemoryError(),
        OutOfMemoryError(),
        RuntimeError("MPS backend out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    ):
        assert machine.is_out_of_memory(error)
    for error in (RuntimeError("shape"), ValueError("out of memory"), KeyError("x")):
        assert not machine.is_out_of_memory(error)
