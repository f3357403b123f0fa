"""The lower bound: a bare fork of a warm interpreter that executes programs; no tests, no isolation.

    python -s -S -P fork.py < marshalled list of (form, source, inputs)

Runs as a script with tutee_grader/sandbox/inside on its path. Prints the wall and the CPU seconds that it
took, without its own start.
"""

import io
import marshal
import os
import resource
import sys
import time
import types

# Loads and warms up what the zygote does, so that both fork the same interpreter.
import student
import warm_up
import zygote


def main() -> None:
    programs = marshal.loads(sys.stdin.buffer.read())
    silent = io.StringIO()
    warm_up.warm_up(student)
    zygote.freeze_memory()
    wall_s, cpu_s = time.perf_counter(), _cpu_s()
    for form, source, inputs in programs:
        child = os.fork()
        if child == 0:
            try:
                sys.stdout = silent
                code = compile(source, "program.py", "exec")
                for stdin in inputs if form == "stdio" else [""]:
                    sys.stdin = io.StringIO(stdin)
                    try:
                        exec(code, types.ModuleType("__main__").__dict__)
                    except BaseException:  # noqa: BLE001 - a student's program may raise anything
                        continue
            finally:
                os._exit(0)
        os.waitpid(child, 0)
    os.write(1, f"{time.perf_counter() - wall_s} {_cpu_s() - cpu_s}".encode())


def _cpu_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
