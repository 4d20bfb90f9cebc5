"""conf/fleet: configurations of a fleet in three regions, to be copied and changed."""

import re
import subprocess

import pytest

import harness

FOLDER = harness.ROOT / "conf/fleet"
SAMPLES = sorted(FOLDER.glob("*/*.yaml"))
NODE = re.compile(r"https://([a-z0-9-]+)\.([a-z]+)\.example:(\d+)")


def run(*command, cwd):
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A folder with all files that the samples name."""
    folder = tmp_path_factory.mktemp("certificates")
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
    run(*new, "-subj", "/CN=fleet", "-keyout", "fleet.key", "-out", "fleet.crt", cwd=folder)
    run(*new, "-subj", "/CN=node", "-addext", "subjectAltName=DNS:node.example", "-CA", "fleet.crt", "-CAkey", "fleet.key",
        "-keyout", "node.key", "-out", "node.crt", cwd=folder)
    run(*new, "-subj", "/CN=viewers", "-addext", "subjectAltName=DNS:viewers.example", "-keyout", "server.key", "-out", "server.crt",
        cwd=folder)
    return folder


def test_there_are_the_roles_of_three_regions():
    assert {str(path.relative_to(FOLDER)) for path in SAMPLES} == {
        "eu/ingest.yaml", "eu/origin-a.yaml", "eu/origin-b.yaml", "eu/shield.yaml", "ap/shield-a.yaml", "ap/shield-b.yaml",
        "ap/edge-1.yaml", "us/shield.yaml", "us/edge-1.yaml"}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_sample_passes_the_check(certificates, path):
    copy = certificates / path.name
    copy.write_text(path.read_text())
    done = subprocess.run([harness.WEIR_BIN, "-t", "-c", copy], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_sample_says_who_it_is_and_has_no_key_of_anybody(path):
    text = path.read_text()
    region = path.parent.name
    assert f"\nnode: {path.stem}-{region}\nregion: {region}\n" in text
    assert f" on {path.stem}.{region}.example" in text.splitlines()[0]
    keys = re.findall(r'key: "(.*?)"|keys: \["(.*?)"\]', text)
    assert keys and all("".join(key).startswith("REPLACE-ME-") for key in keys)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_nodes_that_the_sample_names_listen_there(path):
    """In another sample, over TLS that takes nodes of the fleet only."""
    for name, region, port in NODE.findall(path.read_text()):
        text = (FOLDER / region / f"{name}.yaml").read_text()
        assert re.search(rf'listen: \["\[::\]:{port}"\]', text), f"{name}.{region} does not listen on {port}"
        assert "client_ca: fleet.crt" in text
