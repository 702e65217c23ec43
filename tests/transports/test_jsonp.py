"""jsonp-polling: each poll is a script that calls back, each POST a form in an iframe."""

from urllib.parse import quote

import pytest
import simplejson

from tests.support import BARE_FORM, Recorder, jsonp_payload
from tests.texts import IN_SCRIPTS
from tornadio import proto

pytestmark = pytest.mark.usefixtures("each_http")


# -- Polls -------------------------------------------------------------------------------------------------------------


async def test_the_handshake_byte_for_byte(serve):
    served = serve()
    response = await served.request("GET", "/socket.io/jsonp-polling//1290000000000/0")
    session_id = served.router.connections[0].session_id
    assert response.status == 200
    assert response.body == f'io.JSONP[0]._("~m~32~m~{session_id}");'.encode()
    assert response.headers["content-type"] == "text/javascript; charset=UTF-8"
    assert response.headers["content-length"] == str(len(response.body))


@pytest.mark.parametrize("index", ["0", "7", "42", "007", "9999999999"])
async def test_a_poll_calls_the_function_of_its_index(serve, index):
    served = serve()
    session_id, _ = await served.open("jsonp-polling")
    served.router.broadcast("news")
    response = await served.request("GET", f"/socket.io/jsonp-polling/{session_id}/1290000000000/{index}")
    assert response.body == f'io.JSONP[{index}]._("~m~4~m~news");'.encode()


@pytest.mark.parametrize(
    "tail",
    [
        "/1290000000000",
        "/1290000000000/",
        "/1290000000000/x",
        "/1290000000000/-1",
        "/1290000000000/1.5",
        "/1290000000000/1e3",
        "/1290000000000/0x1",
        "/1290000000000/%D9%A1",
        "/1290000000000/0%0A",
        "/1290000000000/0/",
        "/1290000000000/0/0",
        "/1290000000000/alert(1)",
        "/1290000000000/0];alert(1);io.JSONP[0",
        "/1290000000000/12345678901",
        "",
        "/",
    ],
)
async def test_an_index_that_is_not_digits_is_400(serve, tail):
    served = serve()
    session_id, _ = await served.open("jsonp-polling")
    for path in [f"/socket.io/jsonp-polling/{tail}", f"/socket.io/jsonp-polling/{session_id}{tail}"]:
        response = await served.request("GET", path)
        assert (response.status, response.text) == (400, "a JSONP request ends in /TIMESTAMP/INDEX, INDEX in digits")
        assert response.headers["content-type"] == "text/plain; charset=UTF-8"
    assert len(Recorder.opened) == 1


@pytest.mark.parametrize("message", [*IN_SCRIPTS, {"</script>": "\u2028"}])
async def test_nothing_in_a_message_leaves_the_string_or_the_script(serve, message):
    served = serve()
    session_id, _ = await served.open("jsonp-polling")
    served.router.broadcast(message)
    script = (await served.poll(session_id, "jsonp-polling")).body.decode("ascii")
    assert script.startswith('io.JSONP[0]._("')
    assert script.endswith('");')
    literal = script.removeprefix("io.JSONP[0]._(").removesuffix(");")
    assert not set("<>&\n\r\0\x1b") & set(literal)
    assert simplejson.loads(literal) == proto.encode(message)


# -- POSTs -------------------------------------------------------------------------------------------------------------


async def test_a_form_is_answered_with_something_that_an_iframe_can_show(serve):
    served = serve()
    session_id, _ = await served.open("jsonp-polling")
    path = f"/socket.io/jsonp-polling/{session_id}/1290000000000/0"
    response = await served.request("POST", path, BARE_FORM, b"data=%7Em%7E5%7Em%7Ehello")
    assert (response.status, response.text) == (200, "ok")
    assert response.headers["content-type"] == "text/plain; charset=UTF-8"
    assert jsonp_payload((await served.poll(session_id, "jsonp-polling")).text) == "~m~5~m~hello"


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        (b"data=~m~3~m~a%0D%0Ab", ["a\nb"]),  # what a form makes of a\nb
        (b"data=~m~4~m~a%0D%0Ab", ["a\r\nb"]),
        (b"data=~m~3~m~a%0Ab", ["a\nb"]),
        (b"data=~m~3~m~a%0D%0Ab~m~4~m~a%0D%0Ab~m~3~m~a%0Ab", ["a\nb", "a\r\nb", "a\nb"]),
        (b"data=~m~6~m~%F0%9F%98%80%0D%0A%F0%9F%98%80%0D%0A", ["😀\n😀\n"]),
        (b"data=~m~2~m~%0D%0A%0D%0A~m~1~m~x", ["\n\n", "x"]),
        (b'data=~m~13~m~~j~{"a":%0D%0A"b"}', [{"a": "b"}]),
        (b"data=~m~4~m~~h~1~m~1~m~%0D%0A", ["\n"]),
        (b"data=~m~3~m~+a+", [" a "]),
    ],
)
async def test_a_message_keeps_its_newlines_although_the_form_changed_them(serve, body, messages):
    served = serve()
    session_id, _ = await served.open("jsonp-polling")
    response = await served.request("POST", f"/socket.io/jsonp-polling/{session_id}/1290000000000/0", BARE_FORM, body)
    assert (response.status, response.text) == (200, "ok")
    assert [event for event in Recorder.opened[0].events if event[0] == "message"] == [
        ("message", message) for message in messages
    ]


async def test_texts_that_no_form_has_sent_are_never_taken_for_others(serve):
    served = serve()
    session_id, _ = await served.open("jsonp-polling")
    texts = ["quote:" + "\r\n" * 40, "B" * 32 + '~m~22~m~~j~{"do":"delete all"}']
    body = b"data=" + quote("".join(map(proto.encode, texts))).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}  # as our client's fetch has it
    response = await served.request("POST", f"/socket.io/jsonp-polling/{session_id}/1/0", headers, body)
    assert (response.status, response.text) == (200, "ok")
    assert Recorder.opened[0].events[1:] == [("message", text) for text in texts]


async def test_a_form_may_be_multipart(serve):
    served = serve()
    session_id, _ = await served.open("jsonp-polling")
    body = b'--XX\r\nContent-Disposition: form-data; name="data"\r\n\r\n~m~5~m~a\r\nb \r\n\r\n--XX--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=XX"}
    response = await served.request("POST", f"/socket.io/jsonp-polling/{session_id}/1/0", headers, body)
    assert (response.status, response.text) == (200, "ok")
    assert Recorder.opened[0].events[1:] == [("message", "a\nb \n")]


async def test_a_form_without_frames_that_fit_is_400(serve):
    served = serve()
    session_id, _ = await served.open("jsonp-polling")
    response = await served.request(
        "POST", f"/socket.io/jsonp-polling/{session_id}/1/0", BARE_FORM, b"data=~m~9~m~a%0D%0Ab"
    )
    assert response.status == 400
    assert response.text == "frame at 7 says 9 UTF-16 code units, but no frame ends there"
    assert (await served.post(session_id, "x", transport="jsonp-polling")).text == "ok"
