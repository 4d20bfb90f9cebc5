"""A fleet that carries a stream, and what its tests ask of it: where a relay takes the stream from, what stands by, who watches.

    scene = Scene(fleet, stream, folder)         two origins and an ingest node, to which an ffmpeg is publishing
    relay = fleet.relay("relay", upstreams=scene.origins)
    watched = scene.watch(relay)                 a viewer of each kind
    scene.used_by(relay).kill()                  the node in use
    watched.check(max_gap_s=FAILOVER_S)
"""

import harness
from continuity import LiveWatch, PartWatch
from publishers import Publisher

FAILOVER_S = 0.5  # the longest that a viewer may be without media when something behind its relay fails
BEFORE_S, AFTER_S = 1, 1.5  # of media that viewers have before it happens, and after
RECOVERY_S = 20
TIMELINES = 'weir_feed_responses{kind="timeline"}'
TRACKS = 'weir_feed_responses{kind="track"}'


def failovers(relay, reason):
    return relay.metric(f'weir_pull_failovers_total{{reason="{reason}"}}')


class Watched:
    """A continuous viewer and one of LL-HLS, both with media."""

    def __init__(self, node, stream):
        node.wait_live(stream)
        self.live, self.parts = LiveWatch(node.http, stream), PartWatch(node.http, stream)
        self.wait(BEFORE_S)

    def wait(self, media_s):
        both = (self.live, self.parts)
        for watch in both:
            watch.wait_media(0)  # it has begun
        for watch, since in [(watch, dict(watch.reached_s)) for watch in both]:
            watch.wait_media(media_s, since=since)

    def check(self, max_gap_s=FAILOVER_S, after_s=AFTER_S):
        """Nothing was lost or came twice, and media was never away for longer. Gives the longest gaps of both."""
        self.wait(after_s)
        reference = self.parts.finish()
        reports = [self.live.finish().report(reference), self.parts.report()]
        for report in reports:
            report.check(max_gap_s)
        return [report.longest_gap_s for report in reports]


class Scene:
    def __init__(self, fleet, stream, folder, **publisher):
        self.fleet, self.stream = fleet, stream
        self.origins = [fleet.origin("near"), fleet.origin("far")]
        self.ingest = fleet.ingest("ingest", origins=self.origins)
        self.publisher = Publisher(self.ingest.push_url(stream), folder / "publisher.log", **publisher)
        self.wait_brought()

    def wait_brought(self):
        """Until every origin has the stream."""
        for origin in self.origins:
            harness.wait_for(lambda o=origin: o.state(self.stream) == "live", RECOVERY_S, f"{origin.name} to have {self.stream}")

    def watch(self, node):
        return Watched(node, self.stream)

    def used_by(self, relay, stream=None):
        """Of the nodes and lines behind it, the one that the stream is taken from."""
        url = relay.log.find("pull_from", stream=stream or self.stream)[-1]["upstream"]
        return next(one for one in relay.behind if url == f"http://{relay.address_of(one)}")

    def wait_relays(self, relays):
        """Until each of these, all that there are, takes the stream from one origin, and the other stands by."""
        def all_stand():
            timelines = [origin.metric(TIMELINES) for origin in self.origins]
            tracks = sum(origin.metric(TRACKS) for origin in self.origins)
            return timelines == [relays] * 2 and tracks == 2 * relays

        harness.wait_for(all_stand, RECOVERY_S, f"{relays} relays with two links each")

    def close(self):
        self.publisher.stop()
