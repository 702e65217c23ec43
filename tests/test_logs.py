"""Log lines: how many of a kind, how long, of what characters."""

from __future__ import annotations

import collections
import logging
from collections.abc import Callable

import pytest
import tornado.web

from tornadio.logs import (
    MAX_LINE_LENGTH,
    MAX_LINES,
    MAX_TOTAL_LINES,
    LineFilter,
    RateLimiter,
    TracebackFilter,
    get_logger,
    keys_of_request,
    printable,
)


@pytest.fixture
def time() -> list[float]:
    return [1000.0]


@pytest.fixture
def limit(time: list[float]) -> RateLimiter:
    return RateLimiter(lambda: time[0])


@pytest.fixture
def logger(limit: RateLimiter) -> logging.Logger:
    logger = logging.Logger("tornadio.example")
    logger.addFilter(LineFilter(limit))
    return logger


@pytest.fixture
def lines(logger: logging.Logger) -> list[str]:
    """What the logger has written."""

    written: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(self.format(record))

    logger.addHandler(Lines())
    return written


def test_of_one_kind_the_first_of_a_minute_are_written(logger, lines):
    for number in range(1000):
        logger.warning("client %d is bad", number)
    assert len(lines) == MAX_LINES == 10
    assert lines[:2] == ["client 0 is bad", "client 1 is bad"]
    assert lines[-1] == "client 9 is bad (more like it are left out for 60 s)"


def test_the_number_of_those_left_out_is_told_later(logger, lines, time):
    for number in range(25):
        logger.info("client %d is bad", number)
    time[0] += 59.9
    logger.info("client %d is bad", 25)
    time[0] += 0.2
    logger.info("client %d is bad", 26)
    logger.info("client %d is bad", 27)
    assert lines[MAX_LINES:] == ["client 26 is bad (16 more like it were left out)", "client 27 is bad"]


def test_a_quiet_minute_is_told_nothing_of(logger, lines, time):
    for _ in range(3):
        logger.info("now and then")
        time[0] += 61
    assert lines == ["now and then"] * 3


def test_each_kind_has_its_own_limit(logger, lines):
    for number in range(100):
        logger.warning("client %d is bad", number)
        logger.warning("client %d is worse", number)
    logger.error("the disk is full")
    assert len(lines) == 2 * MAX_LINES + 1
    assert lines[-1] == "the disk is full"


def test_a_line_that_was_counted_by_its_caller_is_not_counted_again(logger, lines, limit):
    for number in range(3 * MAX_LINES):
        logger.warning("refused %d", number, extra={"limit_note": " (1 more)"})
    assert lines[0] == "refused 0 (1 more)"
    assert len(lines) == 3 * MAX_LINES
    logger.warning("refused %d", 0)
    assert len(lines) == 3 * MAX_LINES + 1


def test_lines_about_requests_have_a_limit_for_each_client_and_status_and_one_for_all_clients(limit):
    written = collections.Counter(
        (client, status)
        for client in range(20)
        for status in (403, 404)
        for _ in range(100)
        if limit.count_line(*keys_of_request(status, f"192.0.2.{client}")) is not None
    )
    assert set(written.values()) == {MAX_LINES}
    of_statuses = collections.Counter(status for _, status in written.elements())
    assert of_statuses == {403: MAX_TOTAL_LINES, 404: MAX_TOTAL_LINES}
    assert limit.count_line(*keys_of_request(503, "192.0.2.1")) == ""


def test_debugging_is_not_limited(logger, lines):
    logger.setLevel(logging.DEBUG)
    for number in range(100):
        logger.debug("line %d", number)
    assert len(lines) == 100


def test_tracebacks_stay(logger, lines):
    try:
        raise RuntimeError("as the test asked")
    except RuntimeError:
        logger.exception("%s failed", "a handler")
    assert lines[0].startswith("a handler failed\n  Traceback")
    assert lines[0].endswith("\n  RuntimeError: as the test asked")


def fail(error: BaseException) -> None:
    raise error


def fail_elsewhere(error: BaseException) -> None:
    raise error


def fail_because(error: BaseException, cause: BaseException) -> None:
    try:
        raise cause
    except type(cause):
        raise error from cause


def fail_because_of_another(error: BaseException, cause: BaseException) -> None:
    try:
        raise cause
    except type(cause):
        fail_from(error, cause)


def fail_from(error: BaseException, cause: BaseException) -> None:
    raise error from cause


