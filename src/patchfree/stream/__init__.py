"""Mapping scenes that do not fit into memory: window by window, with the whole scene's answer."""

from patchfree.stream.evaluate import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]
