// The player page's program. It plays the stream that the page lies in, with hls.js where there is MediaSource and natively
// where there is not, and keeps at it: whatever happens, it says so and goes on by itself when it can.
//
// How it decides what to show: nothing sets the state directly. Ten times a second `tick` looks at the facts (does the picture
// move? what did the last look at the server say?) and derives the state from them, so that no state can be stuck.
//
// For tests and operators: window.weir
//   .state     'loading' | 'playing' | 'paused' | 'buffering' | 'blocked' (the browser wants a click first) | 'away' (the
//              server answers, the broadcaster sends nothing) | 'offline' (no such stream now) | 'ended' | 'lost' (the
//              server can't be reached) | 'busy' (it is too loaded) | 'broken' (what comes can't be played, for now) | 'refused' |
//              'unsupported'; also in <html data-state>
//   .stats()   what the statistics show, as numbers: see stats() below
const VERSION = document.documentElement.dataset.version;
const SOURCE = new URL('index.m3u8', location.href).href;
const TICK_MS = 100;

const $ = (id) => document.getElementById(id);
const video = $('video');
const clamp = (x, low, high) => Math.min(high, Math.max(low, x));
const now = () => performance.now() / 1000;

const streamName = () => {
  const parts = location.pathname.split('/').filter((part) => part && part !== 'index.html');
  try {
    return parts.slice(-2).map(decodeURIComponent).join('/');
  } catch {
    return parts.slice(-2).join('/');
  }
};

// ---------------------------------------------------------------------------------------------------------------- facts

const WORDS = {
  loading: ['', ''],
  buffering: ['', ''],
  blocked: ['Ready to play', ''],
  away: ['Waiting for the broadcaster…', 'It goes on here by itself.'],
  offline: ['Not live yet', 'It starts here by itself.'],
  ended: ['The broadcast has ended', 'Should it come back, it starts here by itself.'],
  lost: ['Connection lost, trying again…', ''],
  busy: ['The server is busy, trying again…', ''],
  broken: ['Playback fails, trying again…', ''],
  refused: ['This link does not open the stream', 'It may have expired. Ask for a new one.'],
  unsupported: ['This browser cannot play the stream', 'A current Chrome, Edge, Firefox or Safari can.'],
};
const CODEC_NAMES = { avc1: 'H.264', hvc1: 'HEVC (H.265)', av01: 'AV1', vp09: 'VP9', mp4a: 'AAC', Opus: 'Opus', fLaC: 'FLAC' };
const codecName = (codec) => CODEC_NAMES[codec.slice(0, 4)] ?? CODEC_NAMES[codec] ?? codec;
const SPINNING = ['loading', 'buffering', 'away', 'lost', 'busy', 'broken'];

// Seconds between two looks at the server, first and at most; each is varied by ±30 %, so that an audience doesn't come at once.
const RETRY = { offline: [1, 6], ended: [3, 15], lost: [0.5, 6], busy: [2, 15], broken: [2, 15], refused: [30, 60] };

let state = 'loading';
let engine = null;        // what feeds the video element; null while there is nothing to play
let fault = null;         // why nothing plays, a key of RETRY, or 'unsupported'
let blocked = false;      // play() was refused
let wantPlay = true;      // the viewer did not pause
let following = true;     // stays at the live edge; false after a pause
let hasPlayed = false;    // since the page was opened
let firstFrame = null;    // seconds since the navigation began
let choice = 'auto';      // of quality: 'auto', 'audio', or a level's number
let audioOnly = null;     // URL of the playlist without video
let sounds = [];          // of the audio group, as hls.js has them
let sound = null;         // the one that was chosen of them, by its key; null: the first
let subtitles = [];       // likewise
let words = '';           // the subtitles that were chosen, by their key; '': none
let unplayable = [];      // renditions that the browser doesn't decode, as labels
let lacking = null;       // 'picture is CODEC' or 'sound is CODEC', which this browser doesn't decode

// -------------------------------------------------------------------------------------------------------------- engines
// An engine has: resume() after a network fault, stop(), details() of the playlist, entry(position), choose(quality), levels(), hear(key of
// sounds), read(key of subtitles), numbers().

const HLS_CONFIG = {
  lowLatencyMode: true,
  enableWorker: false,        // fMP4 passes through as it is: a worker would only cost start-up time
  testBandwidth: false,       // or the first segment is loaded twice
  abrSwitchInterval: 0,
  startFragPrefetch: true,
  abrEwmaDefaultEstimate: 4e6,
  maxBufferLength: 10,
  // What was played is left to the browser, which makes room when it has to. When hls.js 1.7.4 trims it, at each segment, it looks at
  // the same time whether what is being appended has been lost, finds that it has, and loads it again over the picture shown.
  backBufferLength: Infinity,
  liveDurationInfinity: true,
  liveSyncOnStallIncrease: 0, // what a stall costs is decided in `pace`
  maxBufferHole: 0.2,
  detectStallWithCurrentTimeMs: 600,
  nudgeOffset: 0.05,
  nudgeMaxRetry: 8,
  manifestLoadPolicy: policy(8000, 0, 0),
  // A held playlist that isn't answered in time is only asked for again: that is what silence looks like.
  playlistLoadPolicy: policy(8000, Infinity, 2),
  fragLoadPolicy: policy(8000, 4, 3),
};

