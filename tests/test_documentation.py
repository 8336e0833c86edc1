"""The reference documentation builds from the docstrings without a warning, and nothing public is missing in it."""

import pathlib
import re
import subprocess
import sys
import types

import pytest
from test_examples import MODULES

import gdx

ROOT = pathlib.Path(gdx.__file__).parent.parent


@pytest.mark.slow
def test_the_documentation_builds_without_a_warning_and_has_every_public_name(tmp_path):
    build = [sys.executable, "-W", "error", str(ROOT / ".ci" / "docs"), str(tmp_path)]
    run = subprocess.run(build, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    missing = []
    public = {name: module for name, module in MODULES.items() if name.count(".") < 2 and hasattr(module, "__all__")}
    for name, module in public.items():
        page = (tmp_path / f"{name.replace('.', '/')}.html").read_text()
        entries = dict(re.findall(r'<section id="([\w.]+)">(.*?)</section>', page, re.DOTALL))
        for one in module.__all__:
            is_module = isinstance(getattr(module, one), types.ModuleType)
            if not is_module and "docstring" not in entries.get(one, ""):
                missing.append(f"{name}.{one}")
            if is_module and not (tmp_path / name / f"{one}.html").exists():
                missing.append(f"{name}.{one}")
    assert not missing, f"no words in the pages on {', '.join(missing)}"
    edge = (tmp_path / "gdx.html").read_text()
    assert "Smallest step size tested at which some run succeeds" in edge, "fields have their meanings"
    assert "Failures and successes alternate" in edge, "members of enumerations have theirs"
