"""The keys file and the `keys` subcommands."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from support.command_line import run_glioserve

from service.errors import SettingsError
from service.security.keys import KeyFile, Keys, Scope


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys"


@pytest.fixture
def command(path):
    """`glioserve keys` on that file."""
    return partial(run_glioserve, "keys", keys_file=path)


def test_a_key_can_be_added_listed_and_revoked(path, command):
    key = command("add", "ward-7", "--scope", "segment", "--scope", "read").stdout.strip()
    assert Keys(path).find(key).scopes == (Scope.SEGMENT, Scope.READ)
    assert "ward-7                segment,read" in command("list").stdout
    assert command("revoke", "ward-7").returncode == 0
    assert "revoked" in command("list").stdout
    assert Keys(path).find(key) is None


def test_the_keys_file_holds_only_hashes_and_is_readable_by_its_owner_only(path):
    key = KeyFile(path).add("ward-7", [Scope.SEGMENT])
    assert key.rpartition("_")[2] not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_added_and_revoked_keys_take_effect_without_a_restart(path):
    file, keys = KeyFile(path), Keys(path)
    key = file.add("ward-7", [Scope.SEGMENT])
    assert keys.find(key).name == "ward-7"
    other = file.add("ward-8", [Scope.SEGMENT])
    assert keys.find(other).name == "ward-8"
    file.revoke("ward-7")
    assert keys.find(key) is None
    assert keys.find(other) is not None


def test_an_invalid_keys_file_leaves_the_active_keys_unchanged(path, caplog):
    keys, key = Keys(path), KeyFile(path).add("ward-7", [Scope.SEGMENT])
    assert keys.find(key)
    path.write_text("nonsense\n")
    assert keys.find(key)
    assert "line 1 is not an API key" in caplog.text


@pytest.mark.parametrize(
    "change",
    [lambda key: key[:-1] + ("y" if key.endswith("x") else "x"), lambda key: key[:-1], str.upper, lambda _: "", repr],
    ids=["last character", "shortened", "upper case", "empty", "quoted"],
)
def test_a_modified_key_is_rejected(path, change):
    key = KeyFile(path).add("ward-7", [Scope.SEGMENT])
    assert change(key) != key
    assert Keys(path).find(change(key)) is None


def test_keys_added_concurrently_are_all_saved(path):
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda number: KeyFile(path).add(f"ward-{number}", [Scope.READ]), range(40)))
    assert len(made) == 40
    assert all(Keys(path).find(key) for key in made)


def test_blank_lines_and_a_missing_final_newline_are_accepted(path):
    file = KeyFile(path)
    first, second = file.add("ward-7", [Scope.READ]), file.add("ward-8", [Scope.READ])
    path.write_text("\n" + path.read_text().rstrip("\n"))
    file.revoke("ward-7")
    assert Keys(path).find(first) is None
    assert Keys(path).find(second)


def test_a_full_disk_is_an_error_and_leaves_the_keys_file_unchanged(path, monkeypatch):
    file = KeyFile(path)
    file.add("ward-7", [Scope.READ])
    before, whole_write = path.read_text(), os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: whole_write(descriptor, data[:9]))
    with pytest.raises(SettingsError, match="No space left on device"):
        file.revoke("ward-7")
    assert path.read_text() == before


def test_a_key_name_equal_to_the_id_of_another_key_is_rejected(path):
    file = KeyFile(path)
    key = file.add("ward-7", [Scope.READ])
    with pytest.raises(SettingsError, match="expected a new one"):
        file.add(key.split("_")[1], [Scope.READ])


def test_two_active_keys_cannot_share_a_name(path):
    file = KeyFile(path)
    file.add("ward-7", [Scope.READ])
    with pytest.raises(SettingsError, match="expected a new one"):
        file.add("ward-7", [Scope.READ])
    file.revoke("ward-7")
    file.add("ward-7", [Scope.READ])


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        (("revoke", "nobody"), "expected a file created by `glioserve keys add`"),
        (("add", "Jane Doe"), "NAME: expected 1 to 64 of"),
        (("list",), "No such file"),
    ],
)
def test_an_error_is_one_line_without_a_traceback(path, command, arguments, phrase):
    result = command(*arguments)
    assert result.returncode == 1
    assert phrase in result.stderr
    assert "Traceback" not in result.stderr
    assert not path.exists()


def test_an_invalid_line_is_reported_by_number(path):
    KeyFile(path).add("ward-7", [Scope.READ])
    with path.open("a") as file:
        file.write('{"id": "torn')
    with pytest.raises(SettingsError, match="line 2 is not an API key"):
        Keys(path).load()


def test_a_key_that_cannot_be_printed_is_revoked(tmp_path):
    keys = tmp_path / "keys"
    with Path("/dev/full").open("wb") as full:
        result = run_glioserve("keys", "add", "ward-7", keys_file=keys, stdout=full)
    assert result.returncode == 1
    [key] = KeyFile(keys).read().values()
    assert key.revoked
