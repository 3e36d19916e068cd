"""Files, and versions of a served model, appear whole or not at all."""

import errno

import pytest

from tfp_glow._files import add_version, replacing


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("96000 requested and 65408 written"), "96000 requested and 65408"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
    ],
    ids=["NumPy's", "usual"],
)
def test_a_write_that_fails_names_the_file_and_leaves_the_one_before(
    tmp_path, error, said
):
    file = tmp_path / "images.npy"
    file.write_bytes(b"before")

    def write() -> None:
        with replacing(file) as partial:
            partial.write_bytes(b"half")
            raise error

    with pytest.raises(OSError, match=said) as raised:
        write()
    assert raised.value.filename == str(file)
    assert said in raised.value.strerror
    assert names(tmp_path) == ["images.npy"]
    assert file.read_bytes() == b"before"


def test_numbers_go_on_from_the_highest(tmp_path):
    for name in ("2", "10", "notes"):
        (tmp_path / name).mkdir()
    version = add_version(tmp_path, lambda folder: (folder / "a").touch())
    assert version == tmp_path / "11"
    assert names(version) == ["a"]
    assert names(tmp_path) == ["10", "11", "2", "notes"]


def test_a_watcher_sees_no_number_before_all_is_there(tmp_path):
    seen = []

    def write(folder):
        (folder / "variables").mkdir()
        (folder / "variables" / "data").write_bytes(b"some")
        seen.extend(names(tmp_path / "model"))

    version = add_version(tmp_path / "model", write)
    assert version.name == "1"
    assert len(seen) == 1
    assert seen[0].startswith(".")
    assert names(tmp_path / "model") == ["1"]
    assert (version / "variables" / "data").read_bytes() == b"some"


@pytest.mark.parametrize("before", [[], ["1"]])
def test_after_an_error_nothing_is_left(tmp_path, before):
    folder = tmp_path / "model"
    for name in before:
        (folder / name).mkdir(parents=True)

    def write(partial):
        (partial / "half").write_bytes(b"some")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add_version(folder, write)
    assert names(tmp_path) == ["model"] * bool(before)
    assert not before or names(folder) == before


def test_of_two_at_once_each_has_a_number(tmp_path):
    def write_late(folder):
        (folder / "which").write_text("late")
        add_version(tmp_path, lambda other: (other / "which").write_text("early"))

    assert add_version(tmp_path, write_late).name == "2"
    assert (tmp_path / "1" / "which").read_text() == "early"
    assert (tmp_path / "2" / "which").read_text() == "late"


def test_a_number_that_is_taken_at_the_last_moment(tmp_path, monkeypatch):
    rename = type(tmp_path).rename

    def take_it_before(path, target):
        if not target.exists() and target.name == "1":
            target.mkdir()
            (target / "which").write_text("early")
        return rename(path, target)

    monkeypatch.setattr(type(tmp_path), "rename", take_it_before)
    version = add_version(tmp_path, lambda folder: (folder / "which").write_text("x"))
    assert version.name == "2"
    assert (tmp_path / "1" / "which").read_text() == "early"