function policy(timeout, timeouts, errors) {
  return {
    default: {
      maxTimeToFirstByteMs: timeout,
      maxLoadTimeMs: 2 * timeout,
      timeoutRetry: { maxNumRetry: timeouts, retryDelayMs: 0, maxRetryDelayMs: 0 },
      errorRetry: { maxNumRetry: errors, retryDelayMs: 200, maxRetryDelayMs: 1000 },
    },
  };
}

// Where loading has to begin so that the picture at `position` can be decoded: at the newest key frame before it. Only listed
// parts tell of theirs. If all that do come later, the first of them is worth more than what would be loaded from long before it;
// if none does, it is most likely the segment before them that begins with one. NaN without parts.
function entryTo(position, details) {
  const parts = details?.partList;
  if (!parts?.length) return NaN;
  const keys = parts.filter((part) => part.independent && !part.gap).map((part) => part.start);
  if (keys.length) return keys.findLast((start) => start <= position) ?? keys[0];
  return (details.fragments.findLast((frag) => frag.end < parts[0].start + 0.05) ?? parts[0]).start;
}

// What hls.js 1.7.4 loads next, where it would do badly:
//   - It begins at the live edge. When no key frame is near, it loads what can't be decoded, throws it away, and ends up waiting
//     for the next key frame. Here it begins at the key frame; `pace` goes to the live edge when all is loaded up to there.
//   - A segment that is there as a whole is loaded by its parts, a round trip each; and after one that was loaded as a whole, only
//     an independent part is loaded, so that up to a segment's time goes by.
//   - It can get stuck at a segment's end while it loads parts: when sound ends a few milliseconds before the picture, so does the
//     buffer before the segment, the segment that is there is chosen again, and then nothing is loaded until playback has starved.
//     Here what follows a segment that is there is the next one.
//   - For the same reason it loads what it has once more, from the key frame before, when another rung begins with the next one.
//   - It loads all of a segment's parts that are listed in one go, whatever is decided meanwhile. Here it ends when the rung is left.
const beginningAtKeyFrame = (Controller) => class extends Controller {
  setStartPosition(details, sliding) { // the picture's details, for a track of sound, too
    super.setStartPosition(details, sliding);
    const entry = this.startPosition === -1 && details.live ? entryTo(this.hls.liveSyncPosition - this.hls.abrController.margin(), details) : NaN;
    if (entry >= sliding) this.startPosition = this.nextLoadPosition = entry;
  }
};

function partStreamController() {
  return class extends beginningAtKeyFrame(Hls.DefaultConfig.streamController) {
    // The part that begins with a key frame where the buffer ends.
    keyAt(position, partList) {
      const part = this.getMainFwdBufferInfo()?.len > 0 && partList?.find(({ start }) => start > position - 0.05);
      return part?.independent && !part.gap ? part : null;
    }

    getNextFragment(position, details) {
      const frag = super.getNextFragment(position, details);
      const key = this.loadingParts && frag ? this.keyAt(position, details.partList) : null;
      if (frag?.sn < key?.fragment.sn) return super.getNextFragment(key.start + 0.001, details);
      const complete = frag && this.loadingParts && frag.end - position < 0.1 && this.fragmentTracker.getState(frag) === 'OK';
      return complete ? super.getNextFragment(frag.end + 0.001, details) : frag;
    }

    // An index of partList; -1 for the whole segment.
    getNextPart(partList, frag, position) {
      const missing = partList.findIndex((part) => part.fragment.sn === frag.sn && !part.loaded && !part.gap);
      const part = partList[missing];
      if (frag.url && part?.index === 0 && position < frag.start + 0.1 && this.hls.abrController.wholly()) return -1;
      const key = this.keyAt(position, partList);
      if (key && !key.loaded && key.fragment.sn === frag.sn) return partList.indexOf(key);
      const next = super.getNextPart(partList, frag, position);
      const follows = part && part.start - position < 0.1 && this.getMainFwdBufferInfo()?.len > 0;
      return next < 0 && follows ? missing : next;
    }

    async doFragPartsLoad(frag, first, level, onProgress) {
      const rungs = this.hls.abrController, earlier = level.details?.partList, partsLoaded = [];
      const numbered = (index) => [level.details?.partList, earlier].flatMap((list) => list ?? []).find((part) => part.fragment.sn === frag.sn && part.index === index);
      for (let part = first; ;) {
        rungs.onFragLoading(null, { frag, part });
        partsLoaded[part.index] = await this.fragmentLoader.loadPart(frag, part, onProgress);
        this.hls.trigger(Hls.Events.FRAG_LOADED, partsLoaded[part.index]);
        const next = rungs.leaves(frag.level) ? null : numbered(part.index + 1);
        if (!next) return { frag, part, partsLoaded };
        part = next;
      }
    }
  };
}

