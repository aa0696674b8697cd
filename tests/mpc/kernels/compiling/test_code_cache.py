"""What is kept of compiled kernels, and what is never loaded: whatever is not ours, not whole, or made for others."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mpc.kernels.compiling import code_cache, library
from mpc.kernels.compiling.library import Library, Target, any_with, kept

ANY = any_with(())
ELSEWHERE = Target("x86-64", "+sse4.2")


def text(number: int) -> str:
    """A module whose one function writes `number`."""
    return f"define void @answer(ptr %place) {{\nstore i64 {number}, ptr %place\nret void\n}}\n"


def answer(number: int) -> int:
    """What the module says, from the cache or compiled; not `number` if other code is run."""
    place = np.zeros(1, np.uint64)
    Library(kept(text(number), ANY)).call("answer", place)
    return int(place[0])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where kernels are kept; not yet made."""
    monkeypatch.setenv(code_cache.VARIABLE, str(tmp_path / "kernels"))
    return tmp_path / "kernels"


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were compiled."""
    seen: list[str] = []
    whole = library.compiled

    def counted(module: str, target: Target) -> library.Code:
        seen.append(module)
        return whole(module, target)

    monkeypatch.setattr(library, "compiled", counted)
    return seen


def name_of(number: int, target: Target = ANY) -> str:
    return code_cache.name_of(library._release(), *library._tools(), *target, text(number))


@pytest.fixture
def poisoned(folder: Path) -> Path:
    """The entry of the answer 2, in all that is checked as it should be, with code that answers 3."""
    assert (answer(2), answer(3)) == (2, 3)
    other = code_cache.load(name_of(3))
    assert other is not None
    code_cache.keep(name_of(2), other)
    return folder / name_of(2)


def test_a_second_call_compiles_nothing(folder: Path, compilations: list[str]) -> None:
    assert [answer(2), answer(2)] == [2, 2]
    assert compilations == [text(2)]
    (entry,) = folder.iterdir()
    assert stat.S_IMODE(entry.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_poisoned_entry_would_be_run_if_it_passed_the_checks(poisoned: Path) -> None:
    assert answer(2) == 3


# ---------------------------------------------------------------- entries that do not fit


def flipped(entry: Path) -> None:
    data = bytearray(entry.read_bytes())
    data[-1] ^= 1
    entry.write_bytes(data)


def flipped_in_the_digest(entry: Path) -> None:
    data = bytearray(entry.read_bytes())
    data[len(code_cache.MAGIC)] ^= 1
    entry.write_bytes(data)


def of_an_older_layout(entry: Path) -> None:
    entry.write_bytes(entry.read_bytes().replace(b"kernel 1", b"kernel 0"))


def cut(entry: Path) -> None:
    os.truncate(entry, entry.stat().st_size - 1)


def emptied(entry: Path) -> None:
    os.truncate(entry, 0)


def linked(entry: Path) -> None:
    entry.rename(entry.with_name("elsewhere"))
    entry.symlink_to(entry.with_name("elsewhere"))


def linked_twice(entry: Path) -> None:
    os.link(entry, entry.with_name("elsewhere"))


def a_pipe(entry: Path) -> None:
    entry.unlink()
    os.mkfifo(entry, 0o600)


def too_long(entry: Path) -> None:
    os.truncate(entry, code_cache.LARGEST + 1)


def taken_from(name: Callable[[], str]) -> Callable[[Path], None]:
    """The poison as it would lie under another name: made for others, put in our place."""

    def fault(entry: Path) -> None:
        data = code_cache.load(entry.name)
        assert data is not None
        code_cache.keep(name(), data)
        entry.with_name(name()).rename(entry)

    return fault


def other_release() -> str:
    return code_cache.name_of("0.0.9", *library._tools(), *ANY, text(2))


def other_compiler() -> str:
    return code_cache.name_of(library._release(), *library._tools()[:-1], "1.0.0", *ANY, text(2))


FAULTS: dict[str, Callable[[Path], None]] = {
    "a byte of the code is another": flipped,
    "a byte of the digest is another": flipped_in_the_digest,
    "the layout is an older one": of_an_older_layout,
    "the last byte is missing": cut,
    "the file is empty": emptied,
    "the file is longer than any kernel": too_long,
    "others may write it": lambda entry: entry.chmod(0o666),
    "others may read it": lambda entry: entry.chmod(0o640),
    "it is a link": linked,
    "it has a second name": linked_twice,
    "it is a pipe": a_pipe,
    "it was made for another processor": taken_from(lambda: name_of(2, ELSEWHERE)),
    "it was made by another release": taken_from(other_release),
    "it was made by another compiler": taken_from(other_compiler),
    "it was made for another module": taken_from(lambda: name_of(4)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_fit_is_not_run_and_is_replaced(fault: str, poisoned: Path, compilations: list[str]) -> None:
    FAULTS[fault](poisoned)
    assert answer(2) == 2
    assert compilations == [text(2)]
    assert poisoned.is_file()
    assert not poisoned.is_symlink()
    assert answer(2) == 2
    assert compilations == [text(2)]      # the second time it was loaded: the entry is healed


WITH_THE_POISON_WHOLE = set(FAULTS) - {
    "a byte of the code is another", "the last byte is missing", "the file is empty", "it is a pipe"}


@pytest.mark.parametrize("fault", sorted(WITH_THE_POISON_WHOLE))
def test_without_checks_it_would_be_run(fault: str, poisoned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FAULTS[fault](poisoned)
    begin = len(code_cache.MAGIC) + 32
    monkeypatch.setattr(code_cache, "load", lambda name: (poisoned.parent / name).read_bytes()[begin:])
    assert answer(2) == 3


@pytest.fixture
def of_somebody_else(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], bool]], None]:
    """Files whose mode is chosen by a predicate belong to another user."""
    whole = os.fstat

    def pretend(wanted: Callable[[int], bool]) -> None:
        def fstat(descriptor: int) -> os.stat_result:
            found = whole(descriptor)
            if not wanted(found.st_mode):
                return found
            fields = list(found)
            fields[stat.ST_UID] = os.geteuid() + 1
            return os.stat_result(fields)

        monkeypatch.setattr(code_cache.os, "fstat", fstat)

    return pretend


def test_somebody_elses_file_is_not_run(poisoned: Path, of_somebody_else, compilations: list[str]) -> None:
    of_somebody_else(stat.S_ISREG)
    assert answer(2) == 2
    assert compilations == [text(2)]


# ---------------------------------------------------------------- directories that do not fit


def test_in_somebody_elses_directory_nothing_is_run_or_written(
    poisoned: Path, of_somebody_else, compilations: list[str]
) -> None:
    before = poisoned.read_bytes()
    of_somebody_else(stat.S_ISDIR)
    assert answer(2) == 2
    assert compilations == [text(2)]
    assert poisoned.read_bytes() == before
    with pytest.raises(code_cache.Closed, match="somebody else"):
        code_cache.state()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o755, 0o1777])
def test_in_a_directory_open_to_others_nothing_is_run_or_written(
    mode: int, poisoned: Path, compilations: list[str]
) -> None:
    before = poisoned.read_bytes()
    poisoned.parent.chmod(mode)
    assert answer(2) == 2
    assert compilations == [text(2)]
    assert poisoned.read_bytes() == before
    with pytest.raises(code_cache.Closed, match="open to others"):
        code_cache.state()


def test_a_directory_whose_parent_others_may_write_is_not_used(poisoned: Path, compilations: list[str]) -> None:
    poisoned.parent.parent.chmod(0o777)
    assert answer(2) == 2
    assert compilations == [text(2)]
    with pytest.raises(code_cache.Closed, match="others may write"):
        code_cache.state()
    poisoned.parent.parent.chmod(0o1777)   # as /tmp: nobody can move what is ours
    assert answer(2) == 3


def test_a_directory_above_that_may_be_passed_but_not_read_is_no_hindrance(
    poisoned: Path, compilations: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As /home is where users may not list each other's names. Root reads everything: the flags are looked at."""
    opened, whole = [], os.open

    def seen(path: str, flags: int, *rest: int, **named: int) -> int:
        opened.append((Path(path).name, flags))
        return whole(path, flags, *rest, **named)

    monkeypatch.setattr(code_cache.os, "open", seen)
    poisoned.parent.parent.chmod(0o711)
    assert answer(2) == 3
    assert compilations == []
    reading = [name for name, flags in opened if not flags & os.O_PATH]
    assert set(reading) == {"kernels", poisoned.name}


