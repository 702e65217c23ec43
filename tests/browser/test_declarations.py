"""The TypeScript declarations of the browser client: the compiler takes programs that use it rightly, and no others."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Page

import tornadio
from tests.appserver import AppServer
from tests.browser.client_pages import APP

STATIC: Final = Path(tornadio.__file__).parent / "static"
SECONDS: Final = 60

# As strict as the compiler can be.
OPTIONS: Final = {
    "strict": True,
    "exactOptionalPropertyTypes": True,
    "noUncheckedIndexedAccess": True,
    "noPropertyAccessFromIndexSignature": True,
    "noUnusedLocals": True,
    "noImplicitOverride": True,
    "isolatedModules": True,
    "verbatimModuleSyntax": True,
    "skipLibCheck": False,
    "noEmit": True,
    "target": "es2022",
    "lib": ["es2022", "dom"],
    "types": [],
    "paths": {"/socket.io/*": [f"{STATIC}/*"]},  # as a page imports the module
}

# All that a page may do, with the global of the classic script. What follows `io` is the same for the module.
USES: Final = """
interface Talk { text: string; at: number }
type Said = Talk | 'close';

const options: io.SocketOptions = {
  port: 8001,
  secure: false,
  resource: 'chat/123',
  transports: ['websocket', 'flashsocket', 'xhr-multipart', 'xhr-polling', 'jsonp-polling', 'htmlfile'],
  transportOptions: { websocket: { timeout: 30000 }, 'xhr-polling': {} },
  timeout: 15000,
  connectTimeout: 5000,
  tryTransportsOnConnectTimeout: true,
  reconnect: true,
  reconnectionDelay: 500,
  maxReconnectionAttempts: Infinity,
  rememberTransport: false,
  firstMessage: () => localStorage.getItem('token'),
};

const socket = new io.Socket<Talk, Said>(location.hostname, options);
socket
  .on('connect', function () {
    this.send({ text: 'hello', at: Date.now() });
  })
  .on('message', (message) => {
    const text: string = message.text;
    socket.send(['close', { text, at: message.at }]);
  })
  .once('disconnect', () => undefined)
  .addEvent('connecting', (type: io.TransportType) => type.toUpperCase())
  .addListener('connect_failed', (status, text) => {
    const refusal: [number | undefined, string | undefined] = [status, text];
    return refusal;
  })
  .on('connect_failed', () => undefined)
  .on('reconnecting', (delay, attempts) => delay.toFixed() + attempts.toFixed())
  .on('reconnect', (type, attempts) => type === 'websocket' && attempts > 1)
  .on('reconnect_failed', (status, text) => [status?.toFixed(), text?.trim()])
  .connect()
  .send('close')
  .disconnect();

const onMessage: io.Listener<'message', Talk, Said> = (message) => message.at;
socket.on('message', onMessage).removeEvent('message', onMessage);

const state: boolean[] = [socket.connected, socket.connecting, socket.reconnecting];
const where: [string, string | number, number] = [socket.host, socket.options.port, socket.options.timeout];
const transport: io.Transport | null = socket.transport;
const id: string | null | undefined = socket.transport?.sessionid;

const other: io.Socket = new io.Socket();
other.on('message', (message) => (typeof message === 'string' ? message.trim() : message));
new io.Socket(null, { port: null, transports: undefined, firstMessage: async () => (await fetch('/token')).text() });
new io.Socket('localhost', null).send({ anything: [1, null, true] });
const events: (keyof io.SocketEvents)[] = ['connect', 'message'];
console.log(state, where, transport, id, other, events, window.io.JSONP.length);
"""

IMPORT: Final = """
import client, { Socket } from '/socket.io/socket.io.mjs';
import type {
  Listener, ResolvedOptions, SocketEvents, SocketOptions, Transport, TransportOptions, TransportType,
} from '/socket.io/socket.io.mjs';

