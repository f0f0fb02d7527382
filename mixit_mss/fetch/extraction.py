"""Extract a large zip file without trusting it, and verify the files by the corpus's own checksums.

Every member is checked before anything is written: it must be a plain file that stays inside the
folder, and all members together must not exceed a bound.  Each member is then decompressed in place
under a temporary name, so a file with its final name is complete, and an interrupted extraction
resumes with the missing files.  `zipfile` reads the list of members, but we decompress their bytes:
`zipfile` decompresses as much input as it is asked for output, and 45 bytes of bzip2 can hold
45 MB.  Threads suffice, since decompression and hashing release the GIL.
"""

from __future__ import annotations

import bz2
import hashlib
import os
import re
import stat
import struct
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path, PurePosixPath
from typing import Any

from mixit_mss.disk import disk_errors, in_words, require_space
from mixit_mss.errors import UserError
from mixit_mss.files import atomic_path, is_temporary
from mixit_mss.names import inside
from mixit_mss.progress import byte_bar

COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
ENCRYPTED = 0x1
LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, ..., lengths of the name and the extra field
BLOCK_BYTES = 1 << 16
# The temporary names of `atomic_path`, which only a kill leaves behind.
BadFile = tuple[str, str]
"""Path below the folder, and reason: ``damaged_in_archive``, ``missing``, ``checksum``, ..."""


class Damaged(Exception):
    """A member that cannot be decompressed or has the wrong length or CRC."""


def extract(
    archive: str | Path, folder: str | Path, top_folder: str, max_bytes: int, num_threads: int = 1
) -> list[BadFile]:
    """Extract the members of a zip that ``folder`` does not have yet.

    Args:
        archive: the zip; members may be stored, or compressed by deflate or bzip2.
        folder: destination; created if missing.
        top_folder: folder that must contain all members, and is removed from their paths; empty if
            there is none.
        max_bytes: bound on the decompressed bytes of all members.
        num_threads: members extracted at a time.

    Returns:
        Damaged members, which are skipped.

    Raises:
        UserError: the file is not a zip, has a malicious or unsupported member, or there is no room
            on the disk; no member was written.
    """
    folder, bad = Path(folder), []
    try:
        with open(archive, "rb") as file:
            content = zipfile.ZipFile(file)
            members = checked_members(content.infolist(), archive, top_folder, max_bytes)
            with disk_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
                sizes = _clean(folder)
            jobs = [(name, m) for name, m in members.items() if sizes.get(name) != m.file_size]
            total = sum(member.file_size for _, member in jobs)
            require_space(folder, total, f"extracting '{archive}'")
            with byte_bar(f"extracting {Path(archive).name}", total) as bar:

                def take(job: tuple[str, zipfile.ZipInfo]) -> None:
                    name, member = job
                    try:
                        _extract_member(
                            file.fileno(), member, inside(folder, folder / name), bar.advance
                        )
                    except Damaged:
                        bad.append((name, "damaged_in_archive"))

                in_threads(take, jobs, num_threads)
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise UserError(f"'{archive}' is not a zip archive, or cut off ({error})") from error
    return sorted(bad)


def checked_members(
    members: Iterable[zipfile.ZipInfo], archive: str | Path, top_folder: str, max_bytes: int
) -> dict[str, zipfile.ZipInfo]:
    """Files of a zip, without folders, by their path below the folder to extract to.

    Raises:
        UserError: a path is absolute, contains ``..``, lies outside ``top_folder`` or occurs twice;
            a member is a link, a device, encrypted or compressed by an unknown method; or the total
            exceeds ``max_bytes``.
    """
    found: dict[str, zipfile.ZipInfo] = {}
    total = 0
    for member in members:
        if fault := _fault(member, top_folder):
            raise UserError(
                f"'{archive}': member '{member.filename}' {fault}; nothing was extracted"
            )
        if member.is_dir():
            continue
        name = PurePosixPath(member.filename).relative_to(top_folder).as_posix()
        if name in found:
            raise UserError(
                f"'{archive}' has two members '{member.filename}'; nothing was extracted"
            )
        found[name] = member
        total += member.file_size
    if total > max_bytes:
        raise UserError(
            f"'{archive}' would grow to {in_words(total)}, more than the {in_words(max_bytes)} that "
            "it may; nothing was extracted"
        )
    return found


def check_sums(folder: str | Path, listing: str, num_threads: int = 1) -> list[BadFile]:
    """Compare the files of a folder with a list of ``sha1  path`` lines in it.

    Returns:
        Files that are missing, unreadable or do not match, and invalid lines; the list itself if it
        is missing.
    """
    folder, bad = Path(folder), []
    try:
        lines = (folder / listing).read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return [(listing, "missing")]
    jobs = []
    for line in filter(None, lines):
        match = re.fullmatch(r"([0-9a-fA-F]{40})\s+\*?(.+)", line)
        if match and _stays_inside(match[2]):
            jobs.append((match[2], match[1].lower()))
        else:
            bad.append((line, "no_checksum_line"))
    sizes = {name: _size(folder / name) for name, _ in jobs}
    with byte_bar(f"checking {folder.name}", sum(sizes.values())) as bar:

        def check(job: tuple[str, str]) -> None:
            name, wanted = job
            try:
                if _sha1(folder / name, bar.advance) != wanted:
                    bad.append((name, "checksum"))
            except FileNotFoundError:
                bad.append((name, "missing"))
            except OSError:
                bad.append((name, "unreadable"))

        in_threads(check, jobs, num_threads)
    return sorted(bad)


