// Which rung of a ladder is loaded, and when that changes: a controller for hls.js, of whose own only the shell is kept. At the live edge a part
// is loaded within its own time, or it is late at once, so what hls.js does for segments is done too late or never:
//   - The line is measured by what each part took from its first byte on, over a fraction of a second to step down and over seconds to step up. Where
//     parts are too small to tell (a low rung's are a packet or two), one of the next rung's is loaded just to see.
//   - A rung changes where one of its key frames begins what is loaded next. So nothing is loaded twice, and no picture is lost: what is played is never
//     replaced.
//   - Unless the line got so slow that what plays would run out: then what is being loaded is dropped, and the lower rung fetched from its last key
//     frame on; at once where the line has broken in, for what is in hand then is needed for the next time, and else as late as there is time to.
//   - The nearer a rung comes to what the line carries, the more is kept in hand (`margin`), and the fewer playlists are asked for (`stride`).
const LINE = { FAST_S: 0.3, BROKEN_S: 0.4, SLOW_S: 4, KEEP_S: 20 };
const RUNG = {
  DOWN: 0.95, UP: 1.15, FALL: 1.1, // of what a rung needs, what the line must carry to keep it, to go up to it, to fall to it
  BROKEN: 0.7,                     // with less than that, there is nothing to wait for
  PART_BITS: 8000,                 // what goes with each part: its head, and the playlist that tells of it
  WEIGHED_S: 5,
  QUEUE_S: 0.2,                    // what may be in front of a line that is full
  SOON_S: 0.5,                     // so near is a key frame worth waiting for on a line that has broken in
  SPARE_S: 0.15,                   // what is left in hand when a fall is done
  HOLD_S: 4, HOLD_MAX_S: 60,       // between a step down and one up; twice as long each time that it fails
  PROBE_S: 3, PROBE_MAX_S: 30, PROBE_TIMEOUT_MS: 1200,
  MARGIN_MAX_S: 2.5,
};

// What the line carries, by loads that have ended.
class Line {
  samples = []; // { at, bits, seconds }, old to new
  firsts = [];  // seconds to the first byte, of the last loads

  add(bytes, { start, first, end }, at) {
    this.firsts = [...this.firsts.slice(-19), Math.max(0, first - start) / 1000];
    this.samples.push({ at, bits: 8 * (bytes + 400), seconds: Math.max(0.002, (end - start) / 1000 - this.roundTrip()) });
    this.samples = this.samples.filter((sample) => sample.at > at - LINE.KEEP_S);
  }
  roundTrip() {
    return this.firsts.length ? Math.min(...this.firsts) : 0;
  }
  get empty() {
    return this.samples.length === 0;
  }
  // Bits per second over the newest samples, and what has come in the seconds since; null: not known.
  over(enough, bits = 0, seconds = 0) {
    for (const sample of this.samples.toReversed()) {
      if (seconds > 0 && enough(sample, seconds)) break;
      bits += sample.bits;
      seconds += sample.seconds;
    }
    return seconds ? bits / seconds : null;
  }
  fast(enough = LINE.FAST_S, bits = 0, since = 0) {
    return this.over((_, seconds) => seconds >= enough, bits, since);
  }
  slow(at) {
    return this.over((sample) => sample.at < at - LINE.SLOW_S);
  }
}

