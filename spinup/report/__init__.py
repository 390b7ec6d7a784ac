"""The report of a run: one HTML file that needs nothing else, and the same numbers as JSON.

reading.py    a store as columns, fields, errors  thinned.py a few evaluations of one in a file
summary.py    the numbers of one run          pairs.py   how far two runs ended from each other
verdict.py    what they mean, in sentences    numbers.py all of it, as JSON
theme.py      colours, light and dark         svg.py     a figure as inline SVG
charts.py     against model years             fields.py  profiles, sections, maps
html.py       the page, from template.html.j2
"""

from spinup.report.html import write_report
from spinup.report.numbers import report_numbers

__all__ = ["report_numbers", "write_report"]
