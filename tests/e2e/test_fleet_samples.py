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


def documented_commands():
    """Those that make certificates, of docs/operations.md."""
    section = (harness.ROOT / "docs/operations.md").read_text().split("\n## A fleet\n")[1].split("\n## ")[0]
    return "".join(block for block in re.findall(r"^```sh\n(.*?)^```$", section, re.M | re.S) if block.startswith(("openssl", "for")))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A folder with all files that the samples name."""
    folder = tmp_path_factory.mktemp("certificates")
    run("bash", "-euc", documented_commands(), cwd=folder)
    for kind in ("crt", "key"):
        (folder / f"ingest.eu.example.{kind}").rename(folder / f"node.{kind}")
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=viewers",
        "-addext", "subjectAltName=DNS:viewers.example", "-keyout", "server.key", "-out", "server.crt", cwd=folder)
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


# --- all of them, on this machine


class SampleNode(harness.Node):
    """A sample as it is, but for where its nodes are: one name, and ports of their own."""

    def __init__(self, folder, path, ports):
        super().__init__(folder)
        self.path, self.ports = path, ports

    def here(self, name, region, port):
        if (name, region, port) not in self.ports:
            self.ports[name, region, port] = harness.free_port()
        return self.ports[name, region, port]

    def write_config(self, to):
        text = NODE.sub(lambda match: f"https://localhost:{self.here(*match.groups())}", self.path.read_text())
        own = (self.path.stem, self.path.parent.name)
        to.write_text(re.sub(r'(listen: \[?"(?:\[::\]|127\.0\.0\.1):)(\d+)"', lambda match: f'{match[1]}{self.here(*own, match[2])}"', text))


def test_the_samples_together_are_a_fleet(certificates, tmp_path, publish):
    """With mutual TLS between all nodes: a stream goes from the ingest node in eu to the edges in ap and us."""
    run("bash", "-euc", re.sub(r"^for node in .*; do$", "for node in localhost; do", documented_commands(), flags=re.M)
        .replace("./*.example.crt", "localhost.crt"), cwd=tmp_path)
    for kind in ("crt", "key"):
        (tmp_path / f"localhost.{kind}").rename(tmp_path / f"node.{kind}")
        (tmp_path / f"server.{kind}").write_bytes((certificates / f"server.{kind}").read_bytes())
    ports, nodes = {}, {}
    try:
        for path in sorted(SAMPLES, key=lambda path: "origin" not in path.stem):
            node = nodes[path.stem, path.parent.name] = SampleNode(tmp_path, path, ports)
            node.start()
        publish(f"rtmp://{nodes['ingest', 'eu'].rtmp}/live/show?key=REPLACE-ME-a-key-for-broadcasters".replace("[::]", "127.0.0.1"))
        for place in (("shield", "eu"), ("edge-1", "ap"), ("edge-1", "us")):
            node = nodes[place]
            node.http = node.http.replace("[::]", "127.0.0.1")
            node.wait_live("live/show", 30)
        by_shield = [nodes[place].metric("weir_pull_streams") for place in (("shield-a", "ap"), ("shield-b", "ap"), ("shield", "us"))]
        assert sorted(by_shield[:2]) == [0, 1] and by_shield[2] == 1
    finally:
        for node in nodes.values():
            node.stop()
