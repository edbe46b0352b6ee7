'use strict';

// The history of one value: requests it from the module's buffer, and draws it. Loaded before page.js, whose functions it uses.

const view = { isSeen: false, ticket: 0, loadedAt: -Infinity, key: '', names: new Map(), answer: null, series: null, place: null };

const svgElement = (name, attributes, text) => {
  const node = document.createElementNS('http://www.w3.org/2000/svg', name);
  Object.entries(attributes).forEach(([key, value]) => node.setAttribute(key, value));
  if (text !== undefined) node.textContent = text;
  return node;
};
const median = (numbers) => [...numbers].sort((a, b) => a - b)[numbers.length >> 1];
const partsOf = (svg) => Math.min(300, Math.max(60, svg.clientWidth >> 2));
const rangeOf = () => document.querySelector('input[name=range]:checked').value;
const moment = (time, span) => new Date(time).toLocaleString('en-GB', span > 36e5 * 20
  ? { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' }
  : span > 36e5 * 2 ? { hour: '2-digit', minute: '2-digit' } : { hour: '2-digit', minute: '2-digit', second: '2-digit' });

function offer(select, pairs) {
  const key = JSON.stringify(pairs);
  if (select.dataset.key === key) return;
  select.dataset.key = key;
  // The user's choice is restored when it is available again: a failing sensor has no values for a while.
  const wanted = select.dataset.wanted || select.value;
  select.replaceChildren(...pairs.map(([value, text]) => new Option(text, value)));
  if (pairs.some(([value]) => value === wanted)) select.value = wanted;
}

// Sensors of other programs have no card; the names of their values are known only after a query.
// The readings of an MQTT sensor have their own sensor names.
const isPushed = (sensor) => sensor.kind === 'mqtt';
const withHistory = (now) => {
  const own = now.sensors.filter((s) => !isPushed(s));
  return [...own, ...now.pushedSensors.filter((name) => !own.some((s) => s.name === name)).map((name) => ({ name }))];
};

function offerChoices(now) {
  const sensors = withHistory(now);
  const labelled = sensors.map((s) => [s.name, s.label ? `${s.label} (${s.name})` : s.name]);
  offer(byId('history-sensor'), labelled.sort((a, b) => a[1].localeCompare(b[1])));
  const sensor = sensors.find((s) => s.name === byId('history-sensor').value);
  // A failing sensor has no values now, but maybe some in the buffer.
  const names = sensor ? [...new Set([...Object.keys(sensor.values || {}), ...(view.names.get(sensor.name) || [])])] : [];
  offer(byId('history-value'), names.map((name) => [name, titleOf(name)]));
  return sensor;
}

function showHistory(now) {
  const sensor = offerChoices(now);
  const patience = rangeOf() === '3600' ? 30e3 : 300e3;
  const key = `${sensor && sensor.name} ${byId('history-value').value} ${rangeOf()}`;
  if (view.series && key !== view.key) clearHistory();
  if (!view.isSeen || document.hidden || !sensor || (key === view.key && performance.now() - view.loadedAt < patience)) return;
  loadHistory(sensor, key !== view.key && view.key !== '');
}

// Called when the choice changes, so that the chart never shows the previous choice.
function clearHistory() {
  [view.series, view.place] = [null, null];
  byId('chart').replaceChildren();
  ['history-summary', 'history-note', 'history-at'].forEach((id) => setText(byId(id), ''));
  byId('history-rows').replaceChildren();
}

async function loadHistory(sensor, isChosen) {
  const ticket = ++view.ticket;
  const [name, range] = [byId('history-value').value, rangeOf()];
  view.key = `${sensor.name} ${name} ${range}`;
  view.loadedAt = performance.now();
  const now = Date.parse(latest.now);
  const query = new URLSearchParams({
    sensor: sensor.name, value: name, points: partsOf(byId('chart')),
    from: range === 'oldest' ? range : new Date(now - range * 1e3).toISOString(),
  });
  try {
    const answer = await fetch(`api/readings?${query}`);
    if (!answer.ok) throw new Error(answer.status === 503 ? (await answer.json()).error : await answer.text());
    const found = await answer.json();
    if (ticket !== view.ticket) return;
    if (!name) {
      view.names.set(sensor.name, [...new Set(found.points.flatMap((p) => Object.keys(p.values)))]);
      offerChoices(latest);
      view.key = `${sensor.name} ${byId('history-value').value} ${range}`;
    }
    view.answer = found;
    takeSeries(sensor, byId('history-value').value);
    describeHistory(isChosen);
    drawHistory();
  } catch (error) {
    if (ticket === view.ticket) setText(byId('history-note'), `The history can’t be read now: ${error.message.slice(0, 200)}`);
  }
}

// The readings in the buffer. Where it has none, because they were forwarded and deleted, the page's own values fill in: one each
// half minute of the last hour. With new readings first this is not only before the oldest, but also after or between backlogs.
function takeSeries(sensor, name) {
  const { answer } = view;
  const [from, to] = [Date.parse(answer.from), Date.parse(answer.to)];
  const points = [];
  let isUnread = false;
  answer.points.forEach((p) => {
    isUnread ||= p.unreadBefore === true;
    if (!p.values[name]) return;
    points.push({ time: Date.parse(p.time), ...p.values[name], isAfterUnread: isUnread });
    isUnread = false;
  });
  // Thinned readings are further apart, so a gap is a step longer than its neighbours. Where not all was read, gaps are unknown.
  const bucket = (to - from) / partsOf(byId('chart'));
  const steps = points.slice(1).map((p, i) => p.time - points[i].time);
  const most = (i) => Math.max(2.5 * bucket, 3 * (median(steps.slice(Math.max(0, i - 5), i + 6)) || 0));
  steps.forEach((step, i) => { points[i + 1].isAfterGap = !points[i + 1].isAfterUnread && step > most(i); });
  const own = (hour.get(`${sensor.name} ${name}`) || [])
    .map((value, i, all) => ({ time: hourAt - (all.length - 1 - i) * 30e3, min: value, max: value, last: value, isOwn: true }))
    .filter((p) => p.min !== null && p.time >= from);
  const ownBetween = (start, end) => own.filter((p) => p.time > start + 15e3 && p.time < end - 15e3);
  const all = points.flatMap((p, i) => i === 0 || p.isAfterGap ? [...ownBetween(i === 0 ? -Infinity : points[i - 1].time, p.time), p] : [p]);
  const last = points.length ? points[points.length - 1].time : -Infinity;
  if (to - last > Math.max(70e3, most(steps.length - 1))) all.push(...ownBetween(last, Infinity));
  const isBreak = (before, p) => before.isOwn || p.isOwn ? !p.isAfterUnread && p.time - before.time > Math.max(70e3, 2.5 * bucket) : p.isAfterGap;
  const pieces = [];
  all.forEach((p, i) => { if (i === 0 || isBreak(all[i - 1], p)) pieces.push([p]); else pieces[pieces.length - 1].push(p); });
  view.series = { label: sensor.label || sensor.name, name, unit: sensor.unit || unitOf(name), from, to, points: all, pieces, hasOwn: all.some((p) => p.isOwn), readings: answer.readings };
}

const withUnit = (series, n) => `${shown(series.name, n)}${series.unit ? ` ${series.unit}` : ''}`;

function describeHistory(isChosen) {
  const { series, answer: { isPartlyRead } } = view;
  const { points, pieces, from, to } = series;
  const span = to - from;
  const summary = byId('history-summary');
  // Announced by screen readers only after the user's choice.
  summary.setAttribute('aria-live', isChosen ? 'polite' : 'off');
  const title = `${series.label}, ${series.name ? titleOf(series.name) : 'no values'}, ${moment(from, span)} to ${moment(to, span)}`;
  byId('chart').setAttribute('aria-label', `Chart: ${title}`);
  if (!points.length) {
    setText(summary, `${title}: ${isPartlyRead ? 'no readings in what was read' : 'no readings in this time'}.`);
  } else {
    const [low, high] = [Math.min(...points.map((p) => p.min)), Math.max(...points.map((p) => p.max))];
    const gaps = pieces.slice(1).map((piece, i) => piece[0].time - pieces[i][pieces[i].length - 1].time);
    const longest = gaps.length ? `, the longest of ${duration(Math.max(...gaps) / 1e3)}` : '';
    setText(summary, `${title}: ${withUnit(series, low)} to ${withUnit(series, high)}, last ${withUnit(series, points[points.length - 1].last)}; `
      + `${gaps.length ? `${gaps.length} ${gaps.length === 1 ? 'gap' : 'gaps'}${longest}` : isPartlyRead ? 'no gaps in what was read' : 'no gaps'}.`);
  }
  const notes = [];
  if (series.hasOwn) notes.push('Forwarded readings were deleted; for the last hour the page shows a value each half minute instead.');
  else if (points.length ? !points[0].isAfterUnread && points[0].time > from + span / 20 : !isPartlyRead) notes.push(`The buffer has nothing${points.length ? ` before ${moment(points[0].time, span)}` : ''}; forwarded readings are deleted unless retainForwardedHours keeps them.`);
  if (pieces.length > 1 && latest.link.drainOrder === 'LiveFirst') notes.push('New readings are sent first: a gap may also be readings that were forwarded and deleted.');
  if (isPartlyRead) notes.push('There are so many readings that only the beginning of each interval was read: peaks, readings and gaps may be missing.');
  setText(byId('history-note'), notes.join(' '));
  tabulateHistory(series, span);
}

function tabulateHistory({ points, from, to, name, unit }, span) {
  const rows = 12;
  byId('history-unit').textContent = unit ? `, ${unit}` : '';
  byId('history-rows').replaceChildren(...Array.from({ length: rows }, (_, i) => {
    const [start, end] = [from + span * i / rows, from + span * (i + 1) / rows];
    const inside = points.filter((p) => p.time >= start && (p.time < end || (i === rows - 1 && p.time <= to + 1e3)));
    const row = element('tr');
    const head = element('th', '', moment(start, span));
    head.scope = 'row';
    const cells = inside.length
      ? [Math.min(...inside.map((p) => p.min)), Math.max(...inside.map((p) => p.max)), inside[inside.length - 1].last].map((n) => element('td', '', shown(name, n)))
      : [1, 2, 3].map(() => element('td', '', view.answer.isPartlyRead ? 'none read' : 'none'));
    row.append(head, ...cells);
    return row;
  }));
}

function valueTicks(low, high) {
  const raw = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= raw * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i <= high / step + 1e-9; i++) ticks.push(i * step);
  return ticks;
}

