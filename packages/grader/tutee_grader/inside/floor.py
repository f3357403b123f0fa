"""The floor of the bench: a bare fork of a warm interpreter that executes programs; no tests, no isolation.

    python -s -S -P floor.py < marshalled list of (form, source, inputs)

Prints the wall and the CPU seconds that it took, its own start left out.
"""

import io
import marshal
import os
import resource
import sys
import time
import types

# What the zygote has loaded and done, so that both fork the same interpreter.
import rehearsal
import zygote


def main() -> None:
    programs = marshal.loads(sys.stdin.buffer.read())
    silent = io.StringIO()
    rehearsal.rehearse(None)
    zygote.settle()
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
                    except BaseException:
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
