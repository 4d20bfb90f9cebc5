// Put into a page by viewer.mjs before the page's own scripts: watches the page's <video> and reads the clock from each frame
// that it shows (the layout of the cells is told in clock_pattern.h). It touches nothing of the page.
//
// The time of a frame is when requestVideoFrameCallback hands it over. Measured against a picture drawn in the page itself
// that is 4 to 5 ms late at the median, and never early.
//
// window.weirProbe.report(warmSeconds) sums it up; a gap that is still open when it is asked counts.
'use strict';
(() => {
  const COLUMNS = 20, ROWS = 4, BYTES = 10;
  const CELL = 8;                 // pixels of a cell after shrinking
  const MS_RANGE = 2 ** 40, FRAME_RANGE = 2 ** 24;
  const STALL_MS = 250;           // a longer gap between two frames is a stall
  const LIST_MAX = 200;

  const frames = [];              // {at, mediaTime, number, latency}: ms since navigation; number and latency null when unreadable
  const gaps = [];                // {at, ms}
  const errors = [];
  let unreadable = 0;
  let firstFrameMs = null;
  let lastAt = null;
  let video = null;

  const wallClock = () => performance.timeOrigin + performance.now();
  const remember = (list, entry) => { if (list.length < LIST_MAX) list.push(entry); };

  const canvas = document.createElement('canvas');
  canvas.width = COLUMNS * CELL;
  canvas.height = ROWS * CELL;
  const pixels = canvas.getContext('2d', { willReadFrequently: true });

  function crc(bytes) {
    let value = 0xffff;
    for (const byte of bytes) {
      value ^= byte << 8;
      for (let bit = 0; bit < 8; bit++) value = (value & 0x8000 ? (value << 1) ^ 0x1021 : value << 1) & 0xffff;
    }
    return value;
  }

  const integer = (bytes) => bytes.reduce((sum, byte) => sum * 256 + byte, 0);

  // Green stands for luma: the cells are grey.
  function readCell(data, cell) {
    const x = (cell % COLUMNS) * CELL + CELL / 2, y = Math.floor(cell / COLUMNS) * CELL + CELL / 2;
    let sum = 0;
    for (const dy of [-1, 0]) for (const dx of [-1, 0]) sum += data[((y + dy) * canvas.width + x + dx) * 4 + 1];
    return sum / 4 > 127 ? 1 : 0;
  }

  function readClock() {
    const { videoWidth, videoHeight } = video;
    pixels.drawImage(video, 0, 0, videoWidth / 2, videoHeight * 2 / 9, 0, 0, canvas.width, canvas.height);
    const { data } = pixels.getImageData(0, 0, canvas.width, canvas.height);
    const bytes = new Array(BYTES).fill(0);
    for (let cell = 0; cell < BYTES * 8; cell++) bytes[cell >> 3] |= readCell(data, cell) << (7 - cell % 8);
    if (crc(bytes.slice(0, 8)) !== integer(bytes.slice(8))) return null;
    return { number: integer(bytes.slice(0, 3)), ms: integer(bytes.slice(3, 8)) };
  }

  function latency(at, ms) {
    const late = Math.floor(at) % MS_RANGE - ms;
    return (late < -MS_RANGE / 2 ? late + MS_RANGE : late) + at % 1;
  }

  function onFrame(_, { mediaTime }) {
    video.requestVideoFrameCallback(onFrame);
    const wall = wallClock(), at = performance.now();
    firstFrameMs ??= at;
    if (lastAt !== null && at - lastAt > STALL_MS) remember(gaps, { at: lastAt, ms: at - lastAt });
    lastAt = at;
    let clock = null;
    try {
      clock = readClock();
    } catch (error) {
      remember(errors, `reading the picture: ${error.message}`);
    }
    if (!clock) unreadable++;
    frames.push({ at, mediaTime, number: clock?.number ?? null, latency: clock && latency(wall, clock.ms) });
  }

  function watch(element) {
    video = element;
    video.requestVideoFrameCallback(onFrame);
    video.addEventListener('error', () => remember(errors, `video: ${video.error?.code} ${video.error?.message}`));
  }

  function find() {
    const element = document.querySelector('video');
    if (!element) return false;
    watch(element);
    return true;
  }

  addEventListener('error', (event) => remember(errors, `page: ${event.message}`));
  addEventListener('unhandledrejection', (event) => remember(errors, `page: ${event.reason}`));
  const observer = new MutationObserver(() => { if (find()) observer.disconnect(); });
  if (!find()) observer.observe(document, { childList: true, subtree: true });

  function percentiles(values) {
    const sorted = values.toSorted((a, b) => a - b);
    const at = (part) => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] * 10) / 10;
    return sorted.length ? { min: at(0), p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) } : null;
  }

  const stepTo = (frame, before) => (frame.number - before.number + FRAME_RANGE) % FRAME_RANGE;

  // On a busy machine the next picture may be there before the callback of one runs, and is then read twice: first in the
  // place of the one that was missed. A picture that was sent twice has none missing before it.
  function isOfNext(frame, before, next) {
    const missing = !before || stepTo(frame, before) > 1;
    return missing && next && stepTo(next, frame) === 0 && next.mediaTime !== frame.mediaTime;
  }

  // Numbers that were skipped, shown again, or shown out of their order.
  function continuity(all) {
    const counts = { missed: 0, repeated: 0, reordered: 0 };
    const shown = all.filter((frame, i) => !isOfNext(frame, all[i - 1], all[i + 1]));
    for (let i = 1; i < shown.length; i++) {
      const step = stepTo(shown[i], shown[i - 1]);
      if (step === 0) counts.repeated++;
      else if (step > FRAME_RANGE / 2) counts.reordered++;
      else counts.missed += step - 1;
    }
    return counts;
  }

  function report(warmSeconds) {
    const now = performance.now();
    const open = lastAt !== null && now - lastAt > STALL_MS ? [{ at: lastAt, ms: now - lastAt }] : [];
    const from = (firstFrameMs ?? 0) + warmSeconds * 1000;
    const stalls = [...gaps, ...open];
    const counted = frames.filter((frame) => frame.at >= from && frame.number !== null);
    const quality = video?.getVideoPlaybackQuality();
    return {
      first_frame_ms: firstFrameMs === null ? null : Math.round(firstFrameMs),
      frames: frames.length,
      unreadable,
      seconds: frames.length ? (frames.at(-1).at - frames[0].at) / 1000 : 0,
      since_last_frame_ms: lastAt === null ? null : Math.round(now - lastAt),
      last_number: frames.findLast((frame) => frame.number !== null)?.number ?? null,
      latency_ms: percentiles(counted.map((frame) => frame.latency)),
      ...continuity(counted),
      stalls: stalls.length,
      stall_ms: Math.round(stalls.reduce((sum, gap) => sum + gap.ms, 0)),
      stalls_after_warm: stalls.filter((gap) => gap.at >= from).length,
      gaps: stalls.map((gap) => ({ at_ms: Math.round(gap.at), ms: Math.round(gap.ms) })),
      dropped: quality?.droppedVideoFrames ?? null,
      width: video?.videoWidth ?? null,
      height: video?.videoHeight ?? null,
      errors,
    };
  }

  // The clock of the picture that shows, ms of UTC; null: none could be read.
  const shows = () => {
    const last = frames.at(-1);
    return last?.latency == null ? null : performance.timeOrigin + last.at - last.latency;
  };

  window.weirProbe = { report, shows };
})();
