"""Private data in a text: addresses, telephone and account numbers, found by their form."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

# Lengths of the IBAN by country (ISO 13616).
IBAN_LENGTHS = {
    "AT": 20, "BE": 16, "BG": 22, "CH": 21, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "EE": 20, "ES": 24, "FI": 18,
    "FR": 27, "GB": 22, "GR": 27, "HR": 21, "HU": 28, "IE": 22, "IT": 27, "LI": 21, "LT": 20, "LU": 20, "LV": 21,
    "MC": 27, "MT": 31, "NL": 18, "NO": 15, "PL": 28, "PT": 25, "RO": 24, "RS": 22, "SE": 24, "SI": 19, "SK": 24,
    "TR": 26, "UA": 29,
}  # fmt: skip

# Digits beside one of these are a sum of money.
UNITS = "€|EUR|[Ee]uros?|\\$|USD|[Dd]ollars?|£|GBP|[Pp]ounds?|CHF|[Ff]rancs?|Franken|Frang|[Mm]illi|Mio"
NO_UNIT_BEFORE = r"(?<![€$£])(?<![€$£]\s)(?<!EUR\s)(?<!USD\s)(?<!GBP\s)(?<!CHF\s)"
NO_UNIT_AFTER = rf"(?!\s?(?:{UNITS}))"

TOP_LEVEL = "com|net|org|info|biz|eu|lu|fr|de|be|ch|at|nl|co\\.uk|us|gov|edu|io"

DAY, MONTH = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:0?[1-9]|1[0-2])"
DATE = re.compile(
    rf"(?<!\d)(?:{DAY}[./-])?{MONTH}[./-](?:19|20)\d\d(?!\d)|(?<![\d./-]){DAY}[./-]{MONTH}[./-]\d\d(?!\d|[./-]\d)"
)


def _is_iban(found: str) -> bool:
    compact = found.replace(" ", "")
    turned = compact[4:] + compact[:4]
    return int("".join(str(int(letter, 36)) for letter in turned)) % 97 == 1


def _is_national_number(found: str) -> bool:
    return 9 <= sum(map(str.isdigit, found)) <= 12 and not DATE.search(found)


def _accept(found: str) -> bool:  # noqa: ARG001 - one signature a table
    return True


# Kind, pattern, and a second look at what the pattern found. What an earlier row has found, a later one
# does not see. Possessive quantifiers (`{n,m}+`) keep a sum from passing as a shorter number.
PATTERNS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("e-mail address", re.compile(r"[\w.+-]++@[\w-]+(?:\.[\w-]+)+"), _accept),
    (
        "web address",
        re.compile(
            rf"\b(?:https?://|www\.)[^\s<>\"]+|(?<![\w@.-])[A-Za-z0-9][\w-]*(?:\.[\w-]+)*\.(?:{TOP_LEVEL})\b(?:/\S*)?"
        ),
        _accept,
    ),
    (
        "IBAN",
        re.compile(
            r"(?<!\w)(?:" + "|".join(f"{c}(?: ?[0-9A-Z]){{{n - 2}}}" for c, n in IBAN_LENGTHS.items()) + r")(?!\w)"
        ),
        _is_iban,
    ),
    # +352 26 12 34 56, 0049 30 1234567
    (
        "phone number",
        re.compile(rf"(?<![\w+])(?:\+|00)[ .]?[1-9](?:[ ./()-]{{0,3}}\d){{7,13}}+(?![ ./-]?\d){NO_UNIT_AFTER}"),
        _accept,
    ),
    # 06 12 34 56 78, 0221/123456, 0475 12 34 56, 044 123 45 67, 020 7946 0000
    (
        "phone number",
        re.compile(r"(?<![\w.,/+-])\(?0[1-9]\d{0,9}+\)?(?:[ ./-]{1,3}\d{2,8}+)*+"),
        _is_national_number,
    ),
    # Luxembourg: 621 123 456
    (
        "phone number",
        re.compile(rf"{NO_UNIT_BEFORE}(?<![\w.,])6[25679]1[ .-]\d{{3}}[ .-]\d{{3}}(?![ .,-]?\d){NO_UNIT_AFTER}"),
        _accept,
    ),
    # United States: (212) 555-0100
    (
        "phone number",
        re.compile(r"(?<![\w.,])(?:\([2-9]\d\d\) ?|[2-9]\d\d[ .-])\d{3}[ .-]\d{4}(?![\d.,]\d|\d)"),
        _accept,
    ),
    # Short local numbers, known by the word before them.
    (
        "phone number",
        re.compile(
            r"(?i:\b(?:t[eé]l|t[eé]l[eé](?:f|ph)on\w*|phone|handy|gsm|mobile|portable|whatsapp|fax)\b"
            r"(?:[ .:]{1,3}(?:n°|no|nr|number|num[eé]ro|nummer)\b)?[ .:]{1,4})"
            rf"\(?\d(?:[ ./()-]{{0,2}}\d){{5,13}}+{NO_UNIT_AFTER}"
        ),
        _accept,
    ),
    ("long number", re.compile(r"(?<!\d)\d{7,}"), _accept),
)


def find_private(text: str) -> Iterator[tuple[int, str]]:
    """Yield offset and kind of everything in a text that looks like private data, in order of kinds."""
    for kind, pattern, accept in PATTERNS:
        for match in pattern.finditer(text):
            if accept(match[0]):
                yield match.start(), kind
                text = text[: match.start()] + " " * len(match[0]) + text[match.end() :]
