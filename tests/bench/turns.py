# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs on a test host: starts commands in turns and prints how long each took; see row.py.

Reads a JSON list of {argv, count, stdin} and prints, for each, a list of [ms, status, output].
"""

import json
import os
import sys
import time

OUTPUT_MAX = 4096


def run(argv, stdin_path, output):
    source = os.open(stdin_path, os.O_RDONLY)
    os.ftruncate(output, 0)
    os.lseek(output, 0, os.SEEK_SET)
    began = time.monotonic_ns()
    child = os.posix_spawn(argv[0], argv, os.environ, file_actions=[
        (os.POSIX_SPAWN_DUP2, source, 0), (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_DUP2, output, 2)])
    _, status = os.waitpid(child, 0)
    took_ms = (time.monotonic_ns() - began) / 1e6
    os.close(source)
    return (took_ms, os.waitstatus_to_exitcode(status),
            os.pread(output, OUTPUT_MAX, 0).decode(errors="replace"))


def main():
    rows = json.load(sys.stdin)
    output = os.memfd_create("output")
    rounds = max(row["count"] for row in rows)
    done = [[] for _ in rows]
    for turn in range(rounds):
        # Each begins as often as any other: who goes first finds colder caches.
        first = turn % len(rows)
        for row, results in [*zip(rows, done)][first:] + [*zip(rows, done)][:first]:
            if turn * row["count"] // rounds != (turn + 1) * row["count"] // rounds:
                results.append(run(row["argv"], row["stdin"], output))
    json.dump(done, sys.stdout)


if __name__ == "__main__":
    main()
