"""The life of a broadcast as its publisher makes it: dropping and coming back, being taken over, ending, and who may publish."""

import json
import re
import time

import harness

GRACE_S = 3


def media_playlist(node, name, variant="v0a0"):
    return node.get(f"/{name}/{variant}.m3u8").text


def last_number(playlist):
    """The number of the segment that is being made or was made last."""
    first = int(re.search(r"#EXT-X-MEDIA-SEQUENCE:(\d+)", playlist)[1])
    return first + playlist.count("#EXTINF")


def wait_publish(node, name, after=0, deadline_s=15, **fields):
    return node.log.wait("publish_start", deadline_s, after, stream=name, **fields)


def test_a_publisher_that_comes_back_within_the_grace_time_goes_on(start_weir, publish, stream):
    weir = start_weir({"origin": {"grace_s": 20}})
    first = publish(weir.push_url(stream))
    weir.wait_segment(stream)
    first.drop()
    weir.log.wait("publish_end", stream=stream)
    before = last_number(media_playlist(weir, stream))
    mark = len(weir.log.lines)

    publish(weir.push_url(stream))
    wait_publish(weir, stream, mark)

    def resumed():
        playlist = media_playlist(weir, stream)
        return "#EXT-X-DISCONTINUITY\n" in playlist and last_number(playlist) > before + 1 and playlist

    playlist = harness.wait_for(resumed, 15, "segments after a discontinuity")
    assert "#EXT-X-ENDLIST" not in playlist
    assert not weir.log.find("stream_end", stream=stream)


def test_numbers_never_go_back_when_publishers_come_and_go(start_weir, publish, stream):
    """Neither within the grace time nor after the end; parts' numbers neither."""
    weir = start_weir({"origin": {"grace_s": 1}})
    numbers = []
    for ends_first in (False, False, True, False):
        if ends_first:
            weir.log.wait("stream_end", 15, stream=stream)
        mark = len(weir.log.lines)
        publisher = publish(weir.push_url(stream))
        wait_publish(weir, stream, mark)
        weir.wait_state(stream, "live")
        current = harness.wait_for(lambda: (entry := weir.streams()[stream])["msn"] and entry, 10, "a segment")
        numbers.append((current["msn"], current["part"], current["epoch"]))
        publisher.drop()
        weir.log.wait("publish_end", after=mark, stream=stream)
    msns, parts, epochs = zip(*numbers)
    assert list(msns) == sorted(msns)
    assert list(parts) == sorted(parts)
    assert list(epochs) == sorted(set(epochs))


def test_a_broadcast_ends_after_the_grace_time(start_weir, publish, stream):
    weir = start_weir({"origin": {"grace_s": GRACE_S}})
    publisher = publish(weir.push_url(stream))
    weir.wait_segment(stream)
    publisher.stop()
    weir.log.wait("publish_end", stream=stream)
    left = time.monotonic()
    assert "#EXT-X-ENDLIST" not in media_playlist(weir, stream)

    playlist = harness.wait_for(
        lambda: (text := media_playlist(weir, stream)).rstrip().endswith("#EXT-X-ENDLIST") and text,
        GRACE_S + 5, "ENDLIST")
    assert time.monotonic() - left > GRACE_S - 0.5
    assert "#EXT-X-PRELOAD-HINT" not in playlist
    assert media_playlist(weir, stream, "a0").rstrip().endswith("#EXT-X-ENDLIST")


def test_a_second_publisher_is_refused_while_the_first_one_sends(weir, publish, stream):
    first = publish(weir.push_url(stream))
    weir.wait_live(stream)
    second = publish(weir.push_url(stream))
    assert second.wait(15) != 0
    assert "Somebody else is publishing under this name" in second.log_text
    assert first.alive
    assert weir.state(stream) == "live"
    assert len(weir.log.find("publish_start", stream=stream)) == 1


def test_a_stream_too_many_is_refused(start_weir, publish, stream):
    weir = start_weir({"limits": {"streams_max": 1}})
    publish(weir.push_url(stream))
    weir.wait_live(stream)
    second = publish(weir.push_url("live/one-too-many"))
    assert second.wait(15) != 0
    assert "This server is full" in second.log_text
    assert weir.metric('weir_rtmp_refused_total{reason="full"}') == 1
    assert weir.log.find("rtmp_refused", name="one-too-many", end="full")
    assert weir.state(stream) == "live"
    assert set(weir.streams()) == {stream}