// The first that is known of the line is how hls.js' own file came over it, unless a cache had it.
const line = new Line();
function knownLine() {
  const entry = performance.getEntriesByName(document.querySelector('script[src]').src)[0];
  if (line.empty && entry?.transferSize > 1000) {
    line.add(entry.encodedBodySize, { start: entry.requestStart, first: entry.responseStart, end: entry.responseEnd }, entry.responseEnd / 1000);
  }
  return line;
}

const decodes = (codec) => (window.ManagedMediaSource ?? MediaSource).isTypeSupported(`video/mp4; codecs="${codec}"`);

// What of the playlist hls.js leaves out without a word because the browser can't decode it.
function noteCodecs(levels) {
  const refused = (kind) => {
    const codecs = levels.map((level) => level[kind]).filter(Boolean);
    return codecs.length && !codecs.some(decodes) ? codecName(codecs[0]) : null;
  };
  const pictures = levels.filter((level) => level.videoCodec && !decodes(level.videoCodec));
  unplayable = pictures.map((level) => `${levelName(level)} · ${codecName(level.videoCodec)} (not in this browser)`);
  const picture = refused('videoCodec');
  const heard = refused('audioCodec');
  lacking = picture ? `picture is ${picture}` : heard ? `sound is ${heard}` : null;
  if (lacking) trouble('unsupported');
}

// Across restarts, and among the groups of a playlist.
const keyOf = (track) => `${track.lang ?? ''} ${track.name}`;

function hlsEngine(source) {
  const { Events, ErrorTypes, ErrorDetails } = Hls;
  let rungs = null;
  const hls = new Hls({ ...HLS_CONFIG, streamController: partStreamController(),
    audioStreamController: beginningAtKeyFrame(Hls.DefaultConfig.audioStreamController),
    pLoader: stridingLoader(() => rungs?.stride() ?? 1),
    abrController: rungController({ line: knownLine(), buffered, playing: () => hasPlayed, made: (controller) => { rungs = controller; } }) });
  let details = null;
  let mediaErrorAt = -Infinity;

  hls.on(Events.MANIFEST_LOADING, () => {
    if (source !== SOURCE) return;
    sounds = subtitles = [];
    showTracks();
  });
  hls.on(Events.MANIFEST_LOADED, (_, data) => { // what follows from it has happened by then: MANIFEST_PARSED, too
    if (source !== SOURCE) return;
    // hls.js drops renditions without video when there are others; here they are a choice of their own.
    const sound = data.levels.find((level) => !level.videoCodec && !level.width);
    audioOnly = sound && data.levels.length > 1 ? sound.url : null;
    noteCodecs(data.levels);
    showQualities();
  });
  hls.on(Events.MANIFEST_PARSED, () => {
    rungs.choose(typeof choice === 'number' && source === SOURCE ? choice : -1);
    showQualities();
    play();
  });
  hls.on(Events.LEVEL_UPDATED, (_, data) => {
    details = data.details;
    // Opened after the end: there is nothing live to show.
    if (!details.live && !hasPlayed) trouble('ended');
  });
  hls.on(Events.LEVEL_SWITCHED, showQualities);
  const hear = () => {
    const track = hls.audioTracks.findIndex((one) => keyOf(one) === sound);
    if (track >= 0 && track !== hls.audioTrack) hls.audioTrack = track;
  };
  const read = () => {
    hls.subtitleTrack = hls.subtitleTracks.findIndex((one) => keyOf(one) === words); // -1: none
    hls.subtitleDisplay = hls.subtitleTrack >= 0;
  };
  hls.on(Events.AUDIO_TRACKS_UPDATED, (_, data) => {
    if (source !== SOURCE) return;
    sounds = [...data.audioTracks]; // which are emptied when the engine stops
    hear();
    showTracks();
  });
  hls.on(Events.SUBTITLE_TRACKS_UPDATED, (_, data) => {
    if (source !== SOURCE) return;
    subtitles = [...data.subtitleTracks];
    read();
    showTracks();
  });
  hls.on(Events.ERROR, (_, data) => {
    if (!data.fatal && data.details === ErrorDetails.LEVEL_LOAD_TIMEOUT) return; // held, see the policy
    if (data.details === ErrorDetails.BUFFER_SEEK_OVER_HOLE && !hasPlayed) return; // sound and picture begin a few ms apart
    counters.errors++;
    counters.lastError = data.details;
    if (!data.fatal) return;
    if (data.details === ErrorDetails.MANIFEST_INCOMPATIBLE_CODECS_ERROR || data.details === ErrorDetails.BUFFER_INCOMPATIBLE_CODECS_ERROR) {
      trouble('unsupported');
    } else if (data.type === ErrorTypes.MEDIA_ERROR && now() - mediaErrorAt > 5) {
      mediaErrorAt = now();
      hls.recoverMediaError();
      play();
    } else if (data.type === ErrorTypes.NETWORK_ERROR) {
      const verdict = verdictOf(data.response?.code);
      if (data.details === ErrorDetails.MANIFEST_LOAD_ERROR && verdict !== 'live') trouble(verdict);
      else recheck();
    } else {
      trouble('broken');
    }
  });
  hls.loadSource(source);
  hls.attachMedia(video);

  return {
    name: `hls.js ${Hls.version}`,
    resume: () => { if (details) hls.startLoad(); else restart(); }, // without a playlist there is nothing to go on with
    stop: () => hls.destroy(),
    details: () => details,
    entry: (position) => entryTo(position, details),
    levels: () => (source === SOURCE ? hls.levels : []),
    shown: () => hls.currentLevel,
    loaded: () => hls.loadLevel,
    choose: (level) => rungs.choose(level),
    margin: () => rungs.margin(),
    hear,
    read,
    bandwidth: () => rungs.estimate() ?? undefined,
    bitrate: () => hls.levels[hls.currentLevel]?.bitrate,
  };
}

