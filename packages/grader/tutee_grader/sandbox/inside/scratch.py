"""The scratch folder, as both sides of the sandbox know it: its limits, and how it is emptied."""

import os

BYTES = 16 << 20
FILES = 1024  # files and folders
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


def _clean(top: int, names: "list[str]", most: int) -> bool:
    taken = set(names)
    folders = [name for name in names[:most] if not _removed(name, top)]
    most -= len(names)
    number = 0
    while folders and most > 0:
        folder = folders.pop()
        inner = os.open(folder, _FOLDER, dir_fd=top)
        try:
            names = os.listdir(inner)
            for name in names[:most]:
                if not _removed(name, inner):
                    while str(number) in taken:
                        number += 1
                    folders.append(str(number))
                    number += 1
                    os.rename(name, folders[-1], src_dir_fd=inner, dst_dir_fd=top)
            most -= len(names)
        finally:
            os.close(inner)
        if most >= 0:
            os.rmdir(folder, dir_fd=top)
    return not folders and most >= 0


def _removed(name: str, parent: int) -> bool:
    """Remove a file; False for a folder, which is opened up instead."""
    try:
        os.unlink(name, dir_fd=parent)
    except IsADirectoryError:
        os.chmod(name, 0o700, dir_fd=parent)
        return False
    return True