def test_a_silent_publisher_is_taken_over(weir, publish, stream):
    first = publish(weir.push_url(stream))
    weir.wait_segment(stream)
    before = last_number(media_playlist(weir, stream))
    first.freeze()
    parts = weir.streams()[stream]["part"]

    def taken_over():
        publisher = publish(weir.push_url(stream))
        return harness.wait_for(lambda: weir.log.find("publish_takeover", stream=stream) or not publisher.alive, 15) is not True

    # Within its first seconds of silence it still counts as sending, and the next one is refused as above.
    harness.wait_for(taken_over, 20, "the silent publisher to be taken over", every_s=0.5)
    harness.wait_for(lambda: weir.streams()[stream]["part"] > parts + 10, 15, "new parts")
    playlist = harness.wait_for(
        lambda: "#EXT-X-DISCONTINUITY\n" in (text := media_playlist(weir, stream)) and text, 10, "the discontinuity")
    assert last_number(playlist) >= before
    first.thaw()
    assert first.wait(15) != 0, "the old publisher must be cut off when it wakes up"
    assert weir.state(stream) == "live"


def test_keys_say_who_may_publish_what(start_weir, publish):
    weir = start_weir({"auth": {"publish": {"keys": ["master-key", "live/one:only-one", "show/*:all-shows"]}}})
    refused = [publish(weir.push_url("live/none")), publish(weir.push_url("live/wrong", "no-such-key")),
               publish(weir.push_url("live/two", "only-one")), publish(weir.push_url("live/other", "all-shows"))]
    admitted = {"live/any": "master-key", "live/one": "only-one", "show/evening": "all-shows"}
    for name, key in admitted.items():
        publish(weir.push_url(name, key))
    for publisher in refused:
        assert publisher.wait(15) != 0
        assert "Operation not permitted" in publisher.log_text or "enied" in publisher.log_text, publisher.log_text
    for name in admitted:
        weir.wait_live(name)
    assert set(weir.streams()) == set(admitted)


def test_keys_are_written_nowhere(start_weir, publish, stream):
    weir = start_weir({"auth": {"publish": {"keys": ["secret-key-7391"]}}, "log": {"level": "debug"}})
    publish(weir.push_url(stream, "secret-key-7391"))
    publish(weir.push_url("live/other", "secret-key-7391-wrong")).wait(15)
    weir.wait_live(stream)
    shown = weir.log.text + weir.admin_get("/api/v1/streams").text + weir.admin_get("/metrics").text
    shown += weir.admin_get("/").text + weir.get(f"/{stream}/index.m3u8").text + media_playlist(weir, stream)
    assert "secret-key-7391" not in shown


def test_obs_asks_what_to_encode_and_pushes_where_it_is_told(start_weir, publish):
    """Enhanced Broadcasting, with a request as OBS 31 posts it; ffmpeg pushes the one track that it can."""
    weir = start_weir({"ingest": {"golive": {"ladder": ["720 2500", "360 700"]}}, "auth": {"publish": {"keys": ["live/show:secret"]}}})
    request = json.loads((harness.ROOT / "tests/fuzz/corpus/golive/obs-31.json").read_text())

    def ask(stream_key, method="POST"):
        body = json.dumps({**request, "authentication": stream_key})
        return harness.http_request(weir.http, "/api/golive", method=method, body=body, headers={"Content-Type": "application/json"})

    assert ask("show?key=secret", method="GET").status == 405
    refused = ask("show?key=wrong")
    assert refused.status == 200 and refused.json()["status"]["result"] == "error" and "wrong" in refused.json()["status"]["html_en_us"]
    answer = ask("show?key=secret").json()
    assert answer["status"]["result"] == "success"
    assert [(e["width"], e["height"], e["settings"]["bitrate"]) for e in answer["encoder_configurations"]] == [(1280, 720, 2500),
                                                                                                               (640, 360, 700)]
    url = answer["ingest_endpoints"][0]["url_template"]
    assert url == f"rtmp://{weir.rtmp}/live/{{stream_key}}"
    publish(url.replace("{stream_key}", "show?key=secret&clientConfigId="))
    weir.wait_live("live/show")
    assert weir.metric('weir_golive_requests_total{result="refused"}') == 1
    assert weir.log.find("golive", stream="live/show") and "secret" not in weir.log.text


def test_without_keys_the_log_says_that_anybody_may_publish(weir):
    assert weir.log.find("publish_open", level="warn")


def test_sound_without_picture_is_a_stream_too(weir, publish, stream):
    publish(weir.push_url(stream), video=False)
    weir.wait_segment(stream, "a0")
    assert [track["name"] for track in weir.streams()[stream]["tracks"]] == ["a0"]


def test_a_name_that_is_none_is_refused(weir, publish):
    publisher = publish(weir.push_url("live/..%2Fetc"))
    assert publisher.wait(15) != 0
    assert not weir.streams()
