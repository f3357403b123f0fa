"""Logs of any format, staged as one table. A format is one file of this folder and one row of FORMATS."""

from pathlib import Path

from tutee_serializer.errors import LogError
from tutee_serializer.logs import falcon, progfeed, progsnap, table
from tutee_serializer.logs.staging import Log, LogFormat, StagedLog

FORMATS: dict[str, LogFormat] = {
    row.name: row for row in (table.FORMAT, progsnap.FORMAT, falcon.FORMAT, progfeed.FORMAT)
}


def read_log(log: Log, scratch: Path) -> StagedLog:
    """Stages a log in the folder `scratch`, which the caller removes when it is done.

    Raises LogError where a file is damaged, a column missing, or there is no row at all.
    """
    staged = FORMATS[log.config.format].read(log, scratch)
    if not any(source.rows for source in staged.sources):
        names = ", ".join(source.name for source in staged.sources)
        raise LogError(f"{names}: the log holds no row; point `logs.path` of {log.file} to one that does")
    return staged
