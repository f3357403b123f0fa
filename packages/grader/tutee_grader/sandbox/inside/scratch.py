"""The scratch folder, as both sides of the sandbox know it: its limits, and how it is emptied."""

import os

BYTES = 16 << 20
FILES = 1024  # files and folders
FILE_BYTES = BYTES // 4  # of one file; and of what a script prints, which goes into one
OPEN_FILES = 32  # of one process
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def clean(path: str, most: int = 4 * FILES) -> bool:
    """Remove what lies in a folder, at most so many entries; whether nothing is left. Raises nothing.

    Folders move up to the top before they are emptied, so that none lies deep: there is no recursion, no long
    path, and each step leaves less for the next try.
    """
    try:
        names = os.listdir(path)
        if not names:
            return True
        top = os.open(path, _FOLDER)
        try:
            return _clean(top, names, most)
        finally:
            os.close(top)
    except OSError:
        return False


def _clean(top: int, waiting: "list[str]", most: int) -> bool:
    taken = set(waiting)
    number = 0
    while waiting and most > 0:
        most -= 1
        folder = waiting.pop()
        if _removed(folder, top):
            continue
        inner = os.open(folder, _FOLDER, dir_fd=top)
        try:
            names = os.listdir(inner)
            for name in names[:most]:
                if not _removed(name, inner):
                    while str(number) in taken:
                        number += 1
                    waiting.append(str(number))
                    number += 1
                    os.rename(name, waiting[-1], src_dir_fd=inner, dst_dir_fd=top)
        finally:
            os.close(inner)
        if len(names) > most:
            return False
        most -= len(names)
        os.rmdir(folder, dir_fd=top)
    return not waiting


def _removed(name: str, parent: int) -> bool:
    """Remove a file; False for a folder, which is opened up instead."""
    try:
        os.unlink(name, dir_fd=parent)
    except IsADirectoryError:
        os.chmod(name, 0o700, dir_fd=parent)
        return False
    return True
