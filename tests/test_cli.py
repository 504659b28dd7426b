"""The ``actde-nb`` command as a person meets it."""

import sys

import pytest

from actde_nb import cli, paths
from actde_nb.experiments import weights
from actde_nb.experiments.runs import PrisonerRun


@pytest.fixture
def command(monkeypatch, capsys):
    def run(*arguments: str) -> tuple[int | str | None, str]:
        monkeypatch.setattr(sys, "argv", ["actde-nb", *arguments])
        status = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = stop.code
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run


def test_help_names_every_command(command):
    status, text = command("--help")
    assert status == 0
    for name in ("list", "execute", "build", "record", "train", "results"):
        assert name in text


def test_list_shows_every_chapter_with_its_parameters(command):
    status, text = command("list")
    assert status == 0
    assert "intro" in text
    assert text.count("scale='reader'") == len(cli.find_chapters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("execute", "nonsense"), "actde-nb: chapter = 'nonsense': allowed are "),
        (("execute", "intro", "--set", "speed=3"), "actde-nb: parameter = 'speed' of chapter intro: allowed are seed"),
        (("execute", "intro", "--set", "seed"), "actde-nb: set = 'seed': allowed is NAME=VALUE"),
        (("train", "prisoner", "--algorithm", "a2c"), "actde-nb: algorithm = 'a2c': allowed are ppo, actde, "),
        (("results", "train", "no.nc"), "actde-nb: files = no.nc: allowed are the runs of the book, prisoner_ppo, "),
        (("results", "verify", "no.nc"), "actde-nb: results files that are not as they should be: 1"),
    ],
)
def test_what_a_person_can_mend_is_one_message(command, arguments: tuple[str, ...], message: str):
    status, text = command(*arguments)
    assert str(status).startswith(message)
    assert "Traceback" not in text


def test_an_unknown_scale_is_refused(command):
    status, text = command("execute", "--scale", "huge")
    assert status == 2
    assert "huge" in text
    assert "smoke" in text


def test_train_then_verify(command, tmp_path):
    path = str(tmp_path / "run.nc")
    size = {"trials": 2, "updates": 8, "batch": 4, "steps": 8, "layers": 1, "heads": 1, "width": 4}
    small = [part for name, value in size.items() for part in (f"--{name}", str(value))]
    status, text = command("train", "prisoner", *small, "--out", path)
    assert status == 0
    assert "trial-updates/s" in text
    assert "8 updates of 2 trials, alternating 0." in text
    status, text = command("results", "verify", path)
    assert (status, text) == (0, f"{path}: as it should be\n")


def test_what_is_stored_is_not_trained_again(command, monkeypatch):
    monkeypatch.setattr("actde_nb.training.trainer.Trainer.step", lambda _: pytest.fail("there was nothing to do"))
    assert command("results", "train", str(paths.RESULTS / "prisoner_ppo.nc"))[0] == 0


def test_final_networks_are_kept_where_a_chapter_asks_for_them(command, monkeypatch, tmp_path):
    small = PrisonerRun(trials=2, updates=8, batch=4, steps=8, layers=1, heads=1, width=4)
    monkeypatch.setattr(cli, "PROGRAMME", {"one": small, "two": small})
    monkeypatch.setattr(cli, "WITH_WEIGHTS", ("two",))
    for name in ("one", "two"):
        assert command("results", "train", str(tmp_path / f"{name}.nc"))[0] == 0
    assert not (tmp_path / "one.safetensors").exists()
    assert weights.read(tmp_path / "two.safetensors").update == 8
