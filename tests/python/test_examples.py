"""The programs in examples/, each as a person runs it, against the scripted model."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from hostel_server import ROOT, environment

# Some wait for seconds by themselves, and start several claudes.
PATIENCE = 180


@pytest.fixture
def example(server, tmp_path):
    """Runs one to its end, and gives what it printed."""

    def run(name: str) -> str:
        # Nothing is written beside the sources.
        env = environment(tmp_path, HOSTEL_BASE_URL=server.base_url, HOSTEL_API_KEY=server.api_key,
                          HOSTEL_OFFLINE="1", PYTHONDONTWRITEBYTECODE="1")
        done = subprocess.run([sys.executable, ROOT / "examples" / f"{name}.py"], env=env, cwd=tmp_path,
                              capture_output=True, text=True, timeout=PATIENCE)
        assert (done.returncode, done.stderr) == (0, ""), f"{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


def test_first_agent_answers(example):
    assert "[bash]" in example("first_agent")


def test_custom_tool_runs_to_its_end(example):
    assert "lamps" in example("custom_tool")


def test_ephemeral_bug_fix_comes_back_as_a_diff(example):
    printed = example("bug_fix")
    diff = printed[printed.index("fix.diff (") :]
    assert "\n-    return sum(price for price, quantity in items)\n" in diff
    assert "\n+    return sum(price * quantity for price, quantity in items)\n" in diff


def test_long_running_site_is_built_while_nobody_talks_to_its_agent(example):
    printed = example("site_builder")
    served = re.search(r"It is served: <h1>Night sky</h1><p>build (\d+)</p>", printed)
    later = re.search(r"Meanwhile: <h1>Night sky</h1><p>build (\d+)</p>", printed)
    assert served and later, printed
    # It is built every second. Frozen two seconds after the turn, it would have stopped there.
    assert int(later[1]) >= int(served[1]) + 5, printed


def test_hybrid_research_goes_on_in_another_sandbox_with_its_notes(example):
    printed = example("research")
    told = printed[printed.index("My notes:") :]
    assert all(fact in told for fact in ("1901", "bronze", "eclipses", "computer")), printed
    assert "cannot access '/tmp/first-sandbox'" in told, printed


def test_shared_simulation_loses_no_fish(example):
    printed = example("simulation")
    catches = re.findall(r"^round (\d): (\w+) took (\d+)$", printed, re.MULTILINE)
    left = re.search(r"^left: (\d+)$", printed, re.MULTILINE)
    assert sorted((number, name) for number, name, _ in catches) == sorted(
        (number, name) for number in "12" for name in ("anna", "ben", "cleo")), printed
    # Two who had changed the stock at once would have lost one catch.
    assert left and int(left[1]) + sum(int(caught) for _, _, caught in catches) == 100, printed
