"""The program: `xfm`, or `python -m xfm`."""

import sys


def program() -> int:
    """Run the command line; a Ctrl-C while its first modules are imported is no traceback either.

    Nor is one before `main` listens, or after.
    """
    if "--debug" not in sys.argv:
        sys.unraisablehook = lambda _: None  # a Ctrl-C while objects are freed
    try:
        from xfm.cli.main import main

        return main()
    except KeyboardInterrupt:
        print("\nxfm: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    raise SystemExit(program())
