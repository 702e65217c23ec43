"""The fuzzer: searches for bytes that break what `tests/fuzz/targets.py` says, guided by the branches that they reach.

It needs atheris, which has wheels for Linux on x86-64 alone and so is no part of what the tests need. In a virtual
environment of its own, from the repository's root:

    python3 -m venv .venvs/fuzz && .venvs/fuzz/bin/pip install --editable '.[fuzz]'
    .venvs/fuzz/bin/python -m tests.fuzz.fuzz_protocol -max_total_time=600 -max_len=512 FOUND tests/fuzz/corpus

The arguments are libFuzzer's. What is new goes to the directory FOUND, which has to exist. With the arguments `-merge=1
-use_counters=0 NEW FOUND tests/fuzz/corpus` it leaves in NEW the smallest set that reaches as much: a new corpus. What
breaks is written to a file `crash-...`; it becomes a test with a name, and the file goes to the corpus as `found-...`.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["tornadio", "tests.fuzz.targets"]):
    from tests.fuzz import targets


def main() -> None:
    # What libFuzzer starts for a merge: it takes argv[0] for a program.
    program = f"{sys.executable} -m tests.fuzz.fuzz_protocol"
    atheris.Setup([program, *sys.argv[1:]], targets.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
