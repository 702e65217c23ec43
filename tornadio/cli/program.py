"""The command line client: connects, prints and sends, and ends with a status that says how it went."""

import argparse
import asyncio
import enum
import io
import logging
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from tornadio.cli.arguments import connect_options, in_terms_of_arguments, make_parser, message_of
from tornadio.cli.lines import InputError, read_lines
from tornadio.cli.printer import Printer, say
from tornadio.client.connect import connect
from tornadio.client.connection import ClientConnection
from tornadio.errors import ConnectError, ConnectionClosed, SettingsError


class Status(enum.IntEnum):
    """What the exit status of the program says. 2 is also argparse's; above 128 it is 128 and a signal's number, as
    shells have it.
    """

    ENDED = 0
    BROKEN = 1
    USAGE = 2
    NOT_CONNECTED = 3
    TIMED_OUT = 4
    INTERRUPTED = 130
    NO_READER = 141


async def talk(arguments: argparse.Namespace, options: dict[str, Any]) -> Status:
    """Connect, print and send until it ends.

    :raises SettingsError: an argument of :func:`tornadio.connect` is wrong.
    :raises InputError: a line of the input can't be sent.
    """
    loop = asyncio.get_running_loop()
    end = None if arguments.timeout is None else loop.time() + arguments.timeout
    finished: asyncio.Future[OSError | None] = loop.create_future()
    printer = Printer(
        sys.stdout,
        is_terminal=sys.stdout.isatty(),
        is_raw=arguments.raw,
        first_frame=arguments.first_frame,
        count=arguments.count,
        on_end=finished.set_result,
    )
    try:
        async with asyncio.timeout_at(end):
            connection = await connect(arguments.url, trace=printer.trace, **options)
    except ConnectError as error:
        say(in_terms_of_arguments(str(error)))
        return Status.NOT_CONNECTED
    except TimeoutError:
        say(f"no connection after {arguments.timeout:g} seconds (--timeout)")
        return Status.NOT_CONNECTED
    if sys.stderr.isatty():
        is_interactive = not arguments.send and sys.stdin is not None and sys.stdin.isatty()
        say(f"connected over {connection.transport}{': a line is a message, Ctrl-D ends' if is_interactive else ''}")
    try:
        async with asyncio.timeout_at(end):
            status = await _until_end(connection, arguments, finished)
    except TimeoutError:
        if arguments.count is None:
            status = Status.ENDED
        else:
            say(f"fewer than {arguments.count} messages after {arguments.timeout:g} seconds")
            status = Status.TIMED_OUT
    finally:
        await connection.close()
    if connection.unsent:
        say(f"not sent: {len(connection.unsent)} of the messages")
        status = Status.BROKEN
    return status


async def _until_end(
    connection: ClientConnection, arguments: argparse.Namespace, finished: asyncio.Future[OSError | None]
) -> Status:
    """Send and receive until the connection, the count or the input is at its end."""
    receiving = asyncio.create_task(_receive(connection))
    sending = asyncio.create_task(_send(connection, arguments))
    try:
        ends: set[asyncio.Future[Any]] = {finished, receiving, sending}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if finished.done():
            return _end_of_output(finished.result())
        if sending.done() and not isinstance(sending.exception(), ConnectionClosed):
            sending.result()
            return Status.ENDED
        return await _end_of(connection, receiving, arguments.count)
    finally:
        receiving.cancel()
        sending.cancel()
        await asyncio.wait({receiving, sending})


async def _receive(connection: ClientConnection) -> None:
    """Receive, which the printer has done already, to the connection's end."""
    async for _ in connection:
        pass


async def _send(connection: ClientConnection, arguments: argparse.Namespace) -> None:
    """Send what was asked for. Returns when that was the last thing to do."""
    send: Callable[[Any], Coroutine[Any, Any, None]] = connection.send_raw if arguments.raw else connection.send
    if arguments.send:
        for line in arguments.send:
            await send(line if arguments.raw else message_of(line, arguments.json))
    elif sys.stdin is not None:
        async for line in read_lines(sys.stdin.fileno()):
            await send(line if arguments.raw else message_of(line, arguments.json))
    if arguments.send or arguments.count is not None or arguments.timeout is not None:
        await asyncio.Event().wait()


def _end_of_output(error: OSError | None) -> Status:
    if error is None:
        return Status.ENDED
    if isinstance(error, BrokenPipeError):
        return Status.NO_READER
    say(f"can't write the output: {error}")
    return Status.BROKEN


async def _end_of(connection: ClientConnection, receiving: asyncio.Task[None], count: int | None) -> Status:
    """Wait until the server has ended the connection, and say how."""
    try:
        await receiving
    except ConnectionClosed as error:
        say(str(error))
        return Status.BROKEN
    if count is not None:
        say(f"the server has closed the connection before {count} messages were there: {_cause_of(connection)}")
        return Status.BROKEN
    if sys.stderr.isatty():
        say(f"the server has closed the connection: {_cause_of(connection)}")
    return Status.ENDED


def _cause_of(connection: ClientConnection) -> str:
    return f"{connection.close_code} {connection.close_reason}".rstrip()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    :param argv: its arguments; those of this process by default.
    :returns: the exit status.
    """
    arguments = make_parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8" if arguments.raw else None, errors="backslashreplace")
    # It says of each TLS handshake that fails what this program says, too.
    logging.getLogger("tornado.general").setLevel(logging.CRITICAL)
    try:
        return asyncio.run(talk(arguments, connect_options(arguments)))
    except (SettingsError, InputError) as error:
        say(in_terms_of_arguments(str(error)))
        return Status.USAGE
    except KeyboardInterrupt:
        return Status.INTERRUPTED
