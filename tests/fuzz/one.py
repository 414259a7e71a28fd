"""One target under libFuzzer: ``python -m tests.fuzz.one TARGET [OPTION...] FOLDER...``

Instrumented are our own code and the parsers that are written in Python.
"""

import sys

import atheris

INSTRUMENTED = [
    "atpn",
    "PIL",
    "starlette.formparsers",
    "starlette.requests",
    "python_multipart",
    "json",
    "email",
]


def main() -> None:
    """Fuzz until an option ends it, or an input is found that the target is not content with."""
    name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=INSTRUMENTED):
        from tests.fuzz.corpus import TARGETS  # noqa: PLC0415 - instrumented while it is imported
        from tests.fuzz.target import opened  # noqa: PLC0415
    target = TARGETS[name]

    def mutated(data: bytes, most: int, _: int) -> bytes:
        return target.mend(atheris.Mutate(data, most))[:most]

    itself = f"{sys.executable} -m tests.fuzz.one {name}"  # what libFuzzer starts to merge
    with opened(target) as check:
        atheris.Setup([itself, *options], check, custom_mutator=mutated)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
