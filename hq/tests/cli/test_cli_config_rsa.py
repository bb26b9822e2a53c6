"""RSA is allowed only where HQ can do without its contribution, and only where the keys can be checked."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

Installation = Any  # the class lives in conftest.py, which cannot be imported

ALLOWED = 'allow_rsa = true\nmin_contribution = "none"\ntoken_file'
WITHOUT = """
    import sys
    from importlib.machinery import PathFinder

    class Without(PathFinder):
        @classmethod
        def find_spec(cls, name, path=None, target=None):
            return None if name == "MODULE" else super().find_spec(name, path, target)

    sys.meta_path = [Without if each is PathFinder else each for each in sys.meta_path]
"""


def test_rsa_with_the_extra_can_be_used(installed: Installation) -> None:
    installed.edit("token_file", ALLOWED)
    assert installed.call("config", "check").returncode == 0


@pytest.mark.parametrize("contribution", ["", 'min_contribution = "open"\n', 'min_contribution = "sealed"\n'])
def test_rsa_with_a_contribution_is_refused(installed: Installation, contribution: str) -> None:
    installed.edit("token_file", f"allow_rsa = true\n{contribution}token_file")
    done = installed.call("config", "check")
    assert done.returncode == 1
    assert 'model.box.allow_rsa needs model.box.min_contribution = "none"' in done.stderr.replace("\n", " ")


@pytest.mark.parametrize("module", ["badkeys", "gmpy2"])
def test_rsa_without_the_extra_is_refused_with_what_to_install(installed: Installation, module: str) -> None:
    installed.edit("token_file", ALLOWED)
    folder = installed.folder / "without"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(textwrap.dedent(WITHOUT).replace("MODULE", module))
    done = installed.start("config", "check", env={"PYTHONPATH": str(folder)})
    assert done.returncode == 1
    text = " ".join(done.stderr.split())
    assert "model.box.allow_rsa: RSA keys are checked by badkeys and gmpy2" in text
    assert "pip install 'otscert[rsa]'" in text
    installed.edit("allow_rsa = true\n", "")
    assert installed.start("config", "check", env={"PYTHONPATH": str(folder)}).returncode == 0
