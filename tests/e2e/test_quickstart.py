"""tools/quickstart, and `meson install`: how weir comes to run for somebody who has just got its sources."""

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

import harness

QUICKSTART = harness.ROOT / "tools/quickstart"
BUILD_DEADLINE_S = 300  # there may be something left to compile
BUILD = harness.WEIR_BIN.parent


def alive_in_session(number):
    """The processes of a session that are more than zombies: {pid: name}."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, name, state, _, _, session = re.match(r"(\d+) \((.*)\) (\S) (\S+) (\S+) (\S+)", stat.read_text()).groups()
        except OSError:
            continue  # it has ended meanwhile
        if int(session) == number and state not in "ZX":
            found[int(pid)] = name
    return found


@pytest.fixture
def quickstart():
    """Starts it as a terminal would, as a session of its own; whatever is left of that is killed after the test."""
    started = []

    def start(*options, script=QUICKSTART, env=None):
        process = subprocess.Popen([script, *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   start_new_session=True, env={**os.environ, **(env or {})})
        process.said = harness.Log(process.stdout)
        started.append(process)
        return process

    yield start
    for process in started:
        for pid in alive_in_session(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait()
        print(f"--- said by {process.args}\n{process.said.text[-8000:]}")


def wait_said(process, pattern, deadline_s):
    def look():
        match = re.search(pattern, process.said.text)
        assert match or process.poll() is None, f"it has ended with {process.returncode}:\n{process.said.text[-4000:]}"
        return match

    return harness.wait_for(look, deadline_s, f"{pattern} to be said")


def local(address):
    """What is printed is for others; from here the port will do."""
    return re.sub(r"//[^:/]+", "//127.0.0.1", address)


@pytest.mark.parametrize("whole_group", [True, False], ids=["ctrl-c", "kill"])
def test_it_runs_with_a_demo_until_it_is_stopped(quickstart, whole_group):
    """On ports of the system's choice, so that it gets along with a node that is running here."""
    process = quickstart("--no-install", "--demo", "--ports", "0,0,0,0")
    demo = wait_said(process, r"Demo +http://[^/]+(/live/demo/)", BUILD_DEADLINE_S)
    page = wait_said(process, r"Watch +(http://\S+)/live/show/", 1)[1]
    operate = wait_said(process, r"Operate +(http://\S+)/ ", 1)[1]
    http, admin = (local(url).removeprefix("http://") for url in (page, operate))
    assert b"<video" in harness.http_request(http, demo[1]).body
    playlist = harness.wait_for(lambda: (answer := harness.http_request(http, "/live/demo/v0a0.m3u8")).status == 200 and answer.text,
                                30, "the demo to be live")
    assert "#EXT-X-PART:" in playlist and "#EXT-X-PRELOAD-HINT:" in playlist
    part = re.search(r'#EXT-X-PART:.*URI="([^"]+)"', playlist)[1]
    assert len(harness.http_request(http, f"/live/demo/{part}").body) > 1000
    told, = harness.http_request(admin, "/api/v1/streams").json()["streams"]
    assert (told["name"], told["state"]) == ("live/demo", "live")
    assert re.search(r"Server +rtmp://[^/]+/live\n.*Stream key +show\n", process.said.text, re.S)
    assert set(alive_in_session(process.pid).values()) >= {"bash", "weir", "ffmpeg"}

    if whole_group:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.terminate()
    harness.wait_for(lambda: not alive_in_session(process.pid), 15, "all its processes to be gone")
    process.said.join()
    assert "event=stopped" in process.said.text  # weir itself had the time to end


