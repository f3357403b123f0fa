"""Change what lies outside."""

from tutee_grader.attacks.attack import SYSCALL, Attack
from tutee_grader.verdict import Outcome

TOUCHING = (
    Attack("write outside", "def answer(*_):\n    open('@FILE@', 'w').write('x')\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("empty a file outside", SYSCALL + "import os\ndef answer(*_):\n    os.open('@FILE@', os.O_RDONLY | os.O_TRUNC)\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("shorten a file outside", "import os\ndef answer(*_):\n    os.truncate('@FILE@', 0)\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("remove a file outside", "import os\ndef answer(*_):\n    os.remove('@FILE@')\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("rename a file outside", "import os\ndef answer(*_):\n    os.rename('@FILE@', 'mine')\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("change a file's mode outside", "import os\ndef answer(*_):\n    os.chmod('@FILE@', 0)\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("change a file's times outside", "import os\ndef answer(*_):\n    os.utime('@FILE@', (0, 0))\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("make a file outside", "def answer(*_):\n    open('@FOLDER@/new', 'w').write('x')\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("poison Python's library", "import os, random\ndef answer(*_):\n    with open(random.__file__, 'a') as file: file.write('')\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("poison a compiled module", "import os, random\ndef answer(*_):\n    with open(os.path.dirname(random.__file__) + '/__pycache__/evil.pyc', 'w'): pass\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("make a device", "import os, stat\ndef answer(*_):\n    os.mknod('disk', 0o600 | stat.S_IFBLK, os.makedev(8, 0))\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("make a pipe", "import os\ndef answer(*_):\n    os.mkfifo('pipe')\n    return open('pipe').read()", outcome=Outcome.ERROR),
    Attack("set the clock", "import time\ndef answer(*_):\n    time.clock_settime(time.CLOCK_REALTIME, 0)\n    return '@SECRET@'", outcome=Outcome.ERROR),
)  # fmt: skip
