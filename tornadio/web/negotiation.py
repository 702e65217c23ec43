"""Content negotiation: what a client prefers, by its headers ``Accept`` and ``Accept-Encoding`` (RFC 9110, section
12.5). Knows no I/O.
"""

import re
from collections.abc import Iterator
from typing import Final

# What stands between commas, or semicolons, outside of quoted strings. One that is not closed reaches to the end.
_ELEMENT: Final = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*+"?+)++')
_PARAMETER: Final = re.compile(r'(?:[^";]|"(?:[^"\\]|\\.)*+"?+)++')
_WEIGHT: Final = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")  # RFC 9110, section 12.4.2


def accepts_coding(accept_encoding: str, coding: str) -> bool:
    """Whether an ``Accept-Encoding`` header names a content coding, with a weight above zero (section 12.5.3).

    :param coding: in lower case.
    """
    return any(weight > 0 for name, _, weight in _elements(accept_encoding) if name == coding)


def prefers_media_type(accept: str, media_type: str, other: str) -> bool:
    """Whether an ``Accept`` header gives one media type a greater weight than another one (section 12.5.1).

    :param media_type: in lower case and without parameters, as is ``other``.
    """
    return _weight_of(accept, media_type) > _weight_of(accept, other)


def _weight_of(accept: str, media_type: str) -> float:
    """Return the weight of a media type: that of the most specific range that matches it, 0 if none does."""
    ranges = {media_type: 3, f"{media_type.partition('/')[0]}/*": 2, "*/*": 1}
    # A range with parameters is one of representations with these parameters.
    weights = [(ranges[name], weight) for name, is_bare, weight in _elements(accept) if is_bare and name in ranges]
    return max(weights)[1] if weights else 0.0


def _elements(header: str) -> Iterator[tuple[str, bool, float]]:
    """Yield the elements of a header: each one's name in lower case, whether it has no parameter before its weight, and
    the weight. One whose weight is malformed is left out.
    """
    for element in _ELEMENT.findall(header):
        name, *parameters = _PARAMETER.findall(element) or [""]
        is_bare, weight = True, "1"
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "q":
                weight = value.strip()
                break  # what follows is an extension of the header, no parameter of the media type (RFC 7231, 5.3.2)
            is_bare = False
        if _WEIGHT.fullmatch(weight):
            yield name.strip().lower(), is_bare, float(weight)
