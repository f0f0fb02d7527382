"""Fetch, verify and extract the archive of a corpus in one call.

OUT gets NAME.zip and NAME/, and NAME_bad_files.csv if files do not match the corpus's own
checksums.  The stamp in NAME/ records the number of files and bytes, so a file lost later is
noticed.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mixit_mss.disk import disk_errors, folder_content, in_words, require_space
from mixit_mss.errors import UserError
from mixit_mss.fetch.download import Transfer, fetch, good_note
from mixit_mss.fetch.extraction import BadFile, check_sums, extract
from mixit_mss.fetch.partial import received_bytes
from mixit_mss.files import write_text
from mixit_mss.stamps import STAMP, Fingerprint
from mixit_mss.tables import Kind, rows, value_of


@dataclass(frozen=True)
class Archive:
    """A zip of a corpus, and its published size and checksums.

    Attributes:
        name: of the extracted folder, and with ``.zip`` of the file.
        base_url: address of the folder that holds the zip.
        size: bytes of the zip.
        checksums: hexadecimal digests of the zip, by name of the hash.
        extracted_size: approximate bytes of its files; an archive with more than twice as many is
            not extracted.
        size_tolerance: fraction by which ``size`` may be wrong, if the source rounds it.
        top_folder: folder of the zip that contains all members; empty if there is none.
        checksum_list: member (below ``top_folder``) with the SHA-1 of the files, used if present;
            empty if there is none.
    """

    name: str
    base_url: str
    size: int
    checksums: Mapping[str, str]
    extracted_size: int
    size_tolerance: float = 0.0
    top_folder: str = ""
    checksum_list: str = ""

    @property
    def url(self) -> str:
        """Address of the zip."""
        return f"{self.base_url.rstrip('/')}/{self.name}.zip"

    def at(self, base_url: str) -> Archive:
        """The same archive on another server.

        Raises:
            UserError: ``base_url`` is not an http or https address.
        """
        if not base_url.startswith(("http://", "https://")):
            raise UserError(f"--base-url {base_url} must begin with http:// or https://")
        return replace(self, base_url=base_url)


def listed_archives(table: str | Path, known: Mapping[str, Archive]) -> dict[str, Archive]:
    """Archives with the sizes and checksums of a table instead of the published ones.

    Args:
        table: CSV with columns ``archive`` (name of an archive in ``known``), ``bytes``,
            ``extracted_bytes`` and ``sha256``.
        known: archives by any key.

    Raises:
        UserError: the table cannot be read, or lacks one of ``known``.
    """
    listed: dict[str, tuple[int, int, str]] = {}
    for line, row in rows(table, ("archive", "bytes", "extracted_bytes", "sha256")):
        size, extracted = (
            int(value_of(row[name], Kind.WHOLE, table, name, line))
            for name in ("bytes", "extracted_bytes")
        )
        listed[row["archive"]] = (size, extracted, row["sha256"])
    missing = [archive.name for archive in known.values() if archive.name not in listed]
    if missing:
        raise UserError(f"'{table}' has no archive '{missing[0]}'")
    return {
        key: replace(
            archive,
            size=listed[archive.name][0],
            extracted_size=listed[archive.name][1],
            checksums={"sha256": listed[archive.name][2]},
            size_tolerance=0.0,
        )
        for key, archive in known.items()
    }


def obtain(
    archive: Archive,
    out: str | Path,
    transfer: Transfer | None = None,
    num_threads: int = 1,
    remove_archive: bool = False,
) -> str:
    """Fetch, verify, extract and check one archive, skipping what is already done.

    Args:
        archive: what to fetch.
        out: folder that gets the zip and the corpus's folder.
        transfer: how to fetch.
        num_threads: files extracted or checked at a time.
        remove_archive: delete the zip once its files are there.

    Returns:
        A line to print.

    Raises:
        UserError: it cannot be fetched, verified or extracted, or another process holds the lock.
    """
    zip_path, folder, _ = _places(archive, out)
    with disk_errors(out):
        Path(out).mkdir(parents=True, exist_ok=True)
    with _only_one(Path(out) / f".{archive.name}.lock"):
        already = is_obtained(archive, out)
        if not already:
            fetch(
                *(archive.url, zip_path, archive.checksums),
                *(archive.size, archive.size_tolerance, transfer),
            )
            _unpack(archive, out, num_threads)
            _stamp(archive, folder).mark_done(folder, [])
        if remove_archive:
            for path in (zip_path, good_note(zip_path)):
                path.unlink(missing_ok=True)
        return summarise(archive, out, already)


def is_obtained(archive: Archive, out: str | Path) -> bool:
    """Whether the archive was extracted and checked, and no file has been lost since."""
    _, folder, _ = _places(archive, out)
    return (folder / STAMP).is_file() and _stamp(archive, folder).is_done(folder)


def check_space(archives: Iterable[Archive], out: str | Path) -> None:
    """Check that the disk of ``out`` has room for the missing parts of archives and their files.

    Raises:
        UserError: it has not.
    """
    needed, names = 0, []
    for archive in archives:
        if is_obtained(archive, out):
            continue
        zip_path, folder, _ = _places(archive, out)
        received = archive.size if zip_path.exists() else received_bytes(zip_path)
        _, extracted = folder_content(folder)
        needed += max(0, archive.size - received) + max(0, archive.extracted_size - extracted)
        names.append(f"{archive.name}.zip")
    existing = next(
        path for path in (Path(out).absolute(), *Path(out).absolute().parents) if path.exists()
    )
    require_space(existing, needed, f"{' and '.join(names)} with the files in it")


def summarise(archive: Archive, out: str | Path, already: bool) -> str:
    """One line about an extracted archive."""
    _, folder, bad_list = _places(archive, out)
    count, size = folder_content(folder)
    line = f"{folder}: {'nothing to do, ' if already else ''}{count} files, {in_words(size)}"
    num_bad = len(_read_bad(bad_list))
    if num_bad:
        line += f"; {num_bad} of them missing or not as their checksums say, see {bad_list}"
    elif _has_list(archive, folder):
        line += ", all as their checksums say"
    return line


def _places(archive: Archive, out: str | Path) -> tuple[Path, Path, Path]:
    """Paths of the zip, the folder of its files, and the list of bad files."""
    out = Path(out)
    bad_list = out / f"{archive.name}_bad_files.csv"
    return out / f"{archive.name}.zip", out / archive.name, bad_list


def _unpack(archive: Archive, out: str | Path, num_threads: int) -> None:
    """Extract and check the files; with a checksum list, bad files are listed and are no error."""
    zip_path, folder, bad_list = _places(archive, out)
    bound = 2 * archive.extracted_size
    damaged = extract(zip_path, folder, archive.top_folder, bound, num_threads)
    if archive.checksum_list:
        listed = _has_list(archive, folder)
        wrong = check_sums(folder, archive.checksum_list, num_threads) if listed else []
        bad_list.unlink(missing_ok=True)
        if bad := {**dict(wrong), **dict(damaged)}:
            _write_bad(bad_list, sorted(bad.items()))
    elif damaged:
        raise UserError(
            f"'{zip_path}' has {len(damaged)} damaged members, the first of them '{damaged[0][0]}': "
            "delete it, and run the same command again to fetch it"
        )


def _has_list(archive: Archive, folder: Path) -> bool:
    return bool(archive.checksum_list) and (folder / archive.checksum_list).is_file()


def _stamp(archive: Archive, folder: Path) -> Fingerprint:
    """Fingerprint with the number and bytes of the files, which are too many to list."""
    count, size = folder_content(folder)
    options = {"archive": archive.name, "checksums": dict(archive.checksums)}
    return Fingerprint("download", {**options, "files": count, "bytes": size})


def _write_bad(path: Path, bad: Iterable[BadFile]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("path", "reason"), *bad])
    with disk_errors(path):
        write_text(path, text.getvalue().encode("utf-8", "backslashreplace").decode())


def _read_bad(path: Path) -> list[list[str]]:
    if not path.is_file():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Let one process at a time work on an archive; the lock ends with the process."""
    with disk_errors(path):
        file = open(path, "w")  # noqa: SIM115 - closed below
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise UserError(
            f"another process is fetching into '{os.path.dirname(path) or '.'}' ('{path}' is locked): "
            "wait for it, or name another folder"
        ) from error
    except OSError:
        pass  # a file system without locks
    try:
        yield
    finally:
        file.close()
