"""A fair, repeatable comparison of methods: scenes, protocols, methods, seeds in; a table with intervals out.

The tree is the pipeline: `scenes` and `protocols` say what is mapped and which pixels may be learnt, `methods` holds what
is compared, `cell` does one method on one split in a process of its own, `tasks` says how it is scored, `runner` does all
of them and resumes, `summary` sums up, `tables` and `page` show it.

A method is a function `fit(training) -> Fitted`; a file with such a function joins the comparison
(docs/comparing.md).
"""

from patchfree.benchmark.method import Fitted, Training

__all__ = ["Fitted", "Training"]