// Safari on older iPhones, and whatever plays HLS without MediaSource: it keeps its own distance and chooses its own quality.
function nativeEngine(source) {
  const onError = () => recheck();
  video.addEventListener('error', onError);
  video.src = source;
  play();
  return {
    name: 'native',
    resume: restart,
    stop() {
      video.removeEventListener('error', onError);
      video.removeAttribute('src');
      video.load();
    },
    details: () => null,
    entry: () => NaN,
    levels: () => [],
    shown: () => -1,
    loaded: () => -1,
    choose() {},
    margin: () => 0,
    hear() {},
    read() {},
    bandwidth: () => undefined,
    bitrate: () => undefined,
  };
}

const hasMediaSource = 'MediaSource' in window || 'ManagedMediaSource' in window;

// hls.js is a file of its own and can fail to come while the page did.
function loadHls() {
  if (window.Hls) return Promise.resolve();
  const script = document.createElement('script');
  script.src = document.querySelector('script[src]').src;
  document.head.append(script);
  return new Promise((resolve, reject) => {
    script.onload = resolve;
    script.onerror = () => { script.remove(); reject(new Error('hls.js does not load')); };
  });
}

async function restart() {
  engine?.stop();
  engine = null;
  setFault(null);
  pace.reset();
  const source = choice === 'audio' && audioOnly ? sounds.find((one) => keyOf(one) === sound)?.url ?? audioOnly : SOURCE;
  const generation = ++restart.generation;
  if (hasMediaSource) {
    try {
      await loadHls();
    } catch {
      trouble('lost');
      return;
    }
    if (generation !== restart.generation) return;
  }
  if (hasMediaSource && Hls.isSupported()) engine = hlsEngine(source);
  else if (video.canPlayType('application/vnd.apple.mpegurl')) engine = nativeEngine(source);
  else trouble('unsupported');
}
restart.generation = 0;

function play() {
  if (!wantPlay) return;
  video.play().then(() => { blocked = false; }, (error) => {
    if (error.name === 'NotAllowedError') blocked = true;
  });
}

// --------------------------------------------------------------------------------------------- what the server says

function verdictOf(status) {
  if (status >= 200 && status < 300) return 'live';
  if (status === 404 || status === 410) return 'offline';
  if (status === 401 || status === 403) return 'refused';
  return status === 429 || status === 503 ? 'busy' : 'lost';
}

// Looks at the playlists: a verdict, and the end of the media playlist, by which one sees whether anything new came.
async function probe() {
  const get = async (url) => {
    const response = await fetch(url, { cache: 'no-store', signal: AbortSignal.timeout(5000) });
    return { verdict: verdictOf(response.status), text: await response.text(), wait: Number(response.headers.get('Retry-After')) || 0 };
  };
  try {
    const index = await get(SOURCE);
    if (index.verdict !== 'live') return index;
    const uri = index.text.split('\n').find((line) => line.trim() && !line.startsWith('#'));
    if (!uri) return { verdict: 'offline' };
    const media = await get(new URL(uri.trim(), SOURCE));
    const ended = media.text.includes('#EXT-X-ENDLIST');
    return { ...media, verdict: media.verdict === 'live' && ended ? 'ended' : media.verdict, tail: media.text.slice(-400) };
  } catch {
    return { verdict: 'lost' };
  }
}

const retry = { timer: 0, count: 0, kind: null };

function setFault(kind) {
  if (kind && kind !== retry.kind) {
    retry.kind = kind;
    retry.count = 0;
  }
  fault = kind;
  clearTimeout(retry.timer);
}

// Nothing plays, for this reason; look again later.
function trouble(kind, waitAtLeast = 0) {
  setFault(kind);
  if (kind !== 'lost' && kind !== 'busy' && engine) { // those two may pass before the buffer is empty
    engine.stop();
    engine = null;
    restart.generation++;
  }
  if (!RETRY[kind]) return;
  const [first, most] = RETRY[kind];
  const seconds = Math.max(waitAtLeast, Math.min(most, first * 1.5 ** retry.count++));
  retry.timer = setTimeout(recheck, seconds * (700 + 600 * Math.random()));
}

async function recheck() {
  clearTimeout(retry.timer);
  if (recheck.running) return;
  recheck.running = true;
  const { verdict, wait } = await probe();
  recheck.running = false;
  if (verdict !== 'live') {
    trouble(verdict, wait);
  } else if (engine && now() - recheck.revivedAt > 5) {
    setFault(null);
    engine.resume();
  } else if (engine && !fault) {
    trouble('lost'); // the playlists come but the engine fails again at once: not faster than the retries
  } else {
    restart();
  }
  if (verdict === 'live') recheck.revivedAt = now();
}
recheck.running = false;
recheck.revivedAt = -Infinity;