def test_a_half_of_somebody_else_is_not_removed(folder: Path) -> None:
    assert answer(2) == 2
    name = name_of(3)
    half = folder / f".{name}.{os.getpid()}.{threading.get_ident()}"
    half.write_bytes(b"being written")
    code_cache.keep(name, b"other")
    assert half.read_bytes() == b"being written"
    assert not (folder / name).exists()


@pytest.mark.parametrize("link", ["kernels", "above"])
def test_a_link_is_not_followed_to_a_directory(
    link: str, poisoned: Path, compilations: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    aside = tmp_path / "aside"
    aside.mkdir()
    (aside / link).symlink_to(poisoned.parent if link == "kernels" else poisoned.parent.parent)
    path = aside / "kernels" if link == "kernels" else aside / "above" / "kernels"
    assert (path / poisoned.name).is_file()
    monkeypatch.setenv(code_cache.VARIABLE, str(path))
    assert answer(2) == 2
    assert compilations == [text(2)]
    with pytest.raises(code_cache.Closed, match=f"{aside / link} is a link or no directory .*real path"):
        code_cache.state()


@pytest.mark.parametrize(
    ("given", "why"),
    [({}, "neither HOME"), ({"HOME": "{tmp}/file"}, "a link or no directory"),
     ({"HOME": "{tmp}/no/home"}, "No such file"),
     ({"HOME": "{tmp}", code_cache.VARIABLE: ""}, "is empty"), ({code_cache.VARIABLE: "kernels"}, "no absolute path"),
     ({code_cache.VARIABLE: "{tmp}/a/../b"}, "no absolute path"), ({code_cache.VARIABLE: "/proc/kernels"}, "/proc")],
    ids=["no home", "home is a file", "home does not exist", "turned off", "relative", "with dots", "cannot be made"],
)
def test_without_a_directory_kernels_are_compiled_as_ever(
    given: dict[str, str], why: str, tmp_path: Path, compilations: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    for name in ("HOME", "XDG_CACHE_HOME", code_cache.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value.format(tmp=tmp_path))
    assert [answer(2), answer(2)] == [2, 2]
    assert compilations == [text(2), text(2)]
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
    with pytest.raises(code_cache.Closed, match=why):
        code_cache.state()


@pytest.mark.parametrize(
    ("given", "where"),
    [({"HOME": "{tmp}"}, ".cache/joint-credit-risk/kernels"),
     ({"HOME": "{tmp}", "XDG_CACHE_HOME": "{tmp}/xdg"}, "xdg/joint-credit-risk/kernels"),
     ({"HOME": "{tmp}", "XDG_CACHE_HOME": "relative"}, ".cache/joint-credit-risk/kernels"),
     ({"HOME": "{tmp}", code_cache.VARIABLE: "{tmp}/mine"}, "mine")],
    ids=["home", "the user's caches", "a relative one is ignored", "named"],
)
def test_kernels_are_kept_where_the_user_keeps_such_things(
    given: dict[str, str], where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", code_cache.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value.format(tmp=tmp_path))
    assert answer(2) == 2
    assert [path.parent for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / where]
    assert code_cache.state() == str(tmp_path / where)


# ---------------------------------------------------------------- what stays


def test_a_new_entry_drops_those_of_other_releases_and_nothing_else(folder: Path) -> None:
    answer(2)
    code_cache.keep(other_release(), b"old")
    assert not (folder / name_of(2)).exists()     # to that release ours are old ones
    answer(2)
    (folder / "notes.txt").write_bytes(b"not ours")
    code_cache.keep(name_of(3), b"new")
    assert {path.name for path in folder.iterdir()} == {name_of(2), name_of(3), "notes.txt"}


def test_of_one_release_the_oldest_entries_go_when_there_are_too_many(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_cache, "MOST", 3)
    for number in range(5):
        code_cache.keep(name_of(number), b"code")
        os.utime(folder / name_of(number), (1000 + number, 1000 + number))
    code_cache.keep(name_of(9), b"code")
    assert {path.name for path in folder.iterdir()} == {name_of(3), name_of(4), name_of(9)}


def test_halves_of_a_writer_that_died_go_after_an_hour(folder: Path) -> None:
    answer(2)
    old, young = (folder / f".{name_of(5)}.{pid}.1" for pid in (1, 2))
    for half in (old, young):
        half.write_bytes(b"half")
    os.utime(old, (0, 0))
    answer(3)
    assert not old.exists()
    assert young.exists()


def test_a_disk_that_is_full_disturbs_nothing(
    folder: Path, compilations: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(code_cache.os, "rename", full)
    assert [answer(2), answer(2)] == [2, 2]
    assert compilations == [text(2), text(2)]
    assert list(folder.iterdir()) == []


def test_names_tell_release_processor_and_text_apart() -> None:
    parts = ["tools", "processor", "+feature", "text"]
    names = {code_cache.name_of("1", *parts[:k], parts[k] + "'", *parts[k + 1:]) for k in range(4)}
    names |= {code_cache.name_of("1", *parts), code_cache.name_of("2", *parts), code_cache.name_of("1", *parts, ""),
              code_cache.name_of("1", "toolsp", "rocessor", *parts[2:])}
    assert len(names) == 8
