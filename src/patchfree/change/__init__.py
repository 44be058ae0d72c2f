"""Change detection: two dates of one place in; a score, a map and its uncertainty out.

A pair of scenes is one scene with the bands of both dates (`pair.py`), so everything that a scene can do, a pair can. Without
labels, a method (`_contract.py`) scores how likely each pixel has changed. Adding one is one file and one line here.
"""

from __future__ import annotations

from patchfree.change._contract import ChangeMethod
from patchfree.change.cva import ChangeVector
from patchfree.change.ir_mad import IRMAD
from patchfree.change.ir_mad_context import ContextIRMAD
from patchfree.change.pca_kmeans import PCAKMeans
from patchfree.change.sfa import SlowFeatures

DEFAULT = "ir-mad-context"

METHODS: dict[str, type[ChangeMethod]] = {
    "cva": ChangeVector,
    "ir-mad": IRMAD,
    "ir-mad-context": ContextIRMAD,
    "pca-kmeans": PCAKMeans,
    "sfa": SlowFeatures,
}
"""Every method without labels, by name."""
