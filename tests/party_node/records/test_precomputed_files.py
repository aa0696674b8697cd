"""What a job made ahead, on the disk: whole or not at all, for its owner only, and used once, whatever happens."""

from __future__ import annotations

import os
import pickle
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpc.errors import LocalError
from party_node.records import precomputed_files
from party_node.records.precomputed_files import BURNT, OPEN, Damaged, Gone, Used, Writer, opened
from party_node.records.store import JobState, Store

JOB, SECRET = "ab" * 32, 0x5EC2E7C0FFEE1234
ARRAYS: dict[str, Any] = {
    "bits/sums": np.full(100, SECRET, np.uint64),
    "angles/0/cosines": np.arange(60, dtype=np.uint64).reshape(3, 20)[:, ::2],   # not one after the other in memory
    "hessian": np.arange(-8, 8).reshape(4, 4),
    "nothing": np.zeros(0, np.uint64),
    f"{OPEN}rows": np.arange(7),
    f"{OPEN}test": np.arange(7) % 2 == 0,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "prepared"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state.db")


def write(folder: Path, job: str = JOB, until: float | None = None) -> Path:
    writer = Writer(folder, job)
    for name, array in ARRAYS.items():
        writer.put(name, array)
    about = {"job": job, "widths": {"bank": 16, "shop": 32}, "until": time.time() + 60 if until is None else until}
    precomputed_files.settle(writer.close(about))
    return folder / job


def done(store: Store, job: str = JOB) -> None:
    store.add_job(job, job, b"{}", "conductor")
    for state in (JobState.APPROVED, JobState.RUNNING, JobState.DONE):
        store.move(job, state)


def burn(store: Store) -> Callable[[], None]:
    return lambda: precomputed_files.burn(store, JOB)


def test_arrays_come_back_as_they_were(folder: Path, store: Store) -> None:
    path = write(folder)
    with opened(folder, JOB, burn(store)) as file:
        file.check()
        assert file.widths == {"bank": 16, "shop": 32}
        for name in ("rows", "test"):
            found = file.known(name)
            assert found is not None
            assert found.dtype == ARRAYS[OPEN + name].dtype
            assert np.array_equal(found, ARRAYS[OPEN + name])
        assert file.known("copies") is None
        file.begin()
        for name, array in ARRAYS.items():
            if not name.startswith(OPEN):
                taken = file.take(name)
                assert taken.dtype == array.dtype, name
                assert np.array_equal(taken, array), name
    assert not path.exists()


def test_the_file_and_its_folder_are_their_owners_only(folder: Path) -> None:
    path = write(folder)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list(folder.iterdir()) == [path]


def test_they_are_so_whatever_the_mask_of_new_files_is(tmp_path: Path) -> None:
    """In a process of its own: a mask is the whole process's."""
    made = """
import os, sys, time
from pathlib import Path
import numpy as np
from party_node.records import precomputed_files
os.umask(0)
writer = precomputed_files.Writer(Path(sys.argv[1]) / "prepared", sys.argv[2])
writer.put("bits/sums", np.zeros(3, np.uint64))
print(oct(writer.path.stat().st_mode))
precomputed_files.settle(writer.close({"job": sys.argv[2], "widths": {}, "until": time.time()}))
"""
    ran = subprocess.run([sys.executable, "-c", made, str(tmp_path), JOB], check=True, capture_output=True, text=True,
                         cwd=Path(__file__).parents[3], timeout=60)
    assert ran.stdout.strip() == "0o100600", "while it is written"
    assert stat.S_IMODE((tmp_path / "prepared" / JOB).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "prepared").stat().st_mode) == 0o700


def test_a_value_is_had_after_burning_and_once(folder: Path, store: Store) -> None:
    write(folder)
    with opened(folder, JOB, burn(store)) as file:
        with pytest.raises(LocalError, match="burnt before"):
            file.take("bits/sums")
        assert not store.is_burnt(JOB, BURNT)
        file.begin()
        assert store.is_burnt(JOB, BURNT)
        file.take("bits/sums")
        with pytest.raises(LocalError, match="taken before"):
            file.take("bits/sums")
        with pytest.raises(LocalError):
            file.take(f"{OPEN}rows")


def test_a_file_that_was_put_back_is_refused_and_removed(folder: Path, store: Store) -> None:
    path = write(folder)
    copy = path.read_bytes()
    with opened(folder, JOB, burn(store)) as file:
        file.begin()
    path.write_bytes(copy)
    with opened(folder, JOB, burn(store)) as file:
        with pytest.raises(Used, match="used before"):
            file.begin()
        with pytest.raises(LocalError, match="burnt before"):
            file.take("bits/sums")
    assert not path.exists()


