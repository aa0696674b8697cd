"""Progress for people, on stderr: a line for each new thing, not for each step; foreign text drives no terminal."""

from __future__ import annotations

import pytest

from coordinator.commands.screen import ProgressScreen
from coordinator.jobs.driver import JobEvent


def event(what: str, done: int = 0, total: int = 0, state: str = "running", party: str = "bank") -> JobEvent:
    return JobEvent(party, 1, "train", what, done, total, state)


def shown(capsys: pytest.CaptureFixture[str], *events: JobEvent) -> list[str]:
    with ProgressScreen(["bank", "shop"]) as screen:
        for one in events:
            screen.show(one)
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def test_each_new_thing_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, event("begins"), *(event("iterations", n, 20) for n in range(1, 21)),
                  event("begins", party="shop"), event("ends", 1, 1, "finished"))
    assert len(lines) == 4
    assert "bank" in lines[0]
    assert "of 20" in lines[1]
    assert "finished" in lines[3]


def test_a_warning_of_a_node_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = shown(capsys, event("warning: too few rows", 1, 1))
    assert "bank" in line
    assert "warning: too few rows" in line


def test_foreign_text_cannot_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = shown(capsys, event("[bold]up\x1b[2Jdate"))
    assert "\x1b" not in line
    assert "[bold]" in line


def test_on_a_terminal_the_bars_stay_and_warnings_stand_above(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    text = "\n".join(shown(capsys, event("warning: too few rows", 1, 1), event("iterations", 3, 20)))
    assert "warning: too few rows" in text
    assert "3/20" in text


def test_brackets_and_controls_of_a_node_are_text_on_a_terminal_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    text = "\n".join(shown(capsys, event("[/bold]up\x1b]0;mine\x07date", 3, 20)))
    assert "[/bold]up ]0;mine date" in text