const timeSteps = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600, 2592000, 7776000, 31536000];

function timeTicks(from, to, most) {
  const step = (timeSteps.find((s) => (to - from) / (s * 1e3) <= most) || 315360000) * 1e3;
  const start = new Date(from);
  start.setHours(0, 0, 0, 0);
  const ticks = [];
  for (let t = start.getTime() + Math.ceil((from - start) / step) * step; t <= to; t += step) {
    const time = new Date(t);
    const isDay = step >= 864e5 || (to - from > 864e5 && time.getHours() === 0 && time.getMinutes() === 0);
    ticks.push([t, isDay ? time.toLocaleDateString('en-GB', { day: 'numeric', month: 'short' })
      : time.toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit', ...(step < 6e4 && { second: '2-digit' }) })]);
  }
  return ticks;
}

function drawHistory() {
  const [svg, { series }] = [byId('chart'), view];
  const [width, height] = [svg.clientWidth, svg.clientHeight];
  if (!series || width === 0) return;
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  const { points, pieces, from, to, name, unit } = series;
  if (!points.length) {
    view.place = null;
    return svg.replaceChildren(svgElement('text', { x: width / 2, y: height / 2, 'text-anchor': 'middle' }, 'nothing to show'));
  }
  let [low, high] = [Math.min(...points.map((p) => p.min)), Math.max(...points.map((p) => p.max))];
  const room = (high - low) * 0.08 || Math.abs(high) * 0.05 || 1;
  [low, high] = [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
  const ticks = valueTicks(low, high);
  const left = 12 + 7 * Math.max(...ticks.map((t) => shown(name, t).length));
  const [top, bottom, right] = [22, height - 24, width - 8];
  const x = (time) => left + (right - left) * (time - from) / (to - from);
  const y = (n) => bottom - (bottom - top) * (n - low) / (high - low);
  const at = (p, n) => `${x(p.time).toFixed(1)} ${y(n).toFixed(1)}`;
  const nodes = [svgElement('text', { x: 0, y: 12 }, unit)];
  ticks.forEach((t) => nodes.push(
    svgElement('path', { class: 'grid', d: `M${left} ${y(t).toFixed(1)}H${right}` }),
    svgElement('text', { x: left - 6, y: y(t) + 4, 'text-anchor': 'end' }, shown(name, t))));
  timeTicks(from, to, Math.max(2, (right - left) / 80)).forEach(([t, text]) => nodes.push(
    svgElement('path', { class: 'grid', d: `M${x(t).toFixed(1)} ${top}V${bottom + 4}` }),
    svgElement('text', { x: Math.min(x(t), right - 16), y: height - 6, 'text-anchor': 'middle' }, text)));
  pieces.slice(1).forEach((piece, i) => {
    const start = x(pieces[i][pieces[i].length - 1].time);
    nodes.push(svgElement('rect', { class: 'gap', x: start, y: top, width: Math.max(1, x(piece[0].time) - start), height: bottom - top }));
  });
  // A line of length zero is drawn as a dot.
  nodes.push(
    svgElement('path', { class: 'area', d: pieces.map((piece) => `M${piece.map((p) => at(p, p.max)).join('L')}L${[...piece].reverse().map((p) => at(p, p.min)).join('L')}Z`).join('') }),
    svgElement('path', { class: 'line', d: pieces.map((piece) => `M${piece.map((p) => at(p, p.last)).join('L')}${piece.length === 1 ? 'h0' : ''}`).join('') }),
    svgElement('path', { class: 'cursor', id: 'cursor', d: '' }));
  svg.replaceChildren(...nodes);
  view.place = { x, top, bottom };
}

// The point under the pointer; without a pointer, the table shows the values.
function pointAt(event) {
  const { series, place } = view;
  if (!series || !place) return;
  const at = event.clientX - byId('chart').getBoundingClientRect().left;
  const nearest = series.points.reduce((best, p) => Math.abs(place.x(p.time) - at) < Math.abs(place.x(best.time) - at) ? p : best);
  byId('cursor').setAttribute('d', `M${place.x(nearest.time).toFixed(1)} ${place.top}V${place.bottom}`);
  const band = nearest.min === nearest.max ? '' : ` (${shown(series.name, nearest.min)} to ${withUnit(series, nearest.max)})`;
  setText(byId('history-at'), `${moment(nearest.time, series.to - series.from)}: ${withUnit(series, nearest.last)}${band}`);
}

function chooseHistory(name) {
  byId('history-sensor').value = byId('history-sensor').dataset.wanted = name;
  byId('h-history').focus();
  view.isSeen = true;
  if (latest) showHistory(latest);
}

function startHistory() {
  const [svg, section] = [byId('chart'), byId('history')];
  section.addEventListener('change', ({ target }) => {
    if (target.tagName === 'SELECT') target.dataset.wanted = target.value;
    if (latest) showHistory(latest);
  });
  svg.addEventListener('pointermove', pointAt);
  svg.addEventListener('pointerdown', pointAt);
  svg.addEventListener('pointerleave', () => {
    setText(byId('history-at'), '');
    if (byId('cursor')) byId('cursor').setAttribute('d', '');
  });
  // The history is requested only while it is visible.
  new IntersectionObserver(([entry]) => {
    view.isSeen = entry.isIntersecting;
    if (view.isSeen && latest) showHistory(latest);
  }).observe(section);
  new ResizeObserver(drawHistory).observe(svg);
}