// ------------------------------------------------------------------------------------------------ starvation and stalls

const hunger = {
  time: 0,            // where the picture was
  movedAt: now(),     // when it last moved
  stalled: false,     // this one is counted
  probedAt: 0,
  tail: null,
  away: false,        // the server has nothing newer than before

  // Seconds for which the picture should have moved and did not.
  seconds() {
    return now() - this.movedAt;
  },
  fed() {
    if (this.stalled) counters.stallSeconds += this.seconds();
    this.movedAt = now();
    this.stalled = this.away = false;
    this.tail = null;
  },
  look() {
    const moved = video.currentTime !== this.time;
    this.time = video.currentTime;
    if (moved || video.paused || video.ended || fault || document.hidden) {
      if (moved && !video.seeking && video.readyState > 2) hasPlayed = true;
      this.fed();
      return;
    }
    if (hasPlayed && !this.stalled && !video.seeking && this.seconds() > 0.25) {
      this.stalled = true;
      counters.stalls++;
      pace.stalled();
    }
    if (this.seconds() > 1 && now() - this.probedAt > 1.5) this.ask();
  },
  async ask() {
    this.probedAt = now();
    const { verdict, tail, wait } = await probe();
    if (this.seconds() < 1) return; // it plays again
    if (verdict !== 'live') {
      trouble(verdict, wait);
      return;
    }
    const news = this.tail !== null && tail !== this.tail;
    this.tail = tail;
    this.away = !news && (this.away || hasPlayed || this.seconds() > 3);
    // There is more and the engine doesn't bring it on the screen: begin afresh.
    if (news && this.seconds() > 5) {
      this.fed();
      restart();
    }
  },
};

// ----------------------------------------------------------------------------------------------------------------- pace
// Keeps the distance to the live edge. The target is the playlist's hold-back and a margin that grows with each stall and
// shrinks again; small differences are made up by playing a little faster, large ones by a jump. Where nothing is loaded yet a jump
// has two steps, as has the start: first to the key frame from which it can be decoded, which shows a picture as soon as there is
// one, and from there on as soon as everything between is loaded.

const SAFARI = /Apple/.test(navigator.vendor); // there each change of the rate can be heard: few and big ones
const pace = {
  extra: 0,           // seconds on top of the hold-back, after stalls
  calmSince: now(),
  correcting: false,
  farSince: 0,
  approaching: true,  // on the way to the live edge, by way of a key frame

  reset() {
    this.correcting = false;
    this.farSince = 0;
    this.approaching = true;
  },
  stalled() {
    this.extra = Math.min(2, this.extra + 0.15);
    this.calmSince = now();
  },
  part() {
    const details = engine?.details();
    return details ? details.partTarget || details.targetduration : 0;
  },
  target() {
    const details = engine?.details();
    if (!details) return NaN;
    const holdBack = details.partTarget ? details.partHoldBack || 3 * details.partTarget : details.holdBack || 3 * details.targetduration;
    return holdBack + Math.min(0.1, this.part() / 2) + this.extra + engine.margin();
  },
  // Media time at the live edge now. While nothing new comes, the edge doesn't run on for long.
  edge() {
    const details = engine?.details();
    if (details) return details.edge + (details.live ? Math.min(details.age, 2 * this.part()) : 0);
    return engine && video.seekable.length ? video.seekable.end(video.seekable.length - 1) : NaN;
  },
  latency() {
    return this.edge() - video.currentTime;
  },
  jump() {
    following = true;
    this.reset();
    const live = this.edge() - (this.target() || 0);
    const loaded = video.currentTime + buffered();
    const entry = live > loaded ? engine.entry(live) : NaN;
    if (entry > loaded) video.currentTime = entry;
    else if (Number.isNaN(entry) && live > video.currentTime) video.currentTime = live;
  },
  // The second step. The decoder runs through all that lies between, so it is taken once.
  approach(behind) {
    if (behind > 0.3 && buffered() < behind) return;
    this.approaching = false;
    if (behind > 0.3) video.currentTime += behind;
  },
  rate(behind, ahead) {
    const part = this.part();
    if (ahead < Math.min(0.1, part / 2)) return 0.95;
    // What lies ahead must stay enough until the next part is here.
    const error = behind > 0 ? Math.min(behind, ahead - part - 0.1 - (engine.margin())) : behind;
    if (Math.abs(error) > 0.08) this.correcting = true;
    if (Math.abs(error) < 0.015 || (behind > 0) !== (error > 0)) this.correcting = false;
    if (!this.correcting) return 1;
    const most = error > 0.7 ? 0.25 : 0.1;
    const change = most * Math.tanh(2.5 * error);
    return 1 + Math.sign(change) * clamp(Math.abs(change), 0.03, error < -0.5 ? 0.07 : change < 0 ? 0.05 : most);
  },
  keep() {
    if (now() - this.calmSince > 15 && this.extra > 0) {
      this.extra = Math.max(0, this.extra - 0.05);
      this.calmSince += 3;
    }
    const target = this.target();
    if (!following || video.paused || !hasPlayed || !engine?.details()?.live || Number.isNaN(target)) {
      this.setRate(1);
      return;
    }
    const behind = this.latency() - target;
    if (this.approaching && !video.seeking) this.approach(behind);
    if (behind < Math.max(2, this.part())) this.farSince = 0;
    else if (!this.farSince) this.farSince = now();
    else if (now() - this.farSince > 0.8 && !video.seeking) {
      this.jump();
      return;
    }
    if (!document.hidden) this.setRate(this.rate(behind, buffered()));
  },
  setRate(rate) {
    const step = SAFARI ? 0.25 : 0.01;
    const rounded = Math.round(rate / step) * step;
    if (Math.abs(rounded - video.playbackRate) > 0.015 || (rounded === 1 && video.playbackRate !== 1)) video.playbackRate = rounded;
  },
};

