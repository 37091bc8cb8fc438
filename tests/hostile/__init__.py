"""The hostile suite: what users do by mistake and attackers on purpose, against the real command line.

`make hostile` runs all situations, `make test` the quick ones. A situation (`situation.py`) says what lies in
its folder, which command runs under which conditions, and what its message must name. What holds for every
one is checked by `checks.py`: no traceback, no hang, no status but 0, 2 and 130 (1 of `xfm doctor`), memory
below 4 GiB, nothing lost, overwritten or half-written, no process left behind.
"""
