"""The references of the methods that a run used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patchfree.errors import RunError
from patchfree.models import MODELS

if TYPE_CHECKING:
    from patchfree.run import Run

METHODS: dict[str, str] = {
    "freenet": (
        "Z. Zheng, Y. Zhong, A. Ma, L. Zhang (2020). FPGA: Fast Patch-Free Global Learning Framework for Fully End-to-End "
        "Hyperspectral Image Classification. IEEE Transactions on Geoscience and Remote Sensing 58(8), 5612-5626. "
        "doi:10.1109/TGRS.2020.2967821"
    ),
    "noise-adjusted": (
        "A. A. Green, M. Berman, P. Switzer, M. D. Craig (1988). A transformation for ordering multispectral data in terms of image "
        "quality with implications for noise removal. IEEE TGRS 26(1), 65-74. doi:10.1109/36.3001"
    ),
    "principal-components": (
        "H. Hotelling (1933). Analysis of a Complex of Statistical Variables into Principal Components. Journal of Educational Psychology 24(6), "
        "417-441."
    ),
    "group-norm": "Y. Wu, K. He (2018). Group Normalization. ECCV.",
    "squeeze-excitation": "J. Hu, L. Shen, G. Sun (2018). Squeeze-and-Excitation Networks. CVPR.",
    "spectral-network": (
        "J. A. Benediktsson, P. H. Swain, O. K. Ersoy (1990). Neural Network Approaches Versus Statistical Methods in Classification of "
        "Multisource Remote Sensing Data. IEEE TGRS 28(4), 540-552."
    ),
    "network-ensemble": "L. K. Hansen, P. Salamon (1990). Neural Network Ensembles. IEEE TPAMI 12(10), 993-1001.",
    "random-walks": (
        "X. Kang, S. Li, L. Fang, M. Li, J. A. Benediktsson (2015). Extended Random Walker-Based Classification of Hyperspectral Images. "
        "IEEE TGRS 53(1), 144-153. doi:10.1109/TGRS.2014.2319373"
    ),
    "adamw": "I. Loshchilov, F. Hutter (2019). Decoupled Weight Decay Regularization. ICLR.",
    "one-cycle": "L. N. Smith, N. Topin (2019). Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates. SPIE 11006.",
    "distillation": "G. Hinton, O. Vinyals, J. Dean (2015). Distilling the Knowledge in a Neural Network. arXiv:1503.02531.",
    "label-smoothing": "C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens, Z. Wojna (2016). Rethinking the Inception Architecture for Computer Vision. CVPR.",
    "logit-adjustment": "A. K. Menon et al. (2021). Long-tail learning via logit adjustment. ICLR.",
    "temperature": "C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger (2017). On Calibration of Modern Neural Networks. ICML.",
    "blocks": (
        "D. R. Roberts et al. (2017). Cross-validation strategies for data with temporal, spatial, hierarchical, or phylogenetic "
        "structure. Ecography 40(8), 913-929."
    ),
    "fc-siam": "R. C. Daudt, B. Le Saux, A. Boulch (2018). Fully Convolutional Siamese Networks for Change Detection. IEEE ICIP, 4063-4067.",
    "u-net": "O. Ronneberger, P. Fischer, T. Brox (2015). U-Net: Convolutional Networks for Biomedical Image Segmentation. MICCAI.",
    "ar-cdnet": (
        "Z. Li et al. (2023). Towards Accurate and Reliable Change Detection of Remote Sensing Images via Knowledge Review and Online "
        "Uncertainty Estimation. arXiv:2305.19513"
    ),
    "resnet-d": "T. He et al. (2019). Bag of Tricks for Image Classification with Convolutional Neural Networks. CVPR.",
    "pyramid-pooling": "H. Zhao, J. Shi, X. Qi, X. Wang, J. Jia (2017). Pyramid Scene Parsing Network. CVPR.",
    "conformal": "V. Vovk, A. Gammerman, G. Shafer (2005). Algorithmic Learning in a Random World. Springer.",
    "class-conditional": (
        "M. Sadinle, J. Lei, L. Wasserman (2019). Least Ambiguous Set-Valued Classifiers With Bounded Error Levels. Journal of the "
        "American Statistical Association 114(525), 223-234."
    ),
    "kappa": "J. Cohen (1960). A Coefficient of Agreement for Nominal Scales. Educational and Psychological Measurement 20(1), 37-46.",
    "svm": "F. Melgani, L. Bruzzone (2004). Classification of hyperspectral remote sensing images with support vector machines. IEEE TGRS 42(8), 1778-1790.",
    "rf": "L. Breiman (2001). Random Forests. Machine Learning 45, 5-32.",
    "rx": (
        "I. S. Reed, X. Yu (1990). Adaptive multiple-band CFAR detection of an optical pattern with unknown spectral distribution. IEEE "
        "Transactions on Acoustics, Speech, and Signal Processing 38(10), 1760-1770. doi:10.1109/29.60107"
    ),
    "dual-window": (
        "H. Kwon, S. Z. Der, N. M. Nasrabadi (2003). Adaptive anomaly detection using subspace separation for hyperspectral imagery. "
        "Optical Engineering 42(11), 3342-3351."
    ),
    "subspace-rx": "A. Schaum (2004). Joint subspace detection of hyperspectral targets. IEEE Aerospace Conference, 1818-1824.",
    "kernel-rx": (
        "H. Kwon, N. M. Nasrabadi (2005). Kernel RX-Algorithm: A Nonlinear Anomaly Detector for Hyperspectral Imagery. IEEE TGRS 43(2), 388-397."
    ),
    "nystroem": "C. K. I. Williams, M. Seeger (2001). Using the Nyström Method to Speed Up Kernel Machines. NIPS 13, 682-688.",
    "cr": "W. Li, Q. Du (2015). Collaborative Representation for Hyperspectral Anomaly Detection. IEEE TGRS 53(3), 1463-1474.",
    "isolation": "F. T. Liu, K. M. Ting, Z.-H. Zhou (2008). Isolation Forest. IEEE International Conference on Data Mining, 413-422.",
    "lof": "M. M. Breunig, H.-P. Kriegel, R. T. Ng, J. Sander (2000). LOF: Identifying Density-Based Local Outliers. ACM SIGMOD, 93-104.",
    "auto-ad": (
        "S. Wang, X. Wang, L. Zhang, Y. Zhong (2022). Auto-AD: Autonomous Hyperspectral Anomaly Detection Network Based on Fully "
        "Convolutional Autoencoder. IEEE TGRS 60, 1-14."
    ),
    "blind-spot": "A. Krull, T.-O. Buchholz, F. Jug (2019). Noise2Void - Learning Denoising from Single Noisy Images. CVPR.",
    "ensemble": (
        "C. C. Aggarwal, S. Sathe (2015). Theoretical Foundations and Algorithms for Outlier Ensembles. ACM SIGKDD Explorations 17(1), 24-47."
    ),
    "bsdm": (
        "J. Ma et al. (2023). BSDM: Background Suppression Diffusion Model for Hyperspectral Anomaly Detection. "
        "arXiv:2307.09861"
    ),
    "roc-3d": (
        "C.-I Chang (2021). An Effective Evaluation Tool for Hyperspectral Target Detection: 3D Receiver Operating Characteristic Curve "
        "Analysis. IEEE TGRS 59(6), 5131-5153."
    ),
    "pareto-tail": "J. Pickands (1975). Statistical Inference Using Extreme Order Statistics. Annals of Statistics 3(1), 119-131.",
    "cva": (
        "W. A. Malila (1980). Change Vector Analysis: An Approach for Detecting Forest Changes with Landsat. Symposium on Machine Processing of "
        "Remotely Sensed Data, Purdue University, 326-335."
    ),
    "ir-mad": (
        "A. A. Nielsen (2007). The Regularized Iteratively Reweighted MAD Method for Change Detection in Multi- and Hyperspectral Data. IEEE "
        "Transactions on Image Processing 16(2), 463-478."
    ),
    "pca-kmeans": (
        "T. Celik (2009). Unsupervised Change Detection in Satellite Images Using Principal Component Analysis and k-Means Clustering. IEEE "
        "GRSL 6(4), 772-776."
    ),
    "sfa": (
        "C. Wu, B. Du, L. Zhang (2014). Slow Feature Analysis for Change Detection in Multispectral Imagery. IEEE TGRS 52(5), 2858-2874."
    ),
    "normalise-ir-mad": (
        "M. J. Canty, A. A. Nielsen (2008). Automatic Radiometric Normalization of Multitemporal Satellite Imagery with the Iteratively "
        "Re-weighted MAD Transformation. Remote Sensing of Environment 112(3), 1025-1036."
    ),
    "normalise-pif": (
        "Y. Du, P. M. Teillet, J. Cihlar (2002). Radiometric Normalization of Multitemporal High-Resolution Satellite Images with Quality "
        "Control for Land Cover Change Detection. Remote Sensing of Environment 82(1), 123-134."
    ),
    "phase-correlation": (
        "C. D. Kuglin, D. C. Hines (1975). The Phase Correlation Image Alignment Method. IEEE Conference on Cybernetics and Society, 163-165."
    ),
    "threshold-otsu": (
        "N. Otsu (1979). A Threshold Selection Method from Gray-Level Histograms. IEEE Transactions on Systems, Man, and Cybernetics 9(1), 62-66."
    ),
    "threshold-mixture": (
        "L. Bruzzone, D. F. Prieto (2000). Automatic Analysis of the Difference Image for Unsupervised Change Detection. IEEE TGRS 38(3), "
        "1171-1182."
    ),
    "threshold-chi-square": (
        "A. A. Nielsen (2007). The Regularized Iteratively Reweighted MAD Method for Change Detection in Multi- and Hyperspectral Data. IEEE "
        "Transactions on Image Processing 16(2), 463-478."
    ),
    "indian-pines": (
        "M. F. Baumgardner, L. L. Biehl, D. A. Landgrebe (2015). 220 Band AVIRIS Hyperspectral Image Data Set: June 12, 1992 Indian "
        "Pine Test Site 3. Purdue University Research Repository. doi:10.4231/R7RX991C"
    ),
}
"""Every method by name. Adding one is one line."""


def references(metrics: dict[str, Any]) -> list[str]:
    """References of the methods behind a run, from its `metrics.json`."""
    return [METHODS[name] for name in methods_of(metrics)]


def methods_of(metrics: dict[str, Any]) -> list[str]:
    """Keys of METHODS of the methods behind a run, from its `metrics.json`."""
    recipe = metrics["recipe"]
    used = [*MODELS[recipe["model"]].references]
    used += ["noise-adjusted"] if sees_components(metrics) else []
    used += ["principal-components"] if sees_components(metrics) and recipe.get("principal") else []
    used += ["adamw"] if recipe["optimiser"] == "adamw" else []
    used += ["one-cycle"] if recipe["schedule"] == "one-cycle" else []
    used += ["label-smoothing"] if recipe["label_smoothing"] else []
    used += ["distillation", "pca-kmeans", "normalise-ir-mad"] if recipe.get("taught") else []
    used += ["logit-adjustment"] if recipe["prior"] else []
    used += ["temperature"] if metrics["calibration"]["temperature"] is not None else []
    used += ["blocks", "kappa"]
    used += [control["name"] for control in metrics["controls"]]
    used += ["conformal", "class-conditional"] if "change" in metrics else []
    used += ["indian-pines"] if metrics["scene"]["name"] == "Indian Pines" else []
    return used


def sees_components(metrics: dict[str, Any]) -> bool:
    """Whether the network of a run was given components: there are some where the scene has more bands than the recipe wants of them."""
    return 0 < metrics["recipe"].get("components", 0) < metrics["scene"]["bands"]


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


REPORTS = ("anomalies.json", "metrics.json")
"""Files beside a report that list the references of what they tell of; metrics.json does so where there is no network."""


def cite_report(folder: Path) -> str | None:
    """The references that stand beside a report of a task without a network's run, one a line; None if there is none.

    Raises:
        RunError: the file is damaged.
    """
    trained = (folder / "model.json").is_file()
    path = next((folder / name for name in REPORTS if (folder / name).is_file() and not trained), None)
    if path is None:
        return None
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        if "recipe" in listed:
            return None  # what a run of a network measured, whose model.json has gone
        return "\n".join(listed["references"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} does not list its references ({error}); make the report again.") from error
