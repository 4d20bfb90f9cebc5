# What tools/quickstart and tools/fleet-demo share: building weir, starting nodes and a demo, stopping all of it. Sourced by bash, in
# the root of the sources.
# shellcheck shell=bash

build_weir() {
  echo "Building …"
  if [ ! -e build/build.ninja ]; then meson setup build --buildtype=release >build-setup.log || { cat build-setup.log; exit 1; }; fi
  rm -f build-setup.log
  # A build/ that somebody made for debugging would show a slow weir.
  local kind
  kind=$(meson introspect build --buildoptions | python3 -c 'import json, sys
value = {option["name"]: option["value"] for option in json.load(sys.stdin)}
print("optimization=" + value["optimization"], "b_sanitize=" + value["b_sanitize"])')
  if [[ ! $kind =~ ^optimization=[23]\ b_sanitize=none$ ]]; then
    echo "build/ has $kind: making it a release build"
    meson configure build --buildtype=release -Db_sanitize=none
  fi
  ninja -C build --quiet weir ingest/fetch/weir-fetch
}

# Everything that was started and is in `pids` ends with the script, and its files in `folder` are gone.
pids=()
stop_all() {
  trap - INT TERM EXIT
  kill "${pids[@]}" 2>/dev/null || true
  wait
  rm -rf "$folder"
}
stop_with_script() {
  folder=$(mktemp -d)
  trap stop_all INT TERM EXIT
}

wait_ready() { # pid, its log
  for _ in $(seq 100); do
    grep -q 'event=ready' "$2" && return
    kill -0 "$1" 2>/dev/null || { wait "$1" || true; return 1; }
    sleep 0.1
  done
  return 1
}

port_in() { # a node's log, kind of listener
  sed -n "s/.* event=listen .*kind=$2 address=[^ ]*:\([0-9]*\).*/\1/p" "$1"
}

publish_demo() { # pid of the node, URL; as long as the node lives
  while kill -0 "$1" 2>/dev/null; do
    ffmpeg -hide_banner -nostdin -loglevel error -re -f lavfi -i testsrc2=size=1280x720:rate=30 \
      -f lavfi -i sine=frequency=440:beep_factor=4:sample_rate=48000 -c:v libx264 -preset veryfast -tune zerolatency \
      -pix_fmt yuv420p -g 30 -b:v 2000k -maxrate 2000k -bufsize 1000k -c:a aac -b:a 128k -ac 2 -f flv "$2" &
    encoder=$!
    wait "$encoder" || true
    sleep 1
  done
}
start_demo() { # the same
  (trap 'kill "$encoder" 2>/dev/null; exit' TERM; publish_demo "$@") &
  pids+=($!)
}
