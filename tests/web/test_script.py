"""The browser client at /R/socket.io.js, as a module at /R/socket.io.mjs, and its declarations, of every router."""

import gzip
from pathlib import Path

import pytest

import tornadio

STATIC = Path(tornadio.__file__).parent / "static"
SCRIPT = (STATIC / "socket.io.js").read_bytes()
PATH = "/socket.io/socket.io.js"
FILES = {
    "socket.io.js": SCRIPT,
    "socket.io.mjs": SCRIPT + b"\nconst { io } = globalThis;\nexport default io;\nexport const { Socket } = io;\n",
    "socket.io.d.ts": (STATIC / "socket.io.d.ts").read_bytes(),
    "socket.io.d.mts": (STATIC / "socket.io.d.mts").read_bytes(),
}

each_file = pytest.mark.parametrize("name", FILES)


@each_file
async def test_the_files_are_served(serve, name):
    response = await serve().request("GET", f"/socket.io/{name}")
    assert response.status == 200
    assert response.body == FILES[name]
    kind = "javascript" if name.endswith("js") else "plain"
    assert response.headers["content-type"] == f"text/{kind}; charset=UTF-8"
    assert response.headers["content-length"] == str(len(FILES[name]))
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "content-encoding" not in response.headers


@each_file
async def test_every_page_may_load_it(serve, name):
    served = serve(settings={"origins": ["listed.com:80"]})
    response = await served.request(
        "GET", f"/socket.io/{name}", {"Origin": "http://evil.com", "Sec-Fetch-Site": "cross-site"}
    )
    assert response.status == 200
    assert response.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in response.headers
    assert response.headers["cross-origin-resource-policy"] == "cross-origin"


@pytest.mark.parametrize("path", [PATH, f"{PATH}?v=1"])
async def test_it_may_be_cached(serve, path):
    response = await serve().request("GET", path)
    assert response.headers["cache-control"].startswith("public, max-age=")
    assert response.headers["vary"] == "Accept-Encoding"


async def test_each_resource_has_it_with_or_without_an_extra(serve):
    served = serve(resource="chat", extra_re=r"\d+", extra_sep="/")
    for name, content in FILES.items():
        assert (await served.request("GET", f"/chat/{name}")).body == content
        assert (await served.request("GET", f"/chat/123/{name}")).status == 404
        assert (await served.request("GET", f"/chat/{name.replace('.', 'X', 1)}")).status == 404


async def test_head_tells_the_same_without_the_body(serve):
    served = serve()
    head, get = [await served.request(method, PATH) for method in ("HEAD", "GET")]
    assert (head.status, head.body) == (200, b"")
    assert {**head.headers, "date": ""} == {**get.headers, "date": ""}


@each_file
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("given", ["{}", "W/{}", '"other", {}', "*"])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_who_has_it_already_is_told_304(serve, name, method, given, encoding):
    served = serve()
    headers = {"Accept-Encoding": encoding}
    etag = (await served.request("GET", f"/socket.io/{name}", headers)).headers["etag"]
    response = await served.request(method, f"/socket.io/{name}", {**headers, "If-None-Match": given.format(etag)})
    assert (response.status, response.body) == (304, b"")
    assert response.headers["etag"] == etag
    assert "content-length" not in response.headers


async def test_who_has_another_one_gets_it(serve):
    response = await serve().request("GET", PATH, {"If-None-Match": '"other"'})
    assert (response.status, response.body) == (200, SCRIPT)


@pytest.mark.parametrize("accepted", ["gzip", "gzip, deflate, br", "br, GZIP;q=0.5", "deflate;q=1.0, gzip;q=0.001"])
async def test_it_is_compressed_for_those_who_ask(serve, accepted):
    response = await serve().request("GET", PATH, {"Accept-Encoding": accepted})
    assert response.headers["content-encoding"] == "gzip"
    assert response.headers["content-length"] == str(len(response.body))
    assert len(response.body) < len(SCRIPT) / 2
    assert gzip.decompress(response.body) == SCRIPT


@pytest.mark.parametrize("accepted", ["", "br", "identity", "gzip;q=0", "gzip; q=0.0, br", "gzipped"])
async def test_it_is_not_compressed_for_the_others(serve, accepted):
    response = await serve().request("GET", PATH, {"Accept-Encoding": accepted})
    assert "content-encoding" not in response.headers
    assert response.body == SCRIPT


async def test_each_file_is_compressed_for_those_who_ask_and_has_its_own_etag(serve):
    served = serve()
    etags = set()
    for name, content in FILES.items():
        response = await served.request("GET", f"/socket.io/{name}", {"Accept-Encoding": "gzip"})
        assert gzip.decompress(response.body) == content
        etags.add(response.headers["etag"])
    assert len(etags) == len(FILES)


async def test_each_encoding_has_its_own_etag(serve):
    served = serve()
    etags = [(await served.request("GET", PATH, {"Accept-Encoding": name})).headers["etag"] for name in ("gzip", "br")]
    assert etags[0] != etags[1]
    assert etags == [
        (await served.request("GET", PATH, {"Accept-Encoding": name})).headers["etag"] for name in ("gzip", "br")
    ]


@pytest.mark.parametrize("accepted", ["gzip", "br"])
async def test_an_application_that_compresses_does_not_compress_it_again(serve, accepted):
    served = serve(application={"compress_response": True})
    response = await served.request("GET", PATH, {"Accept-Encoding": accepted})
    assert response.headers.get("content-encoding") == ("gzip" if accepted == "gzip" else None)
    assert (gzip.decompress(response.body) if accepted == "gzip" else response.body) == SCRIPT


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_another_method_for_the_script_is_405(serve, method):
    assert (await serve().request(method, PATH)).status == 405
