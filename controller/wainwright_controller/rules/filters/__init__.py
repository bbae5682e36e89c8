"""Filters: conditions on a device's attributes.

For example: `device_type = "pi4" and tags.site in ("north", "south") and mem_mb >= 512`.

docs/filters.md is the language's reference. terms.py is the tree that parser.py makes of lexer.py's words; matching.py
says what it means.
"""

from wainwright_controller.rules.filters.attributes import attributes_of
from wainwright_controller.rules.filters.filter import Filter, parse
from wainwright_controller.rules.filters.index import FilterIndex
from wainwright_controller.rules.filters.matching import Attributes
from wainwright_controller.rules.filters.problems import BadFilter
from wainwright_controller.rules.filters.values import Value

__all__ = ["Attributes", "BadFilter", "Filter", "FilterIndex", "Value", "attributes_of", "parse"]
