"""Words for how many, of what, and when: numbers, units, dates and relative times. Tables and nothing else."""

from __future__ import annotations

from typing import Final

from fastclient.cache.guards.listed import listed

__all__ = ["ALONE_UNITS", "DAYS", "DIGITS", "MONTHS", "RELATIVE", "TENS", "UNITS", "VAGUE", "Words"]

Words = dict[str, str]
"""A word and what it stands for."""

_DIGITS: Final = """
zero, one first once single, two twice double couple pair, three third thrice triple, four fourth, five fifth, six
sixth, seven seventh, eight eighth, nine ninth, ten tenth, eleven eleventh, twelve twelfth dozen, thirteen,
fourteen, fifteen, sixteen, seventeen, eighteen, nineteen
""".strip()
_TENS: Final = "twenty, thirty, forty, fifty, sixty, seventy, eighty, ninety"

DIGITS: Final[dict[str, int]] = {
    word: value for value, words in enumerate(_DIGITS.split(",")) for word in words.split()
}
"""Numbers below twenty; `second` is left out, being a unit as often."""

TENS: Final[dict[str, int]] = {
    **{word: 10 * value for value, word in enumerate(_TENS.split(", "), start=2)},
    "hundred": 100,
    "thousand": 1000,
    "million": 1_000_000,
    "billion": 1_000_000_000,
}
"""The tens, and what multiplies the number before it."""

VAGUE: Final = listed("one first once single couple pair 1")
"""Numbers that people leave out or put in without meaning any: they disagree with others, but need no partner."""


def _spelt(lines: str) -> Words:
    """Each line is a name and its spellings; the name is one of them."""
    return {word: line.split()[0] for line in lines.strip().splitlines() for word in line.split()}


UNITS: Final = _spelt("""
kg kgs kilo kilos kilogram kilograms
g gram grams gr
mg milligram milligrams
lb lbs
pound pounds
oz ounce ounces
ton tons tonne tonnes
l liter liters litre litres
ml milliliter milliliters millilitre millilitres
gallon gallons gal
km kilometer kilometers kilometre kilometres kms
m meter meters metre metres
cm centimeter centimeters centimetre centimetres
mm millimeter millimeters millimetre millimetres
mile miles mi
ft foot feet
inch inches in
yard yards yd
tb terabyte terabytes
gb gigabyte gigabytes gig gigs gib
mb megabyte megabytes mib meg
kb kilobyte kilobytes kib
byte bytes
mbps mbit megabits
gbps gbit gigabits
kwh
watt watts w kw
volt volts v
celsius c
fahrenheit f
ms millisecond milliseconds
second seconds sec secs s
minute minutes min mins
hour hours hourly hr hrs h
day days daily
week weeks weekly wk wks
month months monthly
year years yearly annual annually annum yr yrs
usd dollar dollars bucks buck $
eur euro euros €
gbp quid sterling £
yen jpy ¥
cent cents
franc francs chf
rupee rupees inr
percent percentage pct %
degree degrees °
calorie calories kcal
dpi
px pixel pixels
hz
ghz
mhz
""")

ALONE_UNITS: Final = frozenset(
    word
    for word in UNITS
    if len(word) > 2 and word not in {"min", "sec", "gal", "gig", "meg", "foot", "yard", "second", "buck"}
) | {"$", "€", "£", "¥", "%"}
"""Units that are one even without a number beside them; `in`, `m` or `second` need one."""

MONTHS: Final[Words] = {
    **_spelt("""
january jan
february feb
march
april apr
may
june jun
july jul
august aug
september sep sept
october oct
november nov
december dec
""")
}
DAYS: Final[Words] = {
    **_spelt("""
monday mon mondays
tuesday tue tues tuesdays
wednesday weds wednesdays
thursday thu thur thurs thursdays
friday fri fridays
saturday saturdays
sunday sundays
weekend weekends
weekday weekdays workday workdays
christmas xmas
easter
thanksgiving
halloween
ramadan
spring springtime
summer summertime
autumn
winter wintertime
""")
}

RELATIVE: Final[Words] = _spelt("""
today
tonight
tomorrow
yesterday
currently current nowadays presently
last previous past
next upcoming following
ago
formerly former
""")
"""Times seen from now."""