// Seconds of media ahead of what is shown.
function buffered() {
  const { buffered: ranges, currentTime } = video;
  for (let i = 0; i < ranges.length; i++) {
    if (ranges.start(i) <= currentTime + 0.1 && currentTime < ranges.end(i)) return ranges.end(i) - currentTime;
  }
  return 0;
}

// ----------------------------------------------------------------------------------------------------------- statistics

const counters = { stalls: 0, stallSeconds: 0, errors: 0, lastError: null };
const round = (x, digits = 3) => (Number.isFinite(x) ? Number(x.toFixed(digits)) : null);

function stats() {
  const quality = video.getVideoPlaybackQuality?.();
  const details = engine?.details();
  return {
    state,
    latency: round(pace.latency()),          // seconds behind the live edge
    target: round(pace.target()),            // the latency aimed at
    margin: round(engine?.margin()),         // what of it is for want of bandwidth, seconds
    buffer: round(buffered()),               // seconds
    rate: round(video.playbackRate, 2),
    width: video.videoWidth,
    height: video.videoHeight,
    level: engine ? engine.shown() : -1,
    loaded: engine ? engine.loaded() : -1,   // the level of what comes after it
    levels: engine ? engine.levels().length : 0,
    quality: choice,
    sounds: sounds.map(trackName),
    sound: sounds.length ? trackName(sounds[soundShown()]) : null,
    subtitles: subtitles.map(trackName),
    words: subtitles.length ? words : null,
    bitrate: round(engine?.bitrate(), 0),    // bits per second, as the playlist says
    bandwidth: round(engine?.bandwidth(), 0), // bits per second, measured
    framesShown: quality ? quality.totalVideoFrames - quality.droppedVideoFrames : null,
    framesDropped: quality ? quality.droppedVideoFrames : null,
    stalls: counters.stalls,
    stallSeconds: round(counters.stallSeconds + (hunger.stalled ? hunger.seconds() : 0)), // those with a fault shown end there
    firstFrame: round(firstFrame),           // seconds from opening the page
    partTarget: details?.partTarget ?? null,
    targetDuration: details?.targetduration ?? null,
    errors: counters.errors,
    lastError: counters.lastError,
    muted: video.muted,
    following,
    engine: engine?.name ?? null,
    version: VERSION,
  };
}

const unit = (x, digits, name) => (x === null ? '–' : `${x.toFixed(digits)} ${name}`);

function statsRows() {
  const s = stats();
  return [
    ['Latency', `${unit(s.latency, 2, 's')} (aim ${unit(s.target, 2, 's')})`],
    ['Buffer', unit(s.buffer, 2, 's')],
    ['Rate', `${s.rate.toFixed(2)} ×`],
    ['Picture', s.width ? `${s.width} × ${s.height}` : 'none'],
    ['Level', s.level >= 0 ? `${s.level + 1} of ${s.levels || 1}${choice === 'auto' ? ', chosen by bandwidth' : ''}` : '–'],
    ...(s.sounds.length > 1 ? [['Sound', `${s.sound}, one of ${s.sounds.length}`]] : []),
    ['Bitrate', s.bitrate ? `${(s.bitrate / 1e6).toFixed(2)} Mb/s` : '–'],
    ['Bandwidth', s.bandwidth ? `${(s.bandwidth / 1e6).toFixed(1)} Mb/s` : '–'],
    ['Frames', s.framesShown === null ? '–' : `${s.framesShown} shown, ${s.framesDropped} dropped`],
    ['Stalls', `${s.stalls} (${unit(s.stallSeconds, 1, 's')})`],
    ['First frame', unit(s.firstFrame, 2, 's')],
    ['Parts', s.partTarget ? `${unit(s.partTarget, 2, 's')} of ${s.targetDuration} s` : '–'],
    ['Errors', s.lastError ? `${s.errors} (${s.lastError})` : `${s.errors}`],
    ['Player', `weir ${s.version}, ${s.engine ?? 'idle'}`],
  ];
}

// ------------------------------------------------------------------------------------------------------------- the page

function derive() {
  // What is still in the buffer plays out before a fault shows.
  if (fault && (!engine || video.paused || video.readyState < 3 || fault === 'unsupported')) return fault;
  if (!wantPlay) return 'paused';
  if (blocked) return 'blocked';
  if (video.paused || !hasPlayed) return hunger.away ? 'away' : 'loading';
  if (hunger.seconds() > 0.4) return hunger.away ? 'away' : 'buffering';
  return 'playing';
}

