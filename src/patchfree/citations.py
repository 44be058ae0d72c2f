"""The references of the methods that a run used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from patchfree.errors import RunError

if TYPE_CHECKING:
    from patchfree.run import Run

METHODS: dict[str, str] = {
    "freenet": (
        "Z. Zheng, Y. Zhong, A. Ma, L. Zhang (2020). FPGA: Fast Patch-Free Global Learning Framework for Fully End-to-End "
        "Hyperspectral Image Classification. IEEE Transactions on Geoscience and Remote Sensing 58(8), 5612-5626. "
        "doi:10.1109/TGRS.2020.2967821"
    ),
    "group-norm": "Y. Wu, K. He (2018). Group Normalization. ECCV.",
    "squeeze-excitation": "J. Hu, L. Shen, G. Sun (2018). Squeeze-and-Excitation Networks. CVPR.",
    "adamw": "I. Loshchilov, F. Hutter (2019). Decoupled Weight Decay Regularization. ICLR.",
    "one-cycle": "L. N. Smith, N. Topin (2019). Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates. SPIE 11006.",
    "label-smoothing": "C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens, Z. Wojna (2016). Rethinking the Inception Architecture for Computer Vision. CVPR.",
    "logit-adjustment": "A. K. Menon et al. (2021). Long-tail learning via logit adjustment. ICLR.",
    "temperature": "C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger (2017). On Calibration of Modern Neural Networks. ICML.",
    "blocks": (
        "D. R. Roberts et al. (2017). Cross-validation strategies for data with temporal, spatial, hierarchical, or phylogenetic "
        "structure. Ecography 40(8), 913-929."
    ),
    "kappa": "J. Cohen (1960). A Coefficient of Agreement for Nominal Scales. Educational and Psychological Measurement 20(1), 37-46.",
    "svm": "F. Melgani, L. Bruzzone (2004). Classification of hyperspectral remote sensing images with support vector machines. IEEE TGRS 42(8), 1778-1790.",
    "rf": "L. Breiman (2001). Random Forests. Machine Learning 45, 5-32.",
    "indian-pines": (
        "M. F. Baumgardner, L. L. Biehl, D. A. Landgrebe (2015). 220 Band AVIRIS Hyperspectral Image Data Set: June 12, 1992 Indian "
        "Pine Test Site 3. Purdue University Research Repository. doi:10.4231/R7RX991C"
    ),
}
"""Every method by name. Adding one is one line."""


def references(metrics: dict[str, Any]) -> list[str]:
    """References of the methods behind a run, from its `metrics.json`."""
    recipe = metrics["recipe"]
    used = [recipe["model"], "group-norm", "squeeze-excitation"]
    used += ["adamw"] if recipe["optimiser"] == "adamw" else []
    used += ["one-cycle"] if recipe["schedule"] == "one-cycle" else []
    used += ["label-smoothing"] if recipe["label_smoothing"] else []
    used += ["logit-adjustment"] if recipe["prior"] else []
    used += ["temperature"] if metrics["calibration"]["temperature"] is not None else []
    used += ["blocks", "kappa"]
    used += [control["name"] for control in metrics["controls"]]
    used += ["indian-pines"] if metrics["scene"]["name"] == "Indian Pines" else []
    return [METHODS[name] for name in used]


def cite(run: Run) -> str:
    """The references of the methods that a run used, one a line.

    Raises:
        RunError: the run has no record of its methods.
    """
    if not run.metrics:
        raise RunError(
            f"{run.folder or 'The run'} has no metrics.json, which says what methods it used. Train the run again."
        )
    return "\n".join(references(run.metrics))
