"""The ``actde-nb`` command as a person meets it."""

import sys

import pytest

from actde_nb import cli
from actde_nb.book import layout
from actde_nb.learning.config import Config
from actde_nb.learning.train import Trainer
from actde_nb.study import results, weights
from actde_nb.study.runs import GPTSettings, PrisonerWorld, Run

SIZE = {"trials": 2, "updates": 8, "sequences": 4, "games": 8, "layers": 1, "heads": 1, "width": 4}
SMALL = [part for name, value in SIZE.items() for part in (f"--{name}", str(value))]


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
        (("train", "--algorithm", "ppo"), "actde-nb: train: choose prisoner or language, as in "),
        (("train",), "actde-nb: train: choose prisoner or language, as in "),
        (("results", "verify", "--updates", "-3"), "actde-nb: updates = -3: allowed are whole numbers of 0 or more"),
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


def test_train_then_verify(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = "runs/prisoner_actde.nc"
    status, text = command("train", "prisoner", *SMALL)
    assert status == 0
    assert "trial-updates/s" in text
    assert f"{path}: 8 updates of 2 trials, alternating 0." in text
    monkeypatch.setattr(Trainer, "step", lambda _: pytest.fail("there was nothing to do"))
    status, text = command("train", "prisoner", *SMALL)
    assert (status, text.splitlines()[0]) == (0, f"{path} holds this run already")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert command("results", "verify", path) == (0, f"{path}: as it should be\n")
    assert command("results", "verify", path, "--trials", "0", "99")[0] == 0
    for arguments in (("--trials", "99"), ("--trials", "-1")):
        status, text = command("results", "verify", path, *arguments)
        assert text == f"{path}: trials = [{arguments[1]}]: allowed are 0, 1\n"
        assert "not as they should be: 1" in status


def test_one_bad_file_does_not_hide_the_next(command, tmp_path):
    path, odd, text_file = tmp_path / "run.nc", tmp_path / "odd.nc", tmp_path / "text.nc"
    assert command("train", "prisoner", *SMALL, "--out", str(path))[0] == 0
    data = results.read(path)
    data.attrs["settings"] = data.attrs["settings"].replace('"discount"', '"patience"')
    data.attrs["sha256"] = results.digest(data)
    results.write(data, odd)
    text_file.write_text("dear diary")
    status, text = command("results", "verify", str(text_file), str(tmp_path / "none.nc"), str(odd), str(path))
    first, second, third, last = text.splitlines()
    assert first.startswith(f"{text_file} cannot be read")
    assert second == f"{tmp_path / 'none.nc'} does not exist"
    assert third.startswith(f"{odd}: settings that this version does not know: ")
    assert "'patience'" in third
    assert last == f"{path}: as it should be"
    assert status == "actde-nb: results files that are not as they should be: 3"


def test_options_stand_in_groups_and_say_what_is_allowed(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for world, own in (
        ("prisoner", "--payoffs {main,"),
        ("language", "--reward {gold,sent,bow,hp_cap,hp_unc,learned}"),
    ):
        status, text = command("train", world, "--help")
        assert status == 0
        for part in ("config options", "world options", "network options", own, "--whiten {True,False}"):
            assert part in text
        assert "--algorithm {ppo,actde," in text
        assert "`" not in text
        assert "--no-" not in text
    status, text = command("results", "train", "--help")
    assert "--trials" not in text


def test_what_is_stored_is_not_trained_again(command, monkeypatch):
    monkeypatch.setattr(Trainer, "step", lambda _: pytest.fail("there was nothing to do"))
    status, text = command("results", "train", str(layout.RESULTS / "prisoner_ppo.nc"))
    assert (status, text) == (0, f"{layout.RESULTS / 'prisoner_ppo.nc'} holds this run already\n")


def test_final_networks_are_kept_where_a_chapter_asks_for_them(command, monkeypatch, tmp_path):
    config = Config(trials=2, updates=8, sequences=4, games=8)
    small = Run(config, PrisonerWorld(), GPTSettings(layers=1, heads=1, width=4))
    monkeypatch.setattr(cli, "PROGRAMME", {"one": small, "two": small})
    monkeypatch.setattr(cli, "WITH_WEIGHTS", ("two",))
    for name in ("one", "two"):
        assert command("results", "train", str(tmp_path / f"{name}.nc"))[0] == 0
    assert not (tmp_path / "one.safetensors").exists()
    assert weights.read(tmp_path / "two.safetensors").update == 8
