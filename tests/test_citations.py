"""`cite` prints the references of what a run used, and of nothing else."""

import copy

import pytest

from jobs import QUICK, command, make_files
from patchfree.citations import METHODS, cite, references
from patchfree.errors import RunError
from patchfree.run import load_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cite")
    files = make_files(folder)
    command("train", files.scene, files.labels, "--out", folder / "run", *QUICK, "--control", "none")
    return load_run(folder / "run")


def test_command_prints_one_reference_a_line(cli, run):
    lines = cli.ok("cite", run.folder).splitlines()
    assert lines == cite(run).splitlines()
    assert METHODS["freenet"] in lines
    assert all(line in METHODS.values() for line in lines)


@pytest.mark.parametrize(
    ("change", "method", "used"),
    [
        (lambda m: None, "adamw", True),
        (lambda m: m["recipe"].update(optimiser="sgd"), "adamw", False),
        (lambda m: None, "one-cycle", True),
        (lambda m: m["recipe"].update(schedule="poly"), "one-cycle", False),
        (lambda m: m["recipe"].update(label_smoothing=0.0), "label-smoothing", False),
        (lambda m: m["calibration"].update(temperature=None), "temperature", False),
        (lambda m: m["calibration"].update(temperature=1.1), "temperature", True),
        (lambda m: m["recipe"].update(components=m["scene"]["bands"] - 1), "noise-adjusted", True),
        (lambda m: m["recipe"].update(components=m["scene"]["bands"]), "noise-adjusted", False),
        (lambda m: m["recipe"].update(components=0), "noise-adjusted", False),
        (lambda m: m["recipe"].update(components=1, principal=1), "principal-components", True),
        (lambda m: m["recipe"].update(components=1, principal=0), "principal-components", False),
        (lambda m: m["recipe"].update(components=0, principal=1), "principal-components", False),
        (lambda m: None, "svm", False),
        (lambda m: m["controls"].append({"name": "svm"}), "svm", True),
        (lambda m: m["controls"].append({"name": "rf"}), "rf", True),
        (lambda m: None, "indian-pines", False),
        (lambda m: m["scene"].update(name="Indian Pines"), "indian-pines", True),
    ],
)
def test_method_is_cited_when_it_was_used(run, change, method, used):
    metrics = copy.deepcopy(run.metrics)
    change(metrics)
    assert (METHODS[method] in references(metrics)) is used


def test_run_without_record_of_its_methods_is_refused(run, tmp_path):
    run.save_model(tmp_path)
    with pytest.raises(RunError, match=r"has no metrics\.json, which says what methods it used"):
        cite(load_run(tmp_path))


def test_folder_without_a_run_is_refused(cli, tmp_path):
    cli.refused(2, "is no run folder: it has no model.json", "cite", tmp_path)


def test_command_prints_what_a_report_of_anomalies_lists(cli, tmp_path):
    (tmp_path / "anomalies.json").write_text('{"references": ["A (2001).", "B (2002)."]}')
    assert cli.ok("cite", tmp_path).splitlines() == ["A (2001).", "B (2002)."]
    (tmp_path / "anomalies.json").write_text("{}")
    cli.refused(2, "does not list its references", "cite", tmp_path)
