"""A stream of a node under watch: recorders on its renditions, for the test modules that share what they brought home."""
import harness
from hls_playlist import parse
from hls_recorder import PlainReader, Prober, RenditionRecorder
from hls_validator import judge

START_S, END_S = 15, 75  # deadlines


class Session:
    """From the moment when `stream` can be played to its ENDLIST. `media_of`: variants whose media are fetched too."""

    def __init__(self, node, stream, media_of=("v0a0", "a0"), plain_reader=False):
        self.node, self.stream = node, stream
        self.multivariants = [node.wait_live(stream, START_S).encode()]
        uris = [uri for _, uri in parse(self.multivariants[0]).variants]
        self.recorders = {uri: RenditionRecorder(node.http, f"/{stream}/{uri}", uri.removesuffix(".m3u8") in media_of).start()
                          for uri in uris}
        self.first = self.recorders[uris[0]]
        self.reader = PlainReader(self.first) if plain_reader else None
        self.prober = Prober(node.http, stream, uris[0].removesuffix(".m3u8"))
        self.recordings = {}

    def wait_listed(self, seconds, deadline_s=60):
        harness.wait_for(lambda: self.first.playlist and self.first.playlist.duration >= seconds, deadline_s,
                         f"{seconds} s of {self.stream} to be listed")

    def wait_for(self, predicate, deadline_s, what):
        """Until the newest playlist satisfies it."""
        harness.wait_for(lambda: self.first.playlist and predicate(self.first.playlist), deadline_s, what)

    def note_multivariant(self):
        self.multivariants.append(self.node.get(f"/{self.stream}/index.m3u8").body)

    def finish(self):
        """After its publisher has ended for good."""
        self.recordings = {uri: recorder.join(END_S) for uri, recorder in self.recorders.items()}
        if self.reader:
            self.reader.merge()
        return self.recordings

    def judge(self):
        return judge(self.recordings, self.multivariants, self.prober.probes)

    @property
    def main(self):
        """The recording of the best variant."""
        return self.first.recording
