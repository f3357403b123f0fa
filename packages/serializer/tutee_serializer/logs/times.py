"""Reads the times of a log, whatever their form."""

import polars as pl

_DATE = r"^(\d{4}-\d{2}-\d{2})"
_CLOCK = r"[T ](\d{2}:\d{2})(:\d{2})?(\.\d+)?"
_NAIVE = "%Y-%m-%dT%H:%M:%S%.f"
_ZONE = r" ?(Z|UTC|[+-]\d{2}:?\d{2})$"


def read_times(text: pl.Expr, timezone: str, formats: list[str]) -> pl.Expr:
    """Moments in UTC; null where the text has none of the forms.

    Forms: the strptime `formats` first, if any; ISO 8601 with a zone; ISO 8601 without one (or a bare date),
    read in `timezone`, the earlier of two where clocks were set back; seconds, milliseconds or microseconds
    since 1970.
    """
    with_zone = text.str.replace(_DATE + _CLOCK + _ZONE, "${1}T${2}${3}!${4}|${5}")
    without_zone = text.str.replace(_DATE + "$", "${1}T00:00").str.replace(
        _DATE + _CLOCK + "$", "${1}T${2}${3}!${4}"
    )
    return pl.coalesce(
        *(_written(text, one, timezone) for one in formats),
        _seconds_added(with_zone)
        .str.replace(r"\|(Z|UTC)$", "|+00:00")
        .str.to_datetime(_NAIVE + "|%z", time_unit="us", strict=False)
        .dt.convert_time_zone("UTC"),
        _local(
            _seconds_added(without_zone).str.to_datetime(
                "%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False
            ),
            timezone,
        ),
        _since_1970(text, r"^\d{8,10}(\.\d+)?$", 1_000_000),
        _since_1970(text, r"^\d{12,13}$", 1_000),
        _since_1970(text, r"^\d{15,16}$", 1),
    )


def _seconds_added(text: pl.Expr) -> pl.Expr:
    return text.str.replace(r"(T\d{2}:\d{2})!", "${1}:00!").str.replace("!", "", literal=True)


def _written(text: pl.Expr, form: str, timezone: str) -> pl.Expr:
    if "%z" in form or "%Z" in form or "%#z" in form:
        return text.str.to_datetime(form, time_unit="us", strict=False).dt.convert_time_zone("UTC")
    return _local(text.str.to_datetime(form, time_unit="us", strict=False), timezone)


def _local(times: pl.Expr, timezone: str) -> pl.Expr:
    return times.dt.replace_time_zone(
        timezone, ambiguous="earliest", non_existent="null"
    ).dt.convert_time_zone("UTC")


def _since_1970(text: pl.Expr, pattern: str, unit: int) -> pl.Expr:
    number = pl.when(text.str.contains(pattern)).then(text).cast(pl.Float64, strict=False)
    return pl.from_epoch((number * unit).round().cast(pl.Int64), time_unit="us").dt.replace_time_zone("UTC")