const setText = (element, text) => { if (element.textContent !== text) element.textContent = text; };
const setIcon = (button, icon, label) => {
  if (button.getAttribute('aria-label') === label) return;
  button.setAttribute('aria-label', label);
  button.querySelector('use').setAttribute('href', `#icon-${icon}`);
};

function showState(next) {
  if (next === state && showState.done) return;
  showState.done = true;
  state = next;
  document.documentElement.dataset.state = state;
  let [headline, detail] = WORDS[state] ?? ['', ''];
  if (state === 'offline' && hasPlayed) headline = 'Not live now';
  if (state === 'unsupported' && lacking) detail = `Its ${lacking}, which this browser or device does not decode.`;
  setText($('headline'), headline);
  setText($('detail'), detail);
  $('notice').classList.toggle('words', headline !== '');
  $('notice').classList.toggle('busy', SPINNING.includes(state));
  $('big-play').hidden = state !== 'blocked' && state !== 'paused';
  document.title = state === 'playing' ? streamName() : `${streamName()}${headline ? ` – ${headline}` : ''}`;
}

function showFigures() {
  const live = hasPlayed && engine !== null;
  const behind = live && (!following || pace.latency() - (pace.target() || 10) > 2);
  $('go-live').hidden = !behind;
  $('at-live').hidden = !live || behind || state !== 'playing';
  $('readout').hidden = !live || !['playing', 'paused', 'buffering'].includes(state);
  if (live) {
    setText($('latency'), unit(round(pace.latency()), 1, 's'));
    setText($('buffer'), unit(round(buffered()), 1, 's'));
  }
  if ($('stats').hidden) return;
  const list = $('stats-list');
  const rows = statsRows();
  while (list.children.length < 2 * rows.length) list.append(document.createElement('dt'), document.createElement('dd'));
  rows.flat().forEach((text, i) => setText(list.children[i], text));
}

function showControls() {
  setIcon($('play'), wantPlay ? 'pause' : 'play', wantPlay ? 'Pause' : 'Play');
  const silent = video.muted || video.volume === 0;
  setIcon($('mute'), silent ? 'mute' : 'sound', silent ? 'Unmute' : 'Mute');
  $('volume').value = video.muted ? 0 : Math.round(video.volume * 100);
  $('unmute').hidden = !video.muted || unmuteOffered || state !== 'playing';
  $('sound-only').hidden = !(state === 'playing' && video.videoWidth === 0);
}

const levelName = (level) => {
  const rate = level.frameRate > 31 ? Math.round(level.frameRate) : '';
  const size = level.height ? `${Math.min(level.height, level.width)}p${rate}` : 'Sound';
  return `${size} · ${(level.bitrate / 1e6).toFixed(1)} Mb/s`;
};

// Which level plays, and what it was chosen by.
function autoName(levels) {
  const level = levels[engine.shown()];
  if (!level?.height) return 'Auto';
  const measured = engine.bandwidth() ? `auto: ${(engine.bandwidth() / 1e6).toFixed(1)} Mb/s measured` : 'auto';
  return `${Math.min(level.height, level.width)}p (${measured})`;
}

// `options`: [value, label, whether it can't be chosen].
function fillSelect(select, options, value) {
  while (select.options.length > options.length) select.remove(select.options.length - 1);
  options.forEach(([key, label, disabled = false], i) => {
    if (!select.options[i]) select.add(new Option());
    select.options[i].value = key;
    select.options[i].disabled = disabled;
    setText(select.options[i], label);
  });
  select.value = value;
}

function showQualities() {
  const levels = engine?.levels() ?? [];
  if (levels.length === 0) return; // the list stays while the sound plays alone
  const auto = choice === 'auto' ? autoName(levels) : 'Auto';
  const options = [['auto', auto], ...levels.map((level, i) => [String(i), levelName(level)]).reverse()];
  if (audioOnly) options.push(['audio', 'Audio only']);
  options.push(...unplayable.map((label, i) => [`no-${i}`, label, true]));
  fillSelect($('quality'), options, String(choice));
  $('quality').hidden = options.length < 3; // auto and the one that there is are no choice
}

// A language by its own name: what stands in its place in the playlist is often its code alone.
function trackName(track) {
  const { lang, name } = track;
  if (!lang || name.split(' ')[0] !== lang) return name;
  try {
    return new Intl.DisplayNames([lang], { type: 'language' }).of(lang) + name.slice(lang.length);
  } catch {
    return name;
  }
}

const soundShown = () => Math.max(0, sounds.findIndex((one) => keyOf(one) === sound));

function showTracks() {
  const options = (tracks) => tracks.map((track) => [keyOf(track), trackName(track)]);
  fillSelect($('sound'), options(sounds), sounds.length ? keyOf(sounds[soundShown()]) : '');
  fillSelect($('subtitles'), [['', 'No subtitles'], ...options(subtitles)], words);
  $('sound').hidden = sounds.length < 2;
  $('subtitles').hidden = subtitles.length === 0;
}

