"""Starts programs and measures them, in a process of its own that stays small.

The kernel counts the memory of the process that starts a program towards the program's own peak; so
what starts them must be smaller than all of them. It reads (argv, env, log) from standard input,
writes the pid and then (wall, user, system, peak in KiB, exit status), all as marshal.
"""

import os
import sys
from marshal import dump, load
from time import perf_counter

requests, answers = sys.stdin.buffer, sys.stdout.buffer
while True:
    try:
        argv, env, log = load(requests)
    except (EOFError, KeyboardInterrupt):
        break
    to = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, to, 1),
        (os.POSIX_SPAWN_DUP2, to, 2),
    ]
    began = perf_counter()
    pid = os.posix_spawn(argv[0], argv, env, file_actions=actions, setsid=True)
    dump(pid, answers)
    answers.flush()
    _, status, used = os.wait4(pid, 0)
    wall = perf_counter() - began
    os.close(to)
    result = (wall, used.ru_utime, used.ru_stime, used.ru_maxrss, os.waitstatus_to_exitcode(status))
    dump(result, answers)
    answers.flush()
