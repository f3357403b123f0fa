"""A file system of its own for the scratch: in memory, mounted where nobody outside this sandbox sees it.

The kernel counts every byte, file and folder in it, unlinked ones too, and drops it whole when the sandbox
ends. Root mounts it in a mount namespace; an ordinary user first needs a user namespace, in which nothing but
that happens before the zygote drops all capabilities.
Sources: mount(2), unshare(2), user_namespaces(7), tmpfs(5).
"""

import ctypes
import os

import scratch

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWUSER = 0x00020000, 0x04000000, 0x10000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_SLAVE = 2, 4, 8, 16384, 1 << 19


def mount_scratch(place: str) -> None:
    """Mount an empty, limited file system at this folder, for this process and its children alone.

    Raises OSError where the kernel refuses; this process may then be in namespaces of its own all the same.
    """
    if os.path.realpath(os.__file__).startswith(place + "/"):
        raise OSError(f"Python lies in {place}")
    try:
        _unshare(_CLONE_NEWNS | _CLONE_NEWUTS)
    except PermissionError:
        _become_user_who_may_mount()
    _libc.sethostname(b"sandbox", ctypes.c_size_t(7))
    # What happens outside still comes in (a disk that is unmounted goes), but nothing gets out.
    _done("mount", _libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_SLAVE), None))
    options = f"size={scratch.BYTES},nr_inodes={scratch.FILES},mode=0700".encode()
    flags = ctypes.c_ulong(_MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    _done("mount", _libc.mount(b"scratch", os.fsencode(place), b"tmpfs", flags, options))


def _become_user_who_may_mount() -> None:
    """Enter a user namespace as the same user and group; there are no others in it."""
    user, group = os.geteuid(), os.getegid()
    if not os.path.exists("/proc/self/uid_map"):
        raise OSError("without /proc no user namespace can be used")
    _unshare(_CLONE_NEWUSER | _CLONE_NEWNS | _CLONE_NEWUTS)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _unshare(namespaces: int) -> None:
    _done("unshare", _libc.unshare(namespaces))


def _done(call: str, result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{call}: {os.strerror(code)}")
