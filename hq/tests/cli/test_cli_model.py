from __future__ import annotations

import asyncio
import json
import os
import stat
import time
import tomllib
from typing import Any

import pytest
from hq.tests.store.rows import device

from otscert.cli.config_file import ConfigFile
from otscert.cli.errors import CommandFailed
from otscert.store.sqlite import SqliteStore

Installation = Any  # the class lives in conftest.py, which cannot be imported
COMMENT = "# our cameras; ask Ann before you touch this\n"


@pytest.fixture
def commented(installed: Installation) -> Installation:
    """A configuration that people have written in."""
    installed.edit("[model.box]\n", f"{COMMENT}[model.box] # the first one\n")
    return installed


def written(installed: Installation) -> dict[str, Any]:
    models: dict[str, Any] = tomllib.loads(installed.config.read_text())["model"]
    return models


def change(installed: Installation, work: Any) -> Any:
    async def write() -> Any:
        store = SqliteStore.open(installed.database)
        try:
            return await store.write(work)
        finally:
            await store.close()

    return asyncio.run(write())


# ---- add


def test_a_model_is_added_below_what_is_there_with_a_token_of_its_own(commented: Installation) -> None:
    before = commented.config.read_text()
    done = commented.call("model", "add", "camera")
    assert done.returncode == 0, done.stderr
    assert commented.config.read_text().startswith(before.rstrip())
    assert written(commented)["camera"] == {"policies": ["token"], "token_file": "hq-data/token-camera"}
    token = commented.folder / "hq-data" / "token-camera"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert len(token.read_text().strip()) >= 32
    assert token.read_text().strip() not in done.stdout
    assert "Put the token in hq-data/token-camera into the firmware." in done.stdout
    assert "HQ is not running here: it holds from the next start on." in done.stdout
    assert commented.call("config", "check").returncode == 0


def test_a_model_is_added_with_all_that_was_said(commented: Installation) -> None:
    done = commented.call(
        *("model", "add", "camera", "--policy", "factory", "--policy", "approval", "--network", "10.0.0.0/8"),
        *("--naming", "readable", "--min-contribution", "open", "rekey_after_days=3", "static-address=false"),
        "webhook_url=https://shop.example.com/admit",
    )
    assert done.returncode == 0, done.stderr
    assert written(commented)["camera"] == {
        "policies": ["factory", "approval"],
        "networks": ["10.0.0.0/8"],
        "naming": "readable",
        "min_contribution": "open",
        "rekey_after_days": 3,
        "static_address": False,
        "webhook_url": "https://shop.example.com/admit",
        "webhook_secret_file": "hq-data/webhook-camera",
    }
    assert "Give the secret in hq-data/webhook-camera to the server of webhook_url." in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("box",), "there is a model box already: otscert model set box changes it"),
        (("camera", "--policy", "opne"), "model.camera.policies has 'opne', but knows factory, token, approval, open"),
        (("camera", "--network", "8.8.8.0/24"), "model.camera.networks: "),
        (("camera", "polices=open"), "model.camera.polices is not a setting. Did you mean model.camera.policies?"),
        (("camera", "rekey_after_days=soon"), "model.camera.rekey_after_days is 'soon', but must be a whole number"),
        (("camera", "static_address=no"), "must be true or false"),
        (("camera", "token=a-secret-of-some-length"), "model.camera.token is a secret: keep it in a file"),
        (("camera", "a.b=1"), "write the last part of its name alone"),
        (("camera", "webhook_url=http://shop.example.com"), "model.camera.webhook_url must start with https://"),
        (("camera", "allow_rsa=true"), 'needs model.camera.min_contribution = "none"'),
    ],
)
def test_a_model_that_cannot_be_is_not_added_and_leaves_nothing(
    commented: Installation, arguments: tuple[str, ...], words: str
) -> None:
    before = commented.config.read_text(), sorted(path.name for path in (commented.folder / "hq-data").iterdir())
    done = commented.call("model", "add", *arguments)
    assert (done.returncode, words in done.stderr) == (1, True), done.stderr
    assert "a-secret-of-some-length" not in done.stderr
    after = commented.config.read_text(), sorted(path.name for path in (commented.folder / "hq-data").iterdir())
    assert before == after
    assert [path.name for path in commented.folder.iterdir() if "new" in path.name] == []


@pytest.mark.parametrize("name", ["a b", "a.b", "", "x" * 61, "a]b", "../x"])
def test_a_name_that_is_none_is_refused(commented: Installation, name: str) -> None:
    assert commented.run("model", "add", name).returncode == 2


def test_a_token_that_is_there_already_is_kept(commented: Installation) -> None:
    token = commented.folder / "hq-data" / "token-camera"
    token.write_text("the-token-of-an-earlier-try\n")
    assert commented.call("model", "add", "camera").returncode == 0
    assert token.read_text() == "the-token-of-an-earlier-try\n"


# ---- set


