"""How a synthetic student writes: names, spaces, quotes, indentation, small idioms. Habits stay.

Solutions are authored once, in canonical names and PEP 8 (`solutions/*.yaml`); `Habits.write` turns one
canonical line into one line of the student's, so line numbers stay what they were.
"""

import re
from dataclasses import dataclass
from random import Random

STYLES = ("each", "index", "while", "short", "long", "flag")

# Each variable of the authored solutions, as four kinds of novices call it.
NAMINGS = ("plain", "brief", "wordy", "camel")
NAMES = {
    "area": ("area", "a", "the_area", "rectArea"),
    "average": ("average", "avg", "mean_value", "meanValue"),
    "backwards": ("backwards", "rev", "reversed_text", "reverseText"),
    "basket": ("basket", "b", "shopping", "myBasket"),
    "best": ("best", "m", "biggest", "maxValue"),
    "by_four": ("by_four", "div4", "divides_by_4", "byFour"),
    "by_hundred": ("by_hundred", "div100", "divides_by_100", "byHundred"),
    "clean": ("clean", "cl", "cleaned_text", "cleanText"),
    "count": ("count", "cnt", "counter", "myCount"),
    "counts": ("counts", "d", "result_dict", "wordCounts"),
    "digits": ("digits", "ds", "digit_text", "allDigits"),
    "evens": ("evens", "ev", "even_numbers", "evenList"),
    "first": ("first", "in1", "first_input", "firstLine"),
    "found": ("found", "f", "vowels_found", "foundList"),
    "grade": ("grade", "g", "letter_result", "myGrade"),
    "height": ("height", "h", "rect_height", "rectHeight"),
    "index": ("index", "i", "position", "idx"),
    "item": ("item", "x", "product", "oneItem"),
    "last": ("last", "ld", "last_digit", "lastDigit"),
    "left": ("left", "lo", "left_index", "leftIndex"),
    "letter": ("letter", "c", "character", "oneChar"),
    "line": ("line", "ln", "current_line", "inputLine"),
    "number": ("number", "n", "the_number", "oneNumber"),
    "numbers": ("numbers", "nums", "list_of_numbers", "numberList"),
    "perimeter": ("perimeter", "p", "the_perimeter", "rectPerimeter"),
    "price": ("price", "pr", "item_price", "itemPrice"),
    "prices": ("prices", "ps", "price_list", "priceList"),
    "rest": ("rest", "r", "other_digits", "otherDigits"),
    "result": ("result", "res", "the_answer", "myResult"),
    "right": ("right", "hi", "right_index", "rightIndex"),
    "score": ("score", "s", "the_score", "myScore"),
    "second": ("second", "in2", "second_input", "secondLine"),
    "text": ("text", "txt", "the_text", "myText"),
    "total": ("total", "tot", "running_total", "mySum"),
    "vowels": ("vowels", "v", "all_vowels", "vowelList"),
    "width": ("width", "w", "rect_width", "rectWidth"),
    "word": ("word", "wd", "each_word", "oneWord"),
    "words": ("words", "ws", "list_of_words", "wordList"),
    "year": ("year", "y", "the_year", "myYear"),
}

COMMENTS = (None, "# {title}", "# my solution", "# voilà")

_TOKEN = re.compile(r'(f?"[^"]*")|([A-Za-z_]\w*)')
_STRING = re.compile(r'(f?"[^"]*"|f?\'[^\']*\')')
_OPERATOR = re.compile(r" *(<=|>=|==|!=|\+=|-=|//|[-+*/%<>=]) ")
_AUGMENTED = re.compile(r"^(\s*)(\w+(?:\[\w+\])?) ([-+])= (.+)$")
_FULL_RANGE = re.compile(r"range\((len\(\w+\))\)")
_RETURN = re.compile(r"^(\s*)return (.+)$")


@dataclass(frozen=True)
class Habits:
    """The writing habits of one student."""

    naming: int  # column of NAMES
    spacing: str  # "even" (PEP 8), "tight" (no blanks at all) or "commas" (none after commas)
    quote: str
    indent: str
    augmented: bool  # `x += 1` rather than `x = x + 1`
    full_range: bool  # `range(0, n)` rather than `range(n)`
    brackets: bool  # `return (x)` rather than `return x`
    comment: str | None  # a first line, `{title}` standing for the assignment's name
    taste: tuple[str, ...]  # STYLES, the dearest first

    @classmethod
    def draw(cls, random: Random) -> "Habits":
        taste = list(STYLES)
        random.shuffle(taste)
        return cls(
            naming=random.choices(range(4), weights=(50, 25, 10, 15))[0],
            spacing=random.choices(("even", "tight", "commas"), weights=(65, 20, 15))[0],
            quote=random.choices(('"', "'"), weights=(65, 35))[0],
            indent=random.choices(("    ", "  ", "\t"), weights=(80, 12, 8))[0],
            augmented=random.random() < 0.6,
            full_range=random.random() < 0.25,
            brackets=random.random() < 0.12,
            comment=random.choices(COMMENTS, weights=(78, 12, 7, 3))[0],
            taste=tuple(taste),
        )

    def write(self, line: str) -> str:
        """One canonical line, as this student writes it."""
        if not self.augmented:
            line = _AUGMENTED.sub(r"\1\2 = \2 \3 \4", line)
        if self.full_range:
            line = _FULL_RANGE.sub(r"range(0, \1)", line)
        if self.brackets:
            line = _RETURN.sub(r"\1return (\2)", line)
        line = _TOKEN.sub(self._rename, line)
        code = line.lstrip(" ")
        depth = (len(line) - len(code)) // 4
        parts = _STRING.split(code)
        parts[0::2] = [self._space(part) for part in parts[0::2]]
        parts[1::2] = [part.replace('"', self.quote) for part in parts[1::2]]
        return self.indent * depth + "".join(parts)

    def _rename(self, token: re.Match[str]) -> str:
        string, name = token.groups()
        if name:
            return NAMES[name][self.naming] if name in NAMES else name
        if string.startswith("f"):
            return re.sub(r"\{[^}]*\}", lambda hole: _TOKEN.sub(self._rename, hole[0]), string)
        return string

    def _space(self, code: str) -> str:
        if self.spacing == "even":
            return code
        code = code.replace(", ", ",")
        return _OPERATOR.sub(r"\1", code) if self.spacing == "tight" else code