def in_threads(work: Callable[[Any], None], jobs: Iterable[Any], num_threads: int) -> None:
    """Call ``work`` with every job; after an exception, finish running jobs and raise it."""
    waiting, lock, stop = iter(jobs), threading.Lock(), threading.Event()

    def take_jobs() -> None:
        while not stop.is_set():
            with lock:
                job = next(waiting, None)
            if job is None:
                return
            work(job)

    with ThreadPoolExecutor(num_threads) as pool:
        workers = [pool.submit(take_jobs) for _ in range(num_threads)]
        try:
            for worker in as_completed(workers):
                worker.result()
        finally:
            stop.set()


def _fault(member: zipfile.ZipInfo, top_folder: str) -> str:
    """What is wrong with a member; empty if nothing is."""
    name, kind = member.filename, stat.S_IFMT(member.external_attr >> 16)
    if not _stays_inside(name):
        return "would be written outside of its folder"
    path, top = PurePosixPath(name), PurePosixPath(top_folder)
    if top not in path.parents and not (member.is_dir() and path == top):
        return f"does not lie in '{top_folder}'"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if member.flag_bits & ENCRYPTED:
        return "is encrypted"
    if member.compress_type not in COMPRESSIONS:
        return f"is compressed by an unknown method ({member.compress_type})"
    return ""


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    drive = re.match(r"[A-Za-z]:", name)
    return bool(path.parts) and not (
        path.is_absolute() or ".." in path.parts or "\\" in name or drive
    )


def _extract_member(
    archive: int, member: zipfile.ZipInfo, target: Path, advance: Callable[[int], None]
) -> None:
    with disk_errors(target), atomic_path(target) as partial, open(partial, "wb") as file:
        for block in decompressed(archive, member):
            file.write(block)
            advance(len(block))


def decompressed(archive: int, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """Bytes of a member, in blocks of at most ``BLOCK_BYTES``; ``archive`` is an open descriptor.

    Raises:
        Damaged: they cannot be decompressed, or their length or CRC differs from the archive's
            list.
    """
    unpack = {zipfile.ZIP_BZIP2: _bunzip, zipfile.ZIP_DEFLATED: _inflate}.get(member.compress_type)
    blocks = _stored(archive, member)
    size = crc = 0
    try:
        for block in unpack(blocks) if unpack else blocks:
            size += len(block)
            crc = zlib.crc32(block, crc)
            if size > member.file_size:
                break
            yield block
    except (EOFError, zlib.error) as error:
        raise Damaged from error
    except OSError as error:
        if error.errno is None:  # how bz2 reports invalid data
            raise Damaged from error
        raise
    if (size, crc) != (member.file_size, member.CRC):
        raise Damaged


def _stored(archive: int, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """Compressed bytes of a member, read by position so that threads can share the file."""
    header = os.pread(archive, LOCAL_HEADER.size, member.header_offset)
    if len(header) < LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
        raise Damaged
    _, name_bytes, extra_bytes = LOCAL_HEADER.unpack(header)
    position = member.header_offset + LOCAL_HEADER.size + name_bytes + extra_bytes
    end = position + member.compress_size
    while position < end:
        block = os.pread(archive, min(BLOCK_BYTES, end - position), position)
        if not block:
            raise Damaged
        yield block
        position += len(block)


def _bunzip(blocks: Iterable[bytes]) -> Iterator[bytes]:
    decompressor = bz2.BZ2Decompressor()
    for block in blocks:
        yield decompressor.decompress(block, BLOCK_BYTES)
        while not (decompressor.needs_input or decompressor.eof):
            yield decompressor.decompress(b"", BLOCK_BYTES)


def _inflate(blocks: Iterable[bytes]) -> Iterator[bytes]:
    decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
    for block in blocks:
        while block:
            yield decompressor.decompress(block, BLOCK_BYTES)
            block = decompressor.unconsumed_tail
    yield decompressor.flush(BLOCK_BYTES)


def _clean(folder: Path) -> dict[str, int]:
    """Delete leftovers of killed processes; return the bytes of every other file by path."""
    sizes = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            if is_temporary(name):
                os.unlink(path)
            else:
                sizes[os.path.relpath(path, folder).replace(os.sep, "/")] = _size(path)
    return sizes


def _size(path: str | Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _sha1(path: Path, advance: Callable[[int], None]) -> str:
    digest = hashlib.sha1(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            advance(len(block))
    return digest.hexdigest()