def test_two_that_hold_the_file_open_cannot_both_begin(folder: Path, store: Store, tmp_path: Path) -> None:
    write(folder)
    beside = Store(tmp_path / "state.db")
    with opened(folder, JOB, burn(store)) as first, opened(folder, JOB, burn(beside)) as second:
        first.begin()
        with pytest.raises(Used):
            second.begin()


KILLED = """
import os, signal, sys
from pathlib import Path
from party_node.records import precomputed_files
from party_node.records.store import Store
store = Store(Path(sys.argv[1]) / "state.db")
def burn():
    precomputed_files.burn(store, sys.argv[2])
    os.kill(os.getpid(), signal.SIGKILL)
with precomputed_files.opened(Path(sys.argv[1]) / "prepared", sys.argv[2], burn) as file:
    file.begin()
"""


def test_after_a_kill_between_burning_and_use_nothing_can_be_used(folder: Path, store: Store, tmp_path: Path) -> None:
    path = write(folder)
    done(store)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), JOB], check=False,
                            cwd=Path(__file__).parents[3], timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert path.exists()
    with opened(folder, JOB, burn(store)) as file, pytest.raises(Used, match=r"used before or removed\. launch"):
        file.begin()
    write(folder)
    precomputed_files.sweep(folder, store)       # the next start of the node
    assert not path.exists()


def places(path: Path) -> list[tuple[str, bytes]]:
    """The file cut short and with one bit changed, everywhere that differs in kind."""
    whole = path.read_bytes()
    cuts = [0, 1, 39, 40, 41, len(whole) // 2, len(whole) - 1]
    found = [(f"cut to {cut}", whole[:cut]) for cut in cuts]
    for at in (0, 801, 1100, len(whole) - 200, len(whole) - 40, len(whole) - 36, len(whole) - 1):
        found.append((f"changed at {at}", whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :]))
    return [*found, ("longer", whole + b"\0"), ("of another job", whole.replace(JOB.encode(), b"cd" * 32))]


def test_a_file_that_is_not_as_it_was_written_is_told_before_anything_is_burnt(
    folder: Path, store: Store
) -> None:
    path = write(folder)
    for case, data in places(path):
        path.write_bytes(data)
        with pytest.raises(Damaged) as error, opened(folder, JOB, burn(store)) as file:  # noqa: PT012 either may
            file.check()
            pytest.fail(case)
        assert "damaged" in error.value.what
        assert error.value.__cause__ is None
        assert not store.is_burnt(JOB, BURNT), case
    path.unlink()
    with pytest.raises(Gone, match="not here any more"), opened(folder, JOB, burn(store)):
        pass


@pytest.mark.parametrize(("name", "at"), [("bits/sums", 8), ("hessian", -1)])
def test_what_changes_after_the_check_is_not_used(folder: Path, store: Store, name: str, at: int) -> None:
    path = write(folder)
    with opened(folder, JOB, burn(store)) as first:
        first.check()
    with opened(folder, JOB, burn(store)) as file, path.open("r+b") as beside:
        place = file._left[name]
        start, stop = precomputed_files._span(place)
        file.begin()
        beside.seek(stop + at if at < 0 else start + at)
        beside.write(b"\x77")
        beside.flush()
        with pytest.raises(Damaged) as error:
            file.take(name)
        assert str(SECRET) not in str(error.value)
        assert error.value.__cause__ is None
        with pytest.raises(LocalError, match="taken before"):      # not even when it is put right
            file.take(name)
        assert np.array_equal(file.take("angles/0/cosines"), ARRAYS["angles/0/cosines"]), "the rest is as it was"


def test_what_changes_between_two_openings_is_no_table_of_rows(folder: Path, store: Store) -> None:
    path = write(folder)
    with opened(folder, JOB, burn(store)) as file, path.open("r+b") as beside:
        file.check()
        beside.seek(precomputed_files._span(file._left[f"{OPEN}rows"])[0])
        beside.write(b"\x77")
        beside.flush()
        with pytest.raises(Damaged):
            file.known("rows")


