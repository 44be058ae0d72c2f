"""Everything patchfree raises on purpose.

PatchfreeError
|-- SceneError             the scene cannot be used as it is
|   |-- BandMismatch       the scene's bands are not the run's bands
|   `-- NoGeoreference     a step needs a map position and the scene has none
|-- LabelError             the reference labels cannot be used as they are
|   `-- SplitError         the labels cannot be split into training and test pixels as asked
|-- ConfigError            a setting is out of range, or two settings contradict each other
|-- RunError               a run folder cannot be used as it is
|-- MissingExtra           an optional dependency is not installed
|-- OutputError            a result could not be written; what was there is untouched
`-- TrainingFailed         training broke down; the last good state is kept

The first six are the user's to mend (exit code 2 on the command line), the last two are failures (1).
"""


class PatchfreeError(Exception):
    """Base of every deliberate error: catch this to catch them all."""

    exit_code = 2


class SceneError(PatchfreeError, ValueError):
    """The scene cannot be used as it is."""


class BandMismatch(SceneError):
    """The scene's bands are not the run's bands."""


class NoGeoreference(SceneError):
    """A step needs a map position and the scene has none."""


class LabelError(PatchfreeError, ValueError):
    """The reference labels cannot be used as they are."""


class SplitError(LabelError):
    """The labels cannot be split into training and test pixels as asked."""


class ConfigError(PatchfreeError, ValueError):
    """A setting is out of range, or two settings contradict each other."""


class RunError(PatchfreeError):
    """A run folder cannot be used as it is."""


class MissingExtra(PatchfreeError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package}, which is not installed. "
            f"Install it with: pip install 'patchfree[{extra}]'"
        )


class OutputError(PatchfreeError, OSError):
    """A result could not be written; what was there is untouched."""

    exit_code = 1


class TrainingFailed(PatchfreeError, RuntimeError):
    """Training broke down; the last good state is kept."""

    exit_code = 1
