"""`torchrun` without the seconds that starting it and each process takes: forks that have torch already.

`python -m tests.launching COUNT SCRIPT|-m MODULE WORDS...`, in a process that was forked itself
(`tests.forking`). As torchrun does, it stops the others when one ends with an error.
"""

import os
import runpy
import signal
import socket
import sys
from contextlib import suppress


def main() -> int:
    count = int(sys.argv[1])
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    ranks: set[int] = set()
    for rank in range(count):
        process = os.fork()
        if not process:
            become(rank, count, port)
            return 0
        ranks.add(process)
    failed = False
    while ranks:
        ended, status = os.wait()
        ranks.discard(ended)
        if status and not failed:
            failed = True
            for other in ranks:
                with suppress(ProcessLookupError):
                    os.kill(other, signal.SIGTERM)
    return int(failed)


def become(rank: int, count: int, port: int) -> None:
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in told.items()})
    module = sys.argv[2] == "-m"
    sys.argv = sys.argv[3 if module else 2 :]
    if module:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    sys.exit(main())