def test_a_disk_that_fails_while_it_is_read_is_a_sentence(
    folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> int:
        raise OSError(5, "Input/output error", str(folder))

    write(folder)
    with opened(folder, JOB, burn(store)) as file:
        monkeypatch.setattr(os, "preadv", broken)
        with pytest.raises(Damaged) as error:
            file.check()
        file.begin()
        with pytest.raises(Damaged):
            file.take("bits/sums")
    assert str(folder) not in str(error.value)


def test_nothing_of_it_can_be_pickled_or_printed(folder: Path, store: Store) -> None:
    writer = Writer(folder, JOB)
    write(folder)
    with opened(folder, JOB, burn(store)) as file:
        assert repr(file) == f"Prepared({JOB[:12]})"
        for secret in (file, writer):
            with pytest.raises(TypeError):
                pickle.dumps(secret)
        file.begin()
        file.take("bits/sums")
        with pytest.raises(LocalError) as error:
            file.take("bits/sums")
        assert str(SECRET) not in str(error.value)


def test_objects_are_never_written(folder: Path) -> None:
    writer = Writer(folder, JOB)
    with pytest.raises(LocalError):
        writer.put("objects", np.array([{"a": 1}], dtype=object))
    writer.put("once", np.zeros(3, np.uint64))
    with pytest.raises(LocalError):
        writer.put("once", np.zeros(3, np.uint64))


def test_a_full_disk_is_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(folder, JOB)
    monkeypatch.setattr(writer, "_file", os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb", buffering=0))
    with pytest.raises(LocalError, match=r"could not be written \(No space left"):
        writer.put("much", np.zeros(100, np.uint64))
    with pytest.raises(LocalError, match="could not be written"):
        writer.close({"job": JOB})
    precomputed_files.drop_unsettled(folder, JOB)
    assert list(folder.iterdir()) == []
    folder.rmdir()
    folder.write_text("not a folder")
    with pytest.raises(LocalError, match="could not be written"):
        Writer(folder, JOB)


@pytest.mark.parametrize("step", ["mkdir", "open", "fsync", "rename"])
def test_whatever_the_disk_refuses_is_a_sentence_without_a_path(
    folder: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*arguments: object, **_: object) -> None:
        raise OSError(28, "No space left on device", str(folder))

    owner, name = (os, step) if step in ("open", "fsync") else (Path, step)
    monkeypatch.setattr(owner, name, full)
    with pytest.raises(LocalError, match="could not be written") as error:
        write(folder)
    assert error.value.__cause__ is None
    assert str(folder) not in str(error.value)


def test_what_cannot_serve_any_more_is_swept_away_and_the_rest_stays(folder: Path, store: Store) -> None:
    names = {"ready": "01" * 32, "lapsed": "02" * 32, "used": "03" * 32, "failed": "04" * 32}
    for name, job in names.items():
        write(folder, job, until=time.time() - 1 if name == "lapsed" else None)
        if name == "failed":
            store.add_job(job, job, b"{}", "conductor")
        else:
            done(store, job)
    store.burn(names["used"], BURNT, [0])
    Writer(folder, "05" * 32)
    write(folder, "06" * 32)      # of a job that is still running: all have theirs, and not all have said so
    store.add_job("06" * 32, "06" * 32, b"{}", "conductor")
    for state in (JobState.APPROVED, JobState.RUNNING):
        store.move("06" * 32, state)
    (folder / "notes").write_text("not ours")
    states = {one.job: one.state for one in precomputed_files.listed(folder, store)}
    assert states == {names["ready"]: "ready", names["lapsed"]: "lapsed", names["used"]: "used",
                      names["failed"]: "used", "06" * 32: "ready"}
    precomputed_files.drop_unsettled(folder)
    precomputed_files.sweep(folder, store)
    assert {path.name for path in folder.iterdir()} == {names["ready"], "06" * 32, "notes"}
    assert store.is_burnt(names["lapsed"], BURNT)


def test_what_was_removed_cannot_be_used_though_a_copy_comes_back(folder: Path, store: Store) -> None:
    path = write(folder)
    copy = path.read_bytes()
    precomputed_files.remove(folder, store, JOB)
    precomputed_files.remove(folder, store, JOB)          # twice does no harm
    assert not path.exists()
    path.write_bytes(copy)
    with opened(folder, JOB, burn(store)) as file, pytest.raises(Used):
        file.begin()


def test_arrays_are_not_doubled_in_memory(folder: Path, store: Store) -> None:
    import tracemalloc

    large = np.zeros(1 << 21, np.uint64)
    writer = Writer(folder, JOB)
    tracemalloc.start()
    writer.put("large", large)
    written = tracemalloc.get_traced_memory()[1]
    precomputed_files.settle(writer.close({"job": JOB, "widths": {}, "until": 0}))
    with opened(folder, JOB, burn(store)) as file:
        tracemalloc.reset_peak()
        file.check()
        file.begin()
        assert file.take("large").nbytes == large.nbytes
        read = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert written < large.nbytes // 2
    assert read < 1.5 * large.nbytes
