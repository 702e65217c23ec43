"""Lines of standard input for an event loop, whatever file that is."""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator
from typing import Final

_READ_SIZE: Final = 1 << 16


class InputError(Exception):
    """A line of standard input can't be sent; the text says which, and why."""


async def read_lines(file: int) -> AsyncIterator[str]:
    """Yield the lines of a file descriptor, without their ends, as they come.

    :raises InputError: from the iterator, a line is not UTF-8.
    """
    number = 0
    started: list[bytes] = []  # the pieces of a line whose end has not come
    async for data in _read(file):
        *ends, rest = data.split(b"\n")
        for end in ends:
            number += 1
            yield _text_of(b"".join([*started, end]), number)
            started = []
        started.append(rest)
    if any(started):
        yield _text_of(b"".join(started), number + 1)


def _text_of(line: bytes, number: int) -> str:
    try:
        return line.removesuffix(b"\r").decode()
    except UnicodeDecodeError as error:
        raise InputError(f"line {number} of the input is not UTF-8: {error.reason} at byte {error.start}") from None


async def _read(file: int) -> AsyncIterator[bytes]:
    """Yield what a file descriptor has, be it a file, a pipe or a terminal, until its end.

    Read in a thread, since event loops can't watch regular files, and by ``os.read``: a thread that is inside of
    ``sys.stdin`` when the interpreter exits would crash it. Of a fast file no more than a piece is read ahead.
    """
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[bytes] = asyncio.Queue()
    wanted = threading.Semaphore()

    def read() -> None:
        data = b"more"
        while data:
            wanted.acquire()
            try:
                data = os.read(file, _READ_SIZE)
            except OSError:  # a terminal that has been hung up
                data = b""
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for it
                loop.call_soon_threadsafe(pieces.put_nowait, data)

    threading.Thread(target=read, name="tornadio-stdin", daemon=True).start()
    while data := await pieces.get():
        yield data
        wanted.release()