FAILURES: dict[str, Callable[[], None]] = {
    "an error": lambda: fail(RuntimeError("x")),
    "an error elsewhere": lambda: fail_elsewhere(RuntimeError("x")),
    "an error of another class": lambda: fail(ValueError("x")),
    "an error with a cause": lambda: fail_because(RuntimeError("x"), OSError("y")),
    "an error with a cause elsewhere": lambda: fail_because_of_another(RuntimeError("x"), OSError("y")),
}


@pytest.mark.parametrize("first", FAILURES)
@pytest.mark.parametrize("second", FAILURES)
def test_failures_at_different_places_are_different_kinds(logger, lines, first, second):
    for name in [first] * 100 + [second]:
        try:
            FAILURES[name]()
        except Exception:
            logger.exception("a handler failed")
    assert len(lines) == MAX_LINES + (first != second)


def test_a_failure_whose_text_differs_each_time_is_one_kind(logger, lines):
    for number in range(100):
        try:
            fail(RuntimeError(f"unknown command {number}"))
        except RuntimeError:
            logger.exception("a handler failed")
    assert len(lines) == MAX_LINES


def test_an_error_that_was_never_raised_is_told_as_its_line(logger, lines):
    for number in range(100):
        logger.error("a handler failed", exc_info=RuntimeError(str(number)))
    assert len(lines) == MAX_LINES


ID = "0123456789abcdef" * 2
CUT = "01234567..."


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (f"session {ID}", f"session {CUT}"),
        (f"/socket.io/xhr-polling/a{ID}/1", "/socket.io/xhr-polling/a0123456.../1"),
        (f"/socket.io/xhr-polling/chat{ID}/send", f"/socket.io/xhr-polling/chat{CUT}/send"),
        (f"{ID}{ID}", CUT),
        (f"{ID} {ID}", f"{CUT} {CUT}"),
        ("".join(f"%{ord(digit):x}" for digit in ID), "%30%31%32%33%34%35%36%37..."),
        ("".join(f"%{ord(digit):X}" for digit in ID), "%30%31%32%33%34%35%36%37..."),
        (ID[:-1], ID[:-1]),
        ("x" * 1000, "x" * 400 + "..."),
        ("0" * 3970 + "/" + ID, "00000000..."),
        ("-" * 350 + "/" + ID + "-" * 10_000, "-" * 350 + "/" + CUT + "-" * 38 + "..."),
        ("-" * 390 + "/" + ID + "-" * 10_000, "-" * 390 + "/" + ID[:8] + "...."),
    ],
)
def test_a_line_holds_no_whole_session_id(logger, lines, line, told):
    logger.warning("%s", line)
    assert lines[0].startswith(told)
    assert ID not in lines[0]
    assert ID[:31] not in lines[0] or line == ID[:-1]


def test_a_traceback_holds_no_whole_session_id(logger, lines):
    try:
        fail(KeyError(ID))
    except KeyError:
        logger.exception("a handler failed")
    assert lines[0].endswith(f"KeyError: '{CUT}'")


def test_a_traceback_forges_no_line_and_has_its_length(logger, lines):
    try:
        raise ValueError("unknown command \r\nERROR forged\x1b[2J" + "\n" * 1000 + "x" * 100_000)
    except ValueError:
        logger.exception("a handler failed")
    first, *traceback = lines[0].split("\n")
    assert first == "a handler failed"
    assert all(line.startswith("  ") and line.isprintable() for line in traceback)
    assert r"  ERROR forged\x1b[2J" in traceback
    assert len(traceback) < 210
    assert max(map(len, traceback)) < 410


def test_a_line_holds_no_control_characters(logger, lines):
    logger.warning("origin %s", "http://evil\r\nERROR forged\x1b[2J\x00\x85\u2028\ud800")
    assert lines == [r"origin http://evil\r\nERROR forged\x1b[2J\x00\x85\u2028\ud800"]


def test_a_line_is_cut(logger, lines):
    logger.warning("origin %s", "x" * 100_000)
    assert lines == ["origin " + "x" * (MAX_LINE_LENGTH - len("origin ")) + "..."]