def test_a_setting_is_changed_and_comments_stay(commented: Installation) -> None:
    done = commented.call("model", "set", "box", "policies=factory,approval", "waiting-per-address-per-day=50")
    assert done.returncode == 0, done.stderr
    assert written(commented)["box"] == {
        "policies": ["factory", "approval"],
        "token_file": "hq-data/token-box",
        "waiting_per_address_per_day": 50,
    }
    text = commented.config.read_text()
    assert COMMENT in text
    assert "[model.box] # the first one" in text
    assert "every setting is in docs/settings.md" in text


def test_a_setting_is_taken_out(commented: Installation) -> None:
    assert commented.call("model", "set", "box", "rekey_after_days=3").returncode == 0
    assert commented.call("model", "set", "box", "rekey_after_days=").returncode == 0
    assert "rekey_after_days" not in written(commented)["box"]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("cam", "naming=opaque"), 1, "the file has no model 'cam', but box: otscert model add cam adds it"),
        (("box", "token_file="), 1, "model.box has the policy token but no token"),
        (("box", "naming=short"), 1, "model.box.naming has 'short', but knows opaque, readable"),
        (("box", "naming"), 2, "is not KEY=VALUE"),
        (("box",), 2, "nothing to change"),
    ],
)
def test_a_change_that_cannot_be_changes_nothing(
    commented: Installation, arguments: tuple[str, ...], status: int, words: str
) -> None:
    before = commented.config.read_text()
    done = commented.run("model", "set", *arguments)
    assert (done.returncode, words in done.stderr.replace("\n", " ")) == (status, True), done.stderr
    assert commented.config.read_text() == before


@pytest.mark.parametrize(
    "text",
    [
        'model.box.policies = ["open"]\n{rest}',
        'model = {{ box = {{ policies = ["open"] }} }}\n{rest}',
        '{rest}\n[model]\nbox.policies = ["open"]\n',
        '{rest}\n[model.box]\npolicies = ["open"]\n[log]\nlevel = "info"\n[model.other]\npolicies = ["open"]\n',
    ],
    ids=["dotted", "inline", "dotted below", "scattered"],
)
def test_other_ways_to_write_a_model_are_changed_rightly_or_not_at_all(installed: Installation, text: str) -> None:
    rest = installed.config.read_text().split("[model.box]")[0]
    whole = text.format(rest=rest)
    installed.config.write_text(whole)
    assert installed.call("config", "check").returncode == 0
    done = installed.call("model", "set", "box", "naming=readable")
    if done.returncode == 0:
        assert written(installed)["box"] == {"policies": ["open"], "naming": "readable"}
        assert installed.call("config", "check").returncode == 0
    else:
        assert "edit the file by hand" in done.stderr
        assert installed.config.read_text() == whole


def test_mode_owner_and_link_of_the_file_stay(commented: Installation) -> None:
    real = commented.folder / "real.toml"
    commented.config.rename(real)
    real.chmod(0o640)
    owner = 65_534 if os.geteuid() == 0 else os.geteuid()  # only root can give files away
    os.chown(real, owner, -1)
    commented.config.symlink_to(real.name)
    assert commented.call("model", "set", "box", "naming=readable").returncode == 0
    assert commented.config.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert real.stat().st_uid == owner
    assert written(commented)["box"]["naming"] == "readable"


def test_a_file_that_cannot_be_replaced_is_as_it_was(
    commented: Installation, as_nobody_special: tuple[str, ...]
) -> None:
    before = commented.config.read_text()
    commented.folder.chmod(0o500)
    try:
        done = commented.run("model", "set", "box", "naming=readable", before=as_nobody_special)
    finally:
        commented.folder.chmod(0o700)
    assert done.returncode == 1
    assert "cannot be replaced (Permission denied): it is as it was" in done.stderr
    assert commented.config.read_text() == before


# ---- show, list


def test_show_tells_everything_effective_and_no_secret(commented: Installation) -> None:
    change(commented, lambda transaction: transaction.devices.add(device(policy="token", contribution="open")))
    change(
        commented,
        lambda transaction: transaction.canaries.mark(
            "box", "rng.repeats", now_s=1_700_000_000, data={"device": "d1", "device_before": "d0"}
        ),
    )
    assert commented.call("model", "set", "box", "webhook_url=https://shop.example.com/a?key=hidden").returncode == 1
    secret = commented.folder / "hq-data" / "hook"
    secret.write_text("the-secret-of-the-webhook\n")
    secret.chmod(0o600)
    done = commented.call(
        "model", "set", "box", "webhook_url=https://shop.example.com/a?key=hidden", "webhook_secret_file=hq-data/hook"
    )
    assert done.returncode == 0, done.stderr
    view = json.loads(commented.call("model", "show", "box", "--json").stdout)
    assert view["policies"] == ["token"]
    assert view["tokens"] == 1
    assert view["min_contribution"] == "open"
    assert view["quotas_per_day"]["admissions_per_token"] == 1000
    assert view["webhook"]["url"] == "https://shop.example.com/a?..."
    assert view["devices"]["total"] == 1
    assert view["devices"]["by_policy"] == {"token": 1}
    assert view["marks"] == [
        {
            "kind": "rng.repeats",
            "what": "its random number generator repeats",
            "since": "2023-11-14T22:13:20Z",
            "devices": ["d0", "d1"],
        }
    ]
    told = commented.call("model", "show").stdout
    assert "Model box" in told
    assert "its random number generator repeats, since 2023-11-14T22:13:20Z, seen at d0, d1" in told
    assert "policy: 1 token; contribution: 1 open; source: 1 jitter; state: 1 active" in told
    listed = commented.call("model", "list").stdout
    assert "token + webhook" in listed
    token = (commented.folder / "hq-data" / "token-box").read_text().strip()
    for hidden in ("hidden", "the-secret-of-the-webhook", token):
        assert hidden not in told + listed + json.dumps(view)