function tick() {
  hunger.look();
  pace.keep();
  if (video.ended && fault !== 'ended') trouble('ended');
  const next = derive();
  if (next === 'playing') retry.count = 0;
  showState(next);
  showControls();
  if (tick.count % 3 === 0) showFigures();
  if (tick.count++ % 20 === 0) showQualities(); // the bandwidth in it
}
tick.count = 0;

// ------------------------------------------------------------------------------------------------------ what viewers do

let unmuteOffered = false;  // and taken, or declined by the mute button

function setMuted(muted) {
  unmuteOffered = true;
  video.muted = muted;
  if (!muted && video.volume === 0) video.volume = 0.5;
}

function setVolume(volume) {
  unmuteOffered = true;
  video.volume = clamp(volume, 0, 1);
  video.muted = video.volume === 0;
}

function togglePlay() {
  wantPlay = blocked ? true : !wantPlay;
  if (wantPlay) play();
  else video.pause();
}

function toggleStats() {
  const hidden = !$('stats').hidden;
  $('stats').hidden = hidden;
  $('info').setAttribute('aria-pressed', String(!hidden));
  showFigures();
}

function toggleFull() {
  if (document.fullscreenElement) document.exitFullscreen();
  else if ($('player').requestFullscreen) $('player').requestFullscreen().catch(() => {});
  else video.webkitEnterFullscreen?.();
}

function goLive() {
  wantPlay = true;
  pace.jump();
  play();
}

function chooseQuality(value) {
  const before = choice;
  choice = value === 'auto' || value === 'audio' ? value : Number(value);
  if (before === 'audio' || choice === 'audio') restart();
  else engine?.choose(choice === 'auto' ? -1 : choice);
  showQualities();
}

function chooseSound(key) {
  sound = key;
  if (choice === 'audio') restart();
  else engine?.hear();
  showTracks();
}

function chooseSubtitles(key) {
  words = key;
  engine?.read();
  showTracks();
}

const KEYS = {
  ' ': togglePlay,
  k: togglePlay,
  m: () => setMuted(!video.muted),
  f: toggleFull,
  l: goLive,
  i: toggleStats,
  c: () => { if (subtitles.length) chooseSubtitles(words ? '' : keyOf(subtitles[0])); },
  ArrowUp: () => setVolume((video.muted ? 0 : video.volume) + 0.05),
  ArrowDown: () => setVolume((video.muted ? 0 : video.volume) - 0.05),
};

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  // What has the focus keeps the keys that work it.
  const focus = event.target;
  const own = focus.matches('select') || (focus.matches('button') && key === ' ') || (focus.matches('input') && key.startsWith('Arrow'));
  if (!KEYS[key] || own || (event.repeat && !key.startsWith('Arrow'))) return;
  event.preventDefault();
  KEYS[key]();
  tick();
});

const onClick = (id, action) => $(id).addEventListener('click', () => { action(); tick(); });
onClick('play', togglePlay);
onClick('big-play', () => { wantPlay = true; play(); });
onClick('mute', () => setMuted(!video.muted));
onClick('unmute', () => setMuted(false));
onClick('go-live', goLive);
onClick('info', toggleStats);
onClick('full', toggleFull);
onClick('video', () => (video.muted && !unmuteOffered ? setMuted(false) : togglePlay()));
$('volume').addEventListener('input', (event) => setVolume(event.target.value / 100));
$('quality').addEventListener('change', (event) => chooseQuality(event.target.value));
$('sound').addEventListener('change', (event) => chooseSound(event.target.value));
$('subtitles').addEventListener('change', (event) => chooseSubtitles(event.target.value));

// Also by media keys and the browser's own controls. A pause that nobody wished (the element is emptied, has failed, or is out of sight)
// isn't one.
video.addEventListener('pause', () => {
  if (video.ended || video.error || fault || !engine || document.hidden || video.readyState === 0) return;
  wantPlay = false;
  following = false;
});
video.addEventListener('play', () => {
  wantPlay = true;
  if (pace.latency() - pace.target() < 2) following = true;
});

document.addEventListener('visibilitychange', () => {
  if (document.hidden) return;
  hunger.fed();
  if (!following || !hasPlayed || !engine) return;
  play();
  if (pace.latency() - pace.target() > 0.5) pace.jump();
});
window.addEventListener('online', () => { if (fault) recheck(); });

// In full screen the bar goes when nothing moves.
let idleTimer = 0;
function awake() {
  $('player').classList.remove('idle');
  clearTimeout(idleTimer);
  idleTimer = setTimeout(() => $('player').classList.add('idle'), 3000);
}
for (const event of ['pointermove', 'pointerdown', 'keydown']) document.addEventListener(event, awake);

// ---------------------------------------------------------------------------------------------------------------- start

window.weir = { get state() { return state; }, stats };

const markFirstFrame = () => { firstFrame ??= now(); };
if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(markFirstFrame);
else video.addEventListener('playing', markFirstFrame, { once: true });
if (!document.fullscreenEnabled && !video.webkitEnterFullscreen) $('full').hidden = true;

setText($('title'), streamName());
setInterval(tick, TICK_MS);
restart();
tick();