def test_a_usual_line_stays_apart_from_its_arguments(logger):
    records: list[logging.LogRecord] = []

    class Records(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger.addHandler(Records())
    logger.warning("100 %% of client %s", "é中")
    assert (records[0].msg, records[0].args) == ("100 %% of client %s", ("é中",))


def test_the_number_of_kinds_is_bounded(limit):
    for number in range(100_000):
        assert limit.count_line(number) == ""
    assert len(limit._windows) <= 1000


def test_the_kinds_that_come_often_stay_known(limit):
    for number in range(10_000):
        limit.count_line("often")
        limit.count_line(number)
    assert limit.count_line("often") is None


def test_of_many_kinds_of_one_a_hundred_lines_are_written(limit, time):
    notes = [limit.count_line(("refused", number), "refused") for number in range(2000)]
    assert notes[:100] == [""] * 99 + [" (more of all clients are left out for 60 s)"]
    assert notes[100:] == [None] * 1900
    assert len(limit._windows) <= 102  # the others aren't forgotten for them
    time[0] += 61
    assert limit.count_line(("refused", 0), "refused") == " (1900 more of all clients were left out)"


def test_one_of_many_kinds_does_not_use_up_what_is_for_all(limit):
    for _ in range(2000):
        limit.count_line(("refused", "one"), "refused")
    assert limit.count_line(("refused", "another"), "refused") == ""


def test_tornados_lines_are_one_kind_for_each_place_that_writes_them(limit, time):
    written: list[str] = []
    logger = logging.Logger("tornado.general")
    logger.addFilter(LineFilter(limit))
    logger.addHandler(logging.StreamHandler())
    logger.handlers[0].emit = lambda record: written.append(record.getMessage())  # type: ignore[method-assign]
    for number in range(100):
        logger.warning(f"400 invalid argument {number}")  # noqa: G004
        logger.warning("403 %s", number)
    assert len(written) == 2 * MAX_LINES


def test_of_an_applications_lines_among_tornados_the_tracebacks_alone_are_limited(limit):
    written: list[str] = []
    logger = logging.Logger("tornado.application")
    logger.addFilter(TracebackFilter(limit))
    logger.addHandler(logging.StreamHandler())
    logger.handlers[0].emit = lambda record: written.append(record.getMessage())  # type: ignore[method-assign]
    for _ in range(100):
        logger.info("somebody has joined")
        try:
            fail(RuntimeError("x"))
        except RuntimeError:
            logger.exception("failed")
    assert written.count("somebody has joined") == 100
    assert len(written) == 100 + MAX_LINES


def test_printable_text_is_left_alone():
    assert printable("é中😀 tab", 100) == "é中😀 tab"


def test_every_logger_of_the_library_has_the_limit():
    names = [name for name in logging.root.manager.loggerDict if name.startswith("tornadio.")]
    # This one logs mistakes of the program, once.
    limited = [name for name in names if name != "tornadio.settings"]
    assert "tornadio.sessions.base" in limited
    assert all(any(isinstance(each, LineFilter) for each in get_logger(name).filters) for name in limited)


# -- The access log ----------------------------------------------------------------------------------------------------


class Failing(tornado.web.RequestHandler):
    def get(self) -> None:
        self.set_status(500)


def accesses(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines without the time that the request took."""
    return [record.getMessage().rsplit(" ", 1)[0] for record in caplog.records if record.name == "tornado.access"]


@pytest.mark.parametrize(
    ("path", "line", "level"),
    [
        ("/socket.io/socket.io.js?v=1", "200 GET /socket.io/socket.io.js?v=1 (127.0.0.1)", "INFO"),
        ("/missing", "404 GET /missing (127.0.0.1)", "WARNING"),
        ("/failing", "500 GET /failing (127.0.0.1)", "ERROR"),
    ],
)
async def test_a_request_is_a_line_as_tornado_has_it(serve, caplog, path, line, level):
    caplog.set_level(logging.INFO, "tornado.access")
    await serve(handlers=[("/failing", Failing)]).request("GET", path)
    assert accesses(caplog) == [line]
    assert caplog.records[-1].levelname == level


async def test_a_long_url_is_cut(serve, caplog):
    await serve().request("GET", "/" + "x" * 60_000)
    assert accesses(caplog) == ["404 GET /" + "x" * 199 + "... (127.0.0.1)"]


async def test_what_one_client_is_refused_is_limited_what_it_is_given_is_not(serve, caplog):
    caplog.set_level(logging.INFO, "tornado.access")
    served = serve(server={"xheaders": True})
    wire = await served.connect()
    for _ in range(30):
        for path in ("/socket.io/socket.io.js", "/missing"):
            await wire.send_request("GET", path, {"X-Real-Ip": "192.0.2.1"})
            await wire.read_response()
    await served.request("GET", "/missing", {"X-Real-Ip": "192.0.2.2"})
    lines = accesses(caplog)
    assert sum(line.startswith("200") for line in lines) == 30
    assert sum(line.startswith("404") for line in lines) == MAX_LINES + 1
    assert lines[-1] == "404 GET /missing (192.0.2.2)"


async def test_an_access_log_of_the_application_is_left_to_it(serve, caplog):
    logged: list[tornado.web.RequestHandler] = []
    await serve(application={"log_function": logged.append}).request("GET", "/missing")
    assert [handler.get_status() for handler in logged] == [404]
    assert accesses(caplog) == []