def test_show_works_before_there_is_a_database(commented: Installation) -> None:
    assert "there is no database yet" in commented.call("model", "show", "box").stdout
    assert json.loads(commented.call("model", "list", "--json").stdout)["models"][0]["devices"] is None
    missing = commented.call("model", "show", "camera")
    assert (missing.returncode, "there is no model 'camera'" in missing.stderr) == (1, True)
    assert not commented.database.exists()


def test_a_model_is_trusted_again(commented: Installation) -> None:
    change(commented, lambda transaction: transaction.canaries.mark("box", "rng.repeats", now_s=1, data={}))
    assert "Model box is trusted again." in commented.call("model", "trust-rng", "box").stdout
    assert json.loads(commented.call("model", "show", "box", "--json").stdout)["marks"] == []
    again = commented.call("model", "trust-rng", "box")
    assert (again.returncode, "is not marked" in again.stderr) == (1, True)
    kinds = change(
        commented, lambda transaction: transaction._connection.execute("SELECT kind, data FROM event").fetchall()
    )
    assert kinds == [("model.rng_trusted", '{"model":"box"}')]


# ---- a running HQ


def events(installed: Installation) -> list[str]:
    rows = change(installed, lambda transaction: transaction._connection.execute("SELECT kind FROM event").fetchall())
    return [row[0] for row in rows]


def until_event(installed: Installation, kind: str, count: int = 1) -> None:
    deadline_s = time.monotonic() + 20
    while events(installed).count(kind) < count:
        assert time.monotonic() < deadline_s, events(installed)
        time.sleep(0.05)


def test_a_running_hq_is_told_and_takes_up_what_can_be_used_and_nothing_else(commented: Installation) -> None:
    with commented.started("serve", "--json") as hq:
        assert '"ready"' in hq.stdout.readline()
        done = commented.call("model", "add", "camera", "--policy", "open")
        assert f"HQ (process {hq.pid}) does not know yet: kill -HUP {hq.pid}, or --reload" in done.stdout
        done = commented.call("model", "set", "camera", "naming=readable", "--reload")
        assert f"HQ (process {hq.pid}) was told" in done.stdout
        until_event(commented, "config.read_again")
        whole = commented.config.read_text()
        commented.config.write_text(whole.replace('policies = ["open"]', 'policies = ["opne"]'))
        os.kill(hq.pid, 1)
        until_event(commented, "config.refused")
        commented.config.write_text(whole + "\n[limits]\nopen_admissions_per_day = 7\n")
        os.kill(hq.pid, 1)
        until_event(commented, "config.read_again", count=2)
        assert hq.poll() is None
    rows = change(
        commented,
        lambda transaction: transaction._connection.execute(
            "SELECT data FROM event WHERE kind LIKE 'config.%' ORDER BY id"
        ).fetchall(),
    )
    first, refused, last = (json.loads(row[0]) for row in rows)
    assert first == {"models": ["box", "camera"], "needs_restart": []}
    assert "model.camera.policies has 'opne'" in refused["reason"]
    assert last == {"models": ["box", "camera"], "needs_restart": ["open_admissions"]}


def test_the_number_that_an_ended_hq_left_is_not_told(commented: Installation) -> None:
    with commented.started("serve", "--json") as hq:
        assert '"ready"' in hq.stdout.readline()
    assert (commented.folder / "hq-data" / "hq.lock").read_text() == f"{hq.pid}\n"
    done = commented.call("model", "set", "box", "naming=readable", "--reload")
    assert "HQ is not running here" in done.stdout


def test_what_somebody_else_wrote_meanwhile_is_not_overwritten(commented: Installation) -> None:
    file = ConfigFile.read(commented.config)
    commented.config.write_text(f"{file.text}\n# a late thought\n")
    with pytest.raises(CommandFailed, match="was changed by somebody else meanwhile: nothing was written"):
        file.replace(file.text.replace("token", "open"))
    assert commented.config.read_text().endswith("# a late thought\n")
    assert sorted(path.name for path in commented.folder.iterdir()) == ["hq-data", "otscert.toml"]