const each: [
  Listener<'connect'>?, ResolvedOptions?, SocketEvents?, SocketOptions?, Transport?, TransportOptions?, TransportType?,
] = [];
const first: Socket<string> = new client.Socket<string>('localhost');
const second: client.Socket = new Socket();
console.log(each, first, second, window.io === client, io.Socket === Socket);
"""

# Each of these is an error, in a line of its own.
MISTAKES: Final = """
new io.Socket(8001);
new io.Socket('localhost', 8001);
new io.Socket('localhost', { prot: 8001 });
new io.Socket('localhost', { port: true });
new io.Socket('localhost', { transports: 'websocket' });
new io.Socket('localhost', { transports: ['websockets'] });
new io.Socket('localhost', { transportOptions: { websockets: {} } });
new io.Socket('localhost', { transportOptions: { websocket: { timeout: '1' } } });
new io.Socket('localhost', { timeout: '15000' });
new io.Socket('localhost', { firstMessage: 'token' });
io.Socket('localhost');
io.connect();
new io.Socket().on('connected', () => undefined);
new io.Socket().on('connect', (session: string) => session);
new io.Socket().on('connect_failed', (status: string) => status);
new io.Socket().on('reconnecting', (delay: string) => delay);
new io.Socket().on('reconnect', (type: 'websocket') => type);
new io.Socket().on('message', (message) => message.text);
new io.Socket<string>().on('message', (message: number) => message);
new io.Socket<string, string>().send(1);
new io.Socket<string, string>().send(['a', 1]);
new io.Socket().send();
new io.Socket().emit('message', 'x');
new io.Socket().connected = true;
new io.Socket().transport.type;
new io.Socket().transport!.sessionid.length;
"""

Compile = Callable[..., list[tuple[int, str]]]


@pytest.fixture
def compile(node: str, node_modules: Path, tmp_path: Path) -> Compile:
    """Check a program with these further options of the compiler; the line and the text of each error."""

    def compile(name: str, program: str, **options: Any) -> list[tuple[int, str]]:
        (tmp_path / name).write_text(program, encoding="utf-8")
        config = {"compilerOptions": OPTIONS | options, "files": [name]}
        (tmp_path / "tsconfig.json").write_text(json.dumps(config), encoding="utf-8")
        compiler = subprocess.run(
            [node, str(node_modules / "typescript" / "bin" / "tsc"), "--project", str(tmp_path), "--pretty", "false"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        errors = re.findall(rf"^{re.escape(name)}\((\d+),\d+\): error (.*)", compiler.stdout, re.MULTILINE)
        assert bool(errors) == (compiler.returncode != 0), compiler.stdout + compiler.stderr
        return [(int(line), text) for line, text in errors]

    return compile


REFERENCE: Final = f'/// <reference path="{STATIC / "socket.io.d.ts"}" />\n'
MODULES: Final = [
    {"module": "esnext", "moduleResolution": "bundler"},
    {"module": "nodenext", "moduleResolution": "nodenext"},
]


def test_a_program_with_the_global_compiles(compile: Compile):
    assert compile("program.ts", f"{REFERENCE}{USES}\nexport {{}};\n") == []
    assert compile("script.ts", f"{REFERENCE}{USES}", isolatedModules=False, verbatimModuleSyntax=False) == []


@pytest.mark.parametrize("options", MODULES, ids=lambda options: options["module"])
def test_a_program_with_the_module_compiles(compile: Compile, options: dict[str, str]):
    program = f"import io from '/socket.io/socket.io.mjs';\n{IMPORT}{USES}"
    assert compile("program.mts", program, **options) == []
    assert compile("only.mts", f"{IMPORT}{USES}", **options) == []  # the module makes the global, too


def test_no_mistake_compiles(compile: Compile):
    errors = compile("mistakes.ts", f"{REFERENCE}{MISTAKES}", noPropertyAccessFromIndexSignature=False)
    lines = [number for number, line in enumerate(f"{REFERENCE}{MISTAKES}".splitlines(), 1) if "io." in line][1:]
    assert sorted({line for line, _ in errors}) == lines, errors
    assert len(lines) == MISTAKES.count(";\n")


NAMES: Final = """() => {
  const socket = new io.Socket('localhost');
  const inherited = Object.getOwnPropertyNames(Object.getPrototypeOf(socket));
  return {
    'typeof io': Object.keys(io),
    'io.Socket': [...Object.keys(socket), ...inherited.filter((name) => name !== 'constructor')],
    'io.SocketOptions': Object.keys(socket.options),
    'io.ResolvedOptions': Object.keys(socket.options),
  };
}"""


def test_they_name_all_that_the_script_has_and_no_more(
    page: Page, app_server: Callable[..., AppServer], compile: Compile
):
    page.goto(app_server(APP).url)
    names: dict[str, list[str]] = page.evaluate(NAMES)
    script = (STATIC / "socket.io.js").read_text(encoding="utf-8")
    documented = re.search(r"\* Events: (.*?)\n +\*\n", script, re.DOTALL)
    assert documented is not None
    names["io.SocketEvents"] = re.findall(r"`(\w+)`", documented[1])
    assert set(re.findall(r"#emit\(\s*'(\w+)'", script)) < set(names["io.SocketEvents"])
    names["io.TransportType"] = re.findall(r"static type = '([\w-]+)'", script)
    program = REFERENCE + "type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false;\n"
    for number, (name, members) in enumerate(names.items()):
        assert members
        keys = name if name == "io.TransportType" else f"keyof {name}"
        union = " | ".join(f"'{member}'" for member in members)
        program += f"export const same{number}: Same<{keys}, {union}> = true;\n"
    assert compile("names.ts", program) == [], names