const rungController = ({ line, buffered, playing, made }) => class extends Hls.DefaultConfig.abrController {
  constructor(hls) {
    super(hls);
    this.line = line;      // outlives it
    this.rung = -1;        // what is loaded now; -1: nothing yet
    this.wanted = -1;      // what is to be loaded from the next key frame on
    this.choice = -1;      // the viewer's; -1: none
    this.loading = null;   // { frag, part, at }
    this.rates = [];       // { bits, seconds } by level, as it was loaded
    this.steppedAt = { down: -Infinity, up: -Infinity };
    this.hold = RUNG.HOLD_S;
    this.probing = null;
    this.probe = { at: 0, pause: RUNG.PROBE_S };
    this.kept = 0;         // the margin, as it shrinks
    this.keptAt = 0;
    this.watch = setInterval(() => this.look(), 50);
    made(this);
  }

  destroy() {
    clearInterval(this.watch);
    this.probing?.abort();
    super.destroy();
  }

  // --- what hls.js asks and tells

  get firstAutoLevel() {
    return this.nextAutoLevel;
  }
  get forcedAutoLevel() {
    return -1;
  }
  get nextAutoLevel() {
    if (this.rung < 0) this.rung = this.wanted = this.start();
    if (this.wanted !== this.rung && this.atKeyFrame()) this.step(this.wanted);
    return Math.min(this.rung, this.hls.levels.length - 1);
  }
  set nextAutoLevel(level) { // by hls.js itself when a rung has failed
    if (level >= 0 && level !== this.rung && this.rung >= 0) this.rung = this.wanted = level;
  }
  onFragLoading(_, { frag, part }) {
    if (frag.type === 'main' && frag.sn !== 'initSegment') this.loading = { frag, part, at: now() };
  }
  onFragLoaded(_, { frag, part }) {
    if (frag.type !== 'main' || frag.sn === 'initSegment') return;
    const { loaded, loading } = (part ?? frag).stats;
    this.loading = null;
    this.line.add(loaded, loading, now());
    this.weigh(frag.level, 8 * loaded, (part ?? frag).duration);
    this.decide();
  }
  // Whether no more of this level is to be loaded.
  leaves(level) {
    return this.rung >= 0 && level > this.rung;
  }
  onFragBuffered() {}
  onLevelSwitching() {}
  onError() {}

  // A level from the next key frame on; -1: as the line allows.
  choose(level) {
    this.choice = level;
    if (level >= 0 && this.rung >= 0) this.wanted = level;
  }

  // --- figures

  // The playlist tells rates of when it was loaded; what is loaded, of its last seconds.
  weigh(level, bits, duration) {
    const { bits: before = 0, seconds = 0 } = this.rates[level] ?? {}, kept = Math.max(0, 1 - duration / RUNG.WEIGHED_S);
    this.rates[level] = { bits: before * kept + bits, seconds: seconds * kept + duration };
  }
  // Bits per second that a rung takes of the line.
  need(level) {
    const details = this.hls.latestLevelDetails;
    const every = details?.partTarget ? details.partTarget * (this.stretched ? 3 : 1) : 2;
    const { bits, seconds } = this.rates[level] ?? {};
    const told = this.hls.levels[level]?.averageBitrate;
    return (seconds > this.apart() ? Math.max(bits / seconds, told) : told) + RUNG.PART_BITS / every;
  }
  estimate() {
    const slow = this.line.slow(now());
    return slow && Math.min(slow, this.line.fast());
  }
  best(rate, factor) {
    const { levels, maxAutoLevel } = this.hls;
    for (let level = Math.min(maxAutoLevel, levels.length - 1); level > 0; level--) {
      if (this.need(level) * factor <= rate) return level;
    }
    return 0;
  }
  start() {
    return this.choice >= 0 ? this.choice : this.best(this.line.fast() ?? this.hls.config.abrEwmaDefaultEstimate, RUNG.UP);
  }
  // Of what the line carries, what the rung takes.
  share() {
    const rate = this.estimate();
    return rate && this.rung >= 0 ? this.need(this.rung) / rate : 0;
  }
  // Seconds to keep in hand besides: the last key frame is to be ahead of what is played, or there is nowhere to fall to; where there is one rung
  // alone, there isn't anyway. They grow at once and shrink slowly, unless the line carries the best rung with ease: then it was the machine that was busy.
  margin() {
    const share = this.share();
    const fall = clamp((share - 0.25) / 0.35, 0, 1) * (Math.min(2, this.apart()) + 1);
    const margin = this.hls.levels.length > 1 ? clamp(3 * (share - 0.25), fall, RUNG.MARGIN_MAX_S) : clamp(3 * (share - 0.5), 0, RUNG.MARGIN_MAX_S);
    const ease = margin === 0 && this.rung >= Math.min(this.hls.maxAutoLevel, this.hls.levels.length - 1);
    this.kept = Math.max(margin, this.kept - (ease ? 0.3 : 0.05) * (now() - this.keptAt));
    this.keptAt = now();
    return this.kept;
  }
  // Whether a segment is better loaded as a whole: that is one request, and nothing to be played until it is there.
  wholly() {
    return this.share() < 0.5;
  }
  // So many parts are asked for at once.
  stride() {
    const details = this.hls.latestLevelDetails;
    if (!details?.partTarget || this.rung < 0) return 1;
    const heads = RUNG.PART_BITS / details.partTarget / this.hls.levels[this.rung].averageBitrate;
    this.stretched = heads > 0.15 && this.share() > (this.stretched ? 0.4 : 0.6);
    return this.stretched ? 3 : 1;
  }

  // --- where key frames are

  edge() {
    return this.hls.mainForwardBufferInfo?.end ?? NaN;
  }
  keys() {
    return this.hls.latestLevelDetails?.partList?.filter((part) => part.independent) ?? [];
  }
  // Whether what is loaded next begins with one. Segments do.
  atKeyFrame() {
    const details = this.hls.latestLevelDetails, end = this.edge();
    if (!details || !(buffered() > 0) || !details.partList?.length || end < details.partList[0].start - 0.05) return true;
    const next = details.partList.find((part) => part.start > end - 0.05);
    return next?.independent ?? false;
  }
  // Seconds of media from one to the next.
  apart() {
    const keys = this.keys();
    return keys.length > 1 ? keys.at(-1).start - keys.at(-2).start : this.hls.latestLevelDetails?.targetduration ?? 2;
  }
  // Seconds of media since the newest that has been loaded.
  sinceKey() {
    const end = this.edge(), begun = ({ start }) => start < end + 0.05;
    const key = this.keys().findLast(begun) ?? this.hls.latestLevelDetails?.fragments.findLast(begun);
    return key ? Math.max(0, end - key.start) : 0;
  }

  // --- decisions

  step(level) {
    if (level < this.rung) {
      if (now() - this.steppedAt.up < 10) this.hold = Math.min(RUNG.HOLD_MAX_S, 2 * this.hold);
      this.steppedAt.down = now();
    } else {
      if (now() - this.steppedAt.down > 60) this.hold = RUNG.HOLD_S;
      this.steppedAt.up = now();
    }
    this.rung = this.wanted = level;
  }
  // After each load: what is wanted from the next key frame on.
  decide() {
    const rate = this.estimate();
    if (this.choice >= 0 || !rate || this.rung < 0) return;
    const fast = this.line.fast(buffered() > 1.5 ? 3 * LINE.FAST_S : LINE.FAST_S); // a machine that is busy for a moment isn't a slow line
    if (this.need(this.rung) > fast / RUNG.DOWN && this.rung > 0) {
      this.wanted = Math.min(this.rung, this.best(fast, RUNG.FALL));
      if (this.wanted < this.rung && !this.atKeyFrame()) this.fallIfDue(fast, this.broken(fast), 0, 0);
      return;
    }
    const up = this.best(rate, RUNG.UP);
    const sure = this.need(up) < 0.7 * rate || buffered() > 1.5;
    this.wanted = up > this.rung && sure && now() - this.steppedAt.down > this.hold ? up : this.rung;
    if (up <= this.rung) this.tryNext(rate);
  }
  // Seconds until there is something of another rung, a key frame and what goes with it.
  arrival(level, rate) {
    const part = this.hls.latestLevelDetails?.partTarget ?? 0.2;
    return this.line.roundTrip() + RUNG.QUEUE_S + (8000 + 2 * this.need(level) * part) / rate;
  }
  broken(rate) {
    return rate < this.need(this.rung) * RUNG.BROKEN;
  }
  // The line is too slow for the rung, and loading goes on with `bits` for `seconds` of media. What is loaded of a lower rung begins with the last key
  // frame, and replaces all from there on at once; so it has to be there before that is played. Either nothing is done, because the next key frame
  // or the end of what is being loaded is near enough, or a lower rung is loaded at once; true if so.
  fallIfDue(rate, broken, bits, seconds) {
    const since = this.sinceKey(), toKey = Math.max(0, this.apart() - since);
    const left = bits / rate, whole = left + Math.max(0, toKey - seconds) * this.need(this.rung) / rate;
    if (whole - toKey < buffered() - this.arrival(0, rate) - RUNG.SPARE_S && (!broken || whole < RUNG.SOON_S)) return false;
    const spare = (level) => buffered() - since - this.arrival(level, rate);
    const level = this.landing(rate, spare);
    if (spare(level) > 0) {
      if (spare(level) - left > RUNG.SPARE_S && bits > 0 && !broken) return false;
    } else { // it stands still, one way or the other
      const ahead = Math.max(0, since - buffered()) * this.need(level) / rate + this.arrival(level, rate);
      if (ahead + 0.2 > whole - toKey - buffered()) return false;
    }
    this.fall(level);
    return true;
  }
  landing(rate, spare) {
    for (let level = this.rung - 1; level > 0; level--) {
      if (this.need(level) * RUNG.FALL <= rate && spare(level) > 0) return level;
    }
    return 0;
  }
  fall(level) {
    this.step(level);
    this.hls.nextLoadLevel = level;
  }
  // While something is loaded: will it be there in time?
  look() {
    const { hls, loading } = this;
    if (!loading || this.choice >= 0 || !(this.rung > 0) || !hls?.media || loading.frag.level !== this.rung) return;
    const piece = loading.part ?? loading.frag, { stats } = piece;
    const elapsed = now() - loading.at;
    if (stats.aborted || (stats.total && stats.loaded === stats.total) || elapsed < (stats.loaded ? 0.15 : 0.35)) return;
    const known = this.line.fast() ?? hls.config.abrEwmaDefaultEstimate;
    const rate = Math.min(known, (8 * stats.loaded + 0.02 * known) / (elapsed + 0.02));
    const told = stats.loaded > 0 || elapsed > 0.6; // a first byte that is late may have been lost on the way
    const broken = told && this.broken(this.line.fast(LINE.BROKEN_S, 8 * stats.loaded, Math.max(0, elapsed - this.line.roundTrip())));
    const bytes = (stats.total || Math.max(stats.loaded, piece.duration * this.need(this.rung) / 8)) - stats.loaded;
    if (this.need(this.rung) < rate || (!playing() && 8 * bytes < rate) || !this.fallIfDue(rate, broken, 8 * bytes, piece.duration)) return;
    this.loading = null;
    if (stats.loaded) this.line.add(stats.loaded, { ...stats.loading, end: performance.now() }, now());
    loading.frag.abortRequests();
    hls.trigger(Hls.Events.FRAG_LOAD_EMERGENCY_ABORTED, { frag: loading.frag, part: loading.part, stats });
  }
  // What is loaded tells little when it is little: a part of the next rung tells more, where there is time for it.
  async tryNext(rate) {
    const level = this.hls.levels[this.rung + 1];
    const idle = now() - Math.max(this.steppedAt.down + this.hold, this.probe.at);
    if (!level || this.rung >= this.hls.maxAutoLevel || this.probing || idle < 0 || this.share() > 0.4) return;
    this.probing = new AbortController();
    const { signal } = this.probing;
    const timer = setTimeout(() => this.probing?.abort(), RUNG.PROBE_TIMEOUT_MS);
    try {
      const text = await (await fetch(level.url, { signal })).text();
      const uri = text.match(/^#EXT-X-PART:.*URI="[^"]*"/gm)?.at(-1).match(/URI="([^"]*)"/)[1];
      const start = performance.now();
      const response = await fetch(new URL(uri, level.url), { signal });
      const first = performance.now();
      const { byteLength } = await response.arrayBuffer();
      if (response.ok) this.line.add(byteLength, { start, first, end: performance.now() }, now());
    } catch { /* it took too long, or there is none: that's an answer, too */ }
    clearTimeout(timer);
    this.probing = null;
    const better = this.line.fast() > rate * 1.1;
    this.probe.pause = better ? RUNG.PROBE_S : Math.min(RUNG.PROBE_MAX_S, 1.5 * this.probe.pause);
    this.probe.at = now() + this.probe.pause;
    if (this.hls) this.decide();
  }
};

// Asks for the next playlist when several parts more are in it, where each costs too much.
const stridingLoader = (stride) => class extends Hls.DefaultConfig.loader {
  load(context, config, callbacks) {
    const { deliveryDirectives: asked, levelOrTrack } = context, details = levelOrTrack?.details;
    const follows = asked?.part >= 0 && details?.age < 1.5 &&
      (asked.msn > details.lastPartSn || (asked.msn === details.lastPartSn && asked.part > details.lastPartIndex));
    const more = follows ? stride() - 1 : 0;
    if (more > 0) context.url = context.url.replace(/_HLS_part=\d+/, `_HLS_part=${asked.part + more}`);
    super.load(context, config, callbacks);
  }
};