@pytest.mark.parametrize("options", [["--nonsense"], ["--ports"], ["--ports", "1,2"], ["--ports", "a,b,c"]])
def test_a_wrong_option_is_told(options):
    done = subprocess.run([QUICKSTART, *options], capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and done.stderr.startswith("usage:") and not done.stdout


def test_a_port_in_use_is_told(quickstart, weir):
    process = quickstart("--no-install", "--ports", f"0,0,{weir.admin.split(':')[1]},0")
    assert process.wait(BUILD_DEADLINE_S) == 1
    process.said.join()
    assert "event=listen_failed" in process.said.text and "weir did not start" in process.said.text
    assert not alive_in_session(process.pid)


STAND_IN = """#include <stdio.h>
int main(void) {
#ifdef __OPTIMIZE__
    fputs("optimised ", stderr);
#endif
#ifdef __SANITIZE_ADDRESS__
    fputs("sanitized ", stderr);
#endif
    return 1;
}
"""


@pytest.mark.parametrize("there, reconfigured", [
    (None, False), (["--buildtype=debugoptimized"], False), (["--buildtype=debug"], True),
    (["--buildtype=release", "-Db_sanitize=address"], True),
], ids=["nothing", "optimised", "debug", "sanitized"])
def test_it_builds_with_optimisation_whatever_there_was(quickstart, tmp_path, there, reconfigured):
    """In a tree whose program is small and tells how it was compiled."""
    (tmp_path / "tools").mkdir()
    for name in ("quickstart", "start.sh"):
        shutil.copy(QUICKSTART.parent / name, tmp_path / "tools")
    (tmp_path / "ingest/fetch").mkdir(parents=True)
    (tmp_path / "ingest/fetch/meson.build").write_text("executable('weir-fetch', '../../weir.c')\n")
    (tmp_path / "meson.build").write_text("project('stand-in', 'c')\nexecutable('weir', 'weir.c')\nsubdir('ingest/fetch')\n")
    (tmp_path / "weir.c").write_text(STAND_IN)
    if there:
        subprocess.run(["meson", "setup", "build", *there], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    process = quickstart("--no-install", script=tmp_path / "tools/quickstart")
    assert process.wait(60) == 1
    process.said.join()
    assert "optimised " in process.said.text and "sanitized " not in process.said.text
    assert ("making it a release build" in process.said.text) == reconfigured


# --- meson install

UNITS = {"weir.service": "weir.yaml", "weir-ingest.service": "ingest.yaml", "weir-origin.service": "origin.yaml",
         "weir-relay.service": "relay.yaml"}


def fleet_samples():
    folder = harness.ROOT / "conf/fleet"
    return [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def prefix():
    asked = subprocess.run(["meson", "introspect", "--buildoptions", BUILD], capture_output=True, text=True, check=True, timeout=60)
    return {option["name"]: option["value"] for option in json.loads(asked.stdout)}


def install(folder):
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", folder], check=True,
                   capture_output=True, timeout=60)


def installed(folder, options):
    """The folders of an install into `folder`."""
    prefix = folder / options["prefix"].lstrip("/")
    return prefix, folder / (Path(options["prefix"]) / options["sysconfdir"]).relative_to("/")


def test_install_lays_out_everything(tmp_path, prefix):
    install(tmp_path)
    usr, etc = installed(tmp_path, prefix)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == sorted(
        str(path.relative_to(tmp_path)) for path in (
            usr / "bin/weir", usr / "bin/weir-feedcat", usr / "bin/weir-load", usr / "libexec/weir/weir-fetch", *(usr / "lib/systemd/system" / unit for unit in UNITS),
            usr / "lib/sysusers.d/weir.conf", usr / "share/doc/weir/settings.md", usr / "share/doc/weir/weir.yaml", etc / "weir/weir.yaml",
            *(usr / "share/doc/weir/fleet" / sample for sample in fleet_samples())))
    assert (etc / "weir/weir.yaml").read_text() == (harness.ROOT / "conf/weir.yaml").read_text()
    checked = subprocess.run([usr / "bin/weir", "-t", "-c", etc / "weir/weir.yaml"], capture_output=True, text=True, timeout=20)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_install_keeps_what_the_operator_wrote(tmp_path, prefix):
    _, etc = installed(tmp_path, prefix)
    (etc / "weir").mkdir(parents=True)
    (etc / "weir/weir.yaml").write_text("relay: {}\n")
    install(tmp_path)
    assert (etc / "weir/weir.yaml").read_text() == "relay: {}\n"


def commands(unit):
    return re.findall(r"^ExecStart(?:Pre)?=(\S+) (?:-t )?-c (\S+)$", unit.read_text(), re.M)


@pytest.mark.parametrize("name, file", UNITS.items())
def test_systemd_accepts_the_installed_units(tmp_path, prefix, name, file):
    """Below another root, where programs and users are looked for, too."""
    install(tmp_path)
    usr, etc = installed(tmp_path, prefix)
    unit = usr / "lib/systemd/system" / name
    program, config = f"{prefix['prefix']}/bin/weir", "/" + str((etc / "weir" / file).relative_to(tmp_path))
    assert commands(unit) == [(program, config)] * 2 and (usr / "bin/weir").exists()
    local = tmp_path / name
    local.write_text(unit.read_text().replace(prefix["prefix"] + "/bin/", f"{usr}/bin/"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", local], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0
    assert [line for line in done.stderr.splitlines() if "weir" in line] == []


def test_units_differ_in_what_they_run_only(tmp_path, prefix):
    install(tmp_path)
    texts = [(installed(tmp_path, prefix)[0] / "lib/systemd/system" / name).read_text() for name in UNITS]
    assert len(set(texts)) == len(UNITS)
    assert len({re.sub(r"^(Description|ExecStart|ExecStartPre)=.*", "", text, flags=re.M) for text in texts}) == 1
    assert "NoNewPrivileges=yes" in texts[0]


def test_the_installed_user_can_be_made(tmp_path, prefix):
    install(tmp_path)
    usr, _ = installed(tmp_path, prefix)
    (tmp_path / "etc").mkdir(exist_ok=True)
    users = subprocess.run(["systemd-sysusers", "--root", tmp_path, usr / "lib/sysusers.d/weir.conf"], capture_output=True,
                           text=True, timeout=30)
    assert users.returncode == 0, users.stderr
    assert re.search(r"^weir:", (tmp_path / "etc/passwd").read_text(), re.M)
