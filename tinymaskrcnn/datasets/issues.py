"""What can be wrong with a data set: one record for each finding; its level is the consequence.

`CocoFile` collects the findings, `CocoDataset` acts on them and `tinymaskrcnn check-data` prints
them. All three use the same records, so they never disagree.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

REFUSED = "refused"  # the file contradicts itself: it gives no data set
LEFT_OUT = "left out"  # the object cannot be trained on
INCOMPLETE = "incomplete"  # filled in from the mask; pycocotools' evaluation would fail
ODD = "odd"  # used as it is
ERRORS = (REFUSED, LEFT_OUT, INCOMPLETE)
EXAMPLES = 5


@dataclass(frozen=True)
class Issue:
    """One thing that is wrong.

    Attributes:
        level: REFUSED, LEFT_OUT, INCOMPLETE or ODD.
        kind: the same words for all issues of this kind.
        where: the place, such as "annotation 12".
        detail: what is particular to this one, if the kind does not say it all.
        annotation, image: the id of the annotation or image that is wrong, if it is one of these.
    """

    level: str
    kind: str
    where: str
    detail: str = ""
    annotation: Any = None
    image: Any = None

    def __str__(self) -> str:
        return f"{self.where}: {self.detail or self.kind}"


def by_kind(issues: Iterable[Issue]) -> dict[str, list[Issue]]:
    """The issues grouped by kind, in order of first appearance."""
    kinds: dict[str, list[Issue]] = {}
    for issue in issues:
        kinds.setdefault(issue.kind, []).append(issue)
    return kinds


def examples(issues: list[Issue], with_details: bool = False) -> str:
    """The places of the first few, such as "annotation 3, annotation 5, ...".

    A detail that all of them share is given once.
    """
    shown = issues[:EXAMPLES]
    details = list(dict.fromkeys(issue.detail for issue in shown)) if with_details else [""]
    one_by_one = with_details and len(details) > 1
    places = [f"{d.where} ({d.detail})" if one_by_one and d.detail else d.where for d in shown]
    more = ", ..." if len(issues) > len(shown) else ""
    shared = f" ({details[0]})" if not one_by_one and details[0] else ""
    return ", ".join(places) + more + shared


def brief(value: object) -> str:
    """A value as Python writes it, shortened if it is long."""
    return _repr.repr(value)


_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 60
