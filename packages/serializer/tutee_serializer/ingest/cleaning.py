"""The rules of `logs.clean`: what exports do to programs, undone or left out, and where a rule would help.

None is on by itself: only who knows the export can say that its students did not write it so.
"""

from collections.abc import Collection, Iterator

import polars as pl

from tutee_serializer.programs import parse

# So many of the longest programs are parsed to see whether the export cut them.
LOOKED_AT = 100
# Students rarely do the same odd thing so often: from so many programs on, it is taken for the export's.
FEWEST = 5

_LAST = r"\\+(\s*)\z"
_EVERY_LINE = r"\A(?:[^\n]*\\[ \t]*\n)+[^\n]*\\\s*\z"
_LINE_END = r"(?m)\\+([ \t]*)$"


def clean(rows: pl.LazyFrame, rules: Collection[str], truncated: pl.DataFrame) -> pl.LazyFrame:
    """Applies `rules` to the column `code`: `cleaned` says where it changed, `truncated` what goes.

    `truncated` is what `find_truncated` finds in the whole log.
    """
    if "truncated" in rules:
        marks = truncated.with_columns(truncated=True).lazy()
        rows = rows.join(marks, on=["source", "code"], how="left", maintain_order="left")
        rows = rows.with_columns(pl.col("truncated").fill_null(False))
    else:
        rows = rows.with_columns(truncated=False)
    if "trailing_backslash" not in rules:
        return rows.with_columns(cleaned=False)
    ends = pl.col("code").str.contains(_LAST).fill_null(False)
    return rows.with_columns(without_trailing_backslashes(pl.col("code")), ends.alias("cleaned"))


def without_trailing_backslashes(code: pl.Expr) -> pl.Expr:
    """Programs without the backslashes at their end, where Python allows none.

    Where every line ends with one, the last included, they go from every line. A backslash that continues
    a line of another program stays.
    """
    return (
        pl.when(code.str.contains(_EVERY_LINE))
        .then(code.str.replace_all(_LINE_END, "${1}"))
        .otherwise(code.str.replace(_LAST, "${1}"))
    )


def find_truncated(rows: pl.LazyFrame) -> pl.DataFrame:
    """The programs that were cut at the column limit of their file, with columns `source` and `code`.

    They are all that are as long as the longest of the file, if at least FEWEST of these, of LOOKED_AT
    different ones, are no Python. The length is in characters or bytes; line breaks and tabs count once, or
    twice as in exports that write them as two characters.
    """
    code = pl.col("code")
    characters, breaks = code.str.len_chars(), code.str.count_matches("\n", literal=True)
    tabs = code.str.count_matches("\t", literal=True)
    found = [pl.DataFrame(schema={"source": pl.String, "code": pl.String})]
    for length in (characters, code.str.len_bytes(), characters + breaks, characters + breaks + tabs):
        longest = rows.group_by("source").agg(length.max().alias("longest")).collect(engine="streaming")
        of_it = rows.join(longest.lazy(), on="source").filter(length == pl.col("longest"))
        programs = of_it.select("source", "code").unique().collect(engine="streaming")
        for same in programs.sort("code").partition_by("source"):
            if sum(parse(one) is None for one in same["code"].head(LOOKED_AT)) >= FEWEST:
                found.append(same)
    return pl.concat(found).unique()


def suggest(rows: pl.LazyFrame, applied: Collection[str]) -> Iterator[str]:
    """A line for each rule that is not `applied` and that at least FEWEST programs call for."""
    cut = rows.join(find_truncated(rows).lazy(), on=["source", "code"], how="semi")
    ends = rows.filter(pl.col("code").str.contains(_LAST))
    counts = {
        "trailing_backslash": (_height(ends), "end with a backslash"),
        "truncated": (_height(cut), "are as long as the longest one, and so perhaps cut short"),
    }
    for rule, (count, what) in counts.items():
        if rule not in applied and count >= FEWEST:
            yield f"{count:,} programs {what}: write `logs: {{clean: [{', '.join([*applied, rule])}]}}`"


def _height(rows: pl.LazyFrame) -> int:
    height: int = rows.select(pl.len()).collect(engine="streaming").item()
    return height
