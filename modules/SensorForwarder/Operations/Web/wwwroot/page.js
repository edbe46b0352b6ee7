'use strict';

// Shows the module's data. Text from the module is only ever set as text, never as HTML.

const byId = (id) => document.getElementById(id);
const nf = new Intl.NumberFormat('en', { maximumFractionDigits: 2 });
const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const units = { temperature: '°C', humidity: '%', pressure: 'hPa', illuminance: 'lx', co2: 'ppm', voltage: 'V', current: 'A', power: 'W' };
let latest = null;
let hour = new Map();
let hourAt = 0;
const revisions = { events: -1, hour: -1, settings: -1 };

const element = (name, className, text) => {
  const node = document.createElement(name);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};
const setText = (node, text) => { if (node.textContent !== text) node.textContent = text; };
const setState = (node, state) => { if (node.dataset.state !== state) node.dataset.state = state; };

const bytes = (n) => n >= 1e9 ? `${nf.format(n / 1e9)} GB` : n >= 1e6 ? `${nf.format(n / 1e6)} MB` : `${nf.format(n / 1e3)} KB`;
const duration = (seconds) => {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`;
  return s < 86400 * 999 ? `${Math.floor(s / 86400)} d ${Math.floor(s % 86400 / 3600)} h` : 'years';
};
// Ages are calculated with the module's clock, not the browser's.
const ago = (time) => latest && time ? (Date.parse(latest.now) - Date.parse(time)) / 1000 : 0;
const clock = (time) => new Date(time).toLocaleTimeString('en-GB');
const day = (time) => new Date(time).toLocaleDateString('en-GB', { day: 'numeric', month: 'short', year: 'numeric' });
const when = (time) => day(time) === day(latest.now) ? clock(time) : `${day(time)} ${clock(time)}`;
const value = (n) => Math.abs(n) >= 1e6 || (n !== 0 && Math.abs(n) < 0.001) ? n.toPrecision(4) : nf.format(n);
// The suffix of a value's name is its unit.
const shown = (name, n) => name.endsWith('Bytes') ? bytes(n) : name.endsWith('Seconds') ? duration(n) : value(n);
const unitOf = (name) => units[name] || (name.endsWith('Percent') ? '%' : '');
const titleOf = (name) => words(name.replace(/(Bytes|Percent|Seconds)$/, ''));
const words = (name) => name.replace(/([a-z0-9])([A-Z])/g, (_, a, b) => `${a} ${b.toLowerCase()}`);

function list(node, rows) {
  const wanted = rows.filter((row) => row);
  const key = JSON.stringify(wanted);
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  node.replaceChildren(...wanted.flatMap(([term, text, isWide]) => isWide
    ? [element('dd', 'wide', text)]
    : [element('dt', '', term), element('dd', '', text)]));
}

function showQueue(queue) {
  setText(byId('depth'), whole.format(queue.depth));
  const evicted = Object.entries(queue.evicted);
  list(byId('queue'), [
    ['oldest', queue.depth ? duration(queue.oldestAgeSeconds) : 'none'],
    ['in / out', `${nf.format(queue.committedPerSecond)} / ${nf.format(queue.acceptedPerSecond)} a second`],
    queue.drainedInSeconds === undefined ? null : ['sent in about', duration(queue.drainedInSeconds)],
    queue.givesUp ? ['full', whenFull[queue.givesUp]] : null,
    queue.deadLetters ? ['refused by the receiver', whole.format(queue.deadLetters)] : null,
    evicted.length ? ['evicted', evicted.map(([reason, n]) => `${whole.format(n)} ${reason}`).join(', ')] : null,
  ]);
}

const whenFull = { Thin: 'old readings are thinned', DropOldest: 'the oldest readings are dropped', RejectNew: 'new readings are refused' };
function showStorage(storage, queue, uptime) {
  const names = { Ok: 'Every reading is stored', Full: 'The volume is full', ReadOnly: 'The volume is read-only', Busy: 'The database is locked', Failing: 'The volume has errors', Refusing: 'New readings are refused', Closed: 'Stopped' };
  const isFull = storage.state === 'Ok' && queue.givesUp;
  setText(byId('storage-state'), isFull ? `Full: ${whenFull[queue.givesUp]}` : names[storage.state] || storage.state);
  setState(byId('storage-state'), isFull ? 'warn' : storage.state === 'Ok' ? 'good' : 'bad');
  const share = Math.min(100, 100 * queue.fileBytes / queue.maxBytes);
  byId('fill').setAttribute('aria-valuenow', share.toFixed(0));
  byId('fill').firstElementChild.style.width = `${share}%`;
  list(byId('storage'), [
    ['on the volume', `${bytes(queue.fileBytes)} of ${bytes(queue.maxBytes)}`],
    queue.fullInSeconds === undefined ? null : ['full in about', duration(queue.fullInSeconds)],
    ['readings stored', whole.format(storage.committedReadings)],
    ['transactions', whole.format(storage.commits)],
    storage.writeFailures ? ['failed writes', whole.format(storage.writeFailures)] : null,
    uptime > 600 ? ['flash writes per year', bytes(storage.flashBytesPerYear)] : null,
    ['clock', storage.clockSynchronized ? 'synchronized' : 'not synchronized: times are corrected later'],
    ['module clock', new Date(latest.now).toISOString().slice(0, 19).replace('T', ' ') + ' UTC'],
    storage.salvaged ? ['', `Repaired ${storage.salvaged}`, true] : null,
    storage.reason ? ['', storage.reason, true] : null,
  ]);
}

const icons = { good: 'M8 12.5l3 3 5.5-6', warn: 'M12 7v6M12 16.5v.01', bad: 'M9 9l6 6M15 9l-6 6', wait: 'M12 7v5l3 2' };
function banner(state, title, text) {
  setState(byId('banner'), state);
  byId('banner-icon').setAttribute('d', icons[state]);
  setText(byId('banner-title'), title);
  setText(byId('banner-text'), text);
}

const alarmText = ({ sensor, name, since }) => `${sensor}: ${name}, since ${when(since)}`;

// Conditions that need no attention at once. A title has no numbers: screen readers announce each change of it.
const notesOf = (now) => [
  now.sensors.length ? null : ['No sensor is configured', 'Nothing is read until the settings name a sensor.'],
  now.settingsRefused ? ['Some settings are not in force', `${now.settingsRefused === 1 ? 'One is' : `${now.settingsRefused} are`} refused or unknown; Settings in force says why.`] : null,
  now.queue.deadLetters ? ['Some readings were refused permanently', `The receiver refused ${whole.format(now.queue.deadLetters)}, which are kept as dead letters; see the direct methods getDeadLetters, retryDeadLetters and purgeDeadLetters.`] : null,
].filter((note) => note);

function showBanner(now) {
  const failing = now.sensors.filter((s) => s.state === 'Failing');
  const stored = `${whole.format(now.queue.depth)} readings wait safely on the volume`;
  const waiting = now.queue.givesUp ? `${stored} (the buffer is full: ${whenFull[now.queue.givesUp]})` : stored;
  if (now.storage.state === 'Refusing') return banner('bad', 'The buffer is full: new readings are refused', `${stored}. New ones are accepted once some are sent, or bufferMaxMegabytes is raised.`);
  if (now.storage.state !== 'Ok') return banner('bad', 'The volume accepts no readings', now.storage.reason || 'Readings wait in memory; see Storage.');
  const alarms = now.sensors.flatMap((s) => s.alarms || []);
  if (alarms.length) return banner(alarms.some((a) => a.severity === 'critical') ? 'bad' : 'warn', 'An alarm is raised', alarms.slice(0, 5).map(alarmText).join('; '));
  if (now.link.state === 'Down') return banner('bad', 'No connection', `${waiting}; they are sent once it is back. Sensing continues.`);
  if (now.link.state === 'Refusing' || now.link.state === 'Failing') return banner('bad', linkNames[now.link.state], `${now.link.lastError}. ${waiting}; they are sent once it accepts them. Sensing continues.`);
  if (now.link.state === 'Paused') return banner('warn', 'Forwarding is paused', `${waiting} until forwarding is resumed.`);
  if (heldByEdgeHub(now.link.upstream)) return banner('warn', 'edgeHub does not reach the cloud', `${waiting} until it does; one batch a minute is sent.`);
  if (now.queue.givesUp) return banner('warn', 'The buffer is full', `${waiting}.`);
  if (failing.length) return banner('warn', `${failing.length} of ${now.sensors.length} sensors ${failing.length === 1 ? 'fails' : 'fail'}`, failing.slice(0, 5).map((s) => `${s.name}: ${s.reason || 'no values'}`).join('; '));
  if (now.link.quota && -ago(now.link.quota.heldBackUntil) > 60) return banner('wait', 'The daily limit holds readings back', `${waiting}. ${heldByQuota(now.link.quota)}`);
  if (now.faults.length) return banner('warn', 'A health check fails', now.faults.join('; '));
  const notes = notesOf(now);
  const note = notes.map(([, text]) => ` ${text}`).join('');
  if (now.link.state === 'Starting' && now.sensors.length) return banner('wait', 'Started', `Readings are stored; nothing has been sent yet.${note}`);
  if (now.queue.drainedInSeconds > 30) return banner('good', 'Catching up', `${waiting}; sent in about ${duration(now.queue.drainedInSeconds)}.${note}`);
  if (notes.length) return banner('wait', notes[0][0], note.trim());
  return banner('good', 'All is well', 'All sensors answer, all readings are stored, and the receiver accepts them.');
}

function spark(svg, all) {
  // Skips the time before the module was started.
  const points = (all || []).slice((all || []).findIndex((p) => p !== null));
  const good = points.filter((p) => p !== null);
  if (good.length < 2) { svg.replaceChildren(); svg.setAttribute('aria-label', 'no history yet'); return; }
  const [low, high] = [Math.min(...good), Math.max(...good)];
  const span = high - low || Math.abs(high) || 1;
  const y = (p) => high === low ? 20 : 37 - 34 * (p - low) / span;
  let line = '', area = '', start = -1;
  points.forEach((p, i) => {
    if (p === null) {
      if (start >= 0) area += `L${i - 1} 40L${start} 40Z`;
      start = -1;
      return;
    }
    line += `${start < 0 ? 'M' : 'L'}${i} ${y(p).toFixed(1)}`;
    area += `${start < 0 ? 'M' : 'L'}${i} ${y(p).toFixed(1)}`;
    if (start < 0) start = i;
  });
  if (start >= 0) area += `L${points.length - 1} 40L${start} 40Z`;
  const path = (d, className) => {
    const node = document.createElementNS('http://www.w3.org/2000/svg', 'path');
    node.setAttribute('d', d);
    if (className) node.setAttribute('class', className);
    return node;
  };
  svg.replaceChildren(path(area, 'area'), path(line));
  svg.setAttribute('viewBox', `0 0 ${points.length - 1} 40`);
  svg.setAttribute('aria-label', `last ${Math.max(1, Math.round(points.length / 2))} minutes: ${value(low)} to ${value(high)}`);
}

function newCard() {
  const card = element('li', 'card');
  const row = element('div', 'row');
  row.append(element('h3'), element('span', 'tag'));
  const foot = element('div', 'foot row');
  const button = element('button', 'more', 'History');
  button.type = 'button';
  button.addEventListener('click', () => chooseHistory(card.dataset.sensor));
  foot.append(element('span', 'facts'), button);
  card.append(row, element('p', 'why'), element('div', 'values'), foot);
  return card;
}

function newValue(name, unit) {
  const row = element('div', 'value');
  const number = element('span', 'number');
  number.append(element('span'), element('small', '', unit));
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('class', 'spark');
  svg.setAttribute('viewBox', '0 0 119 40');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('role', 'img');
  row.append(element('span', 'name', titleOf(name)), number, svg);
  row.dataset.name = name;
  return row;
}

function showSensor(card, sensor) {
  const label = sensor.label || sensor.name;
  setText(card.querySelector('h3'), label);
  const tag = card.querySelector('.tag');
  const isDoubtful = sensor.quality === 'Uncertain';
  setState(tag, sensor.state === 'Failing' ? 'bad' : sensor.state === 'Starting' ? 'wait' : isDoubtful ? 'warn' : 'good');
  setText(tag, sensor.state === 'Failing' ? 'failing' : sensor.state === 'Starting' ? 'starting' : isDoubtful ? 'uncertain' : 'good');
  const why = card.querySelector('.why');
  const alarms = sensor.alarms || [];
  if (alarms.length) {
    setState(tag, sensor.state === 'Failing' || alarms.some((a) => a.severity === 'critical') ? 'bad' : 'warn');
    setText(tag, 'alarm');
  }
  const reasons = [...alarms.slice(0, 5).map((a) => a.sensor === sensor.name ? `${a.name}, since ${when(a.since)}` : alarmText(a)), [sensor.reason, sensor.detail].filter((t) => t).join(': ')].filter((t) => t);
  why.hidden = !reasons.length;
  setText(why, reasons.join('; '));
  const names = Object.keys(sensor.values || {});
  const holder = card.querySelector('.values');
  if (holder.dataset.names !== names.join()) {
    holder.dataset.names = names.join();
    card.classList.toggle('many', names.length > 4);
    holder.replaceChildren(...names.map((name) => newValue(name, sensor.unit || unitOf(name))));
  }
  names.forEach((name, i) => {
    const row = holder.children[i];
    setText(row.querySelector('.number span'), shown(name, sensor.values[name]));
    const points = hour.get(`${sensor.name} ${name}`);
    if (row.points !== points || !row.drawn) { row.points = points; row.drawn = true; spark(row.querySelector('svg'), points); }
  });
  const times = sensor.time ? `${duration(ago(sensor.time))} ago` : isPushed(sensor) ? 'see Other programs' : 'no values yet';
  const parts = [sensor.kind, sensor.label ? sensor.name : '', times];
  if (sensor.failures) parts.push(`${whole.format(sensor.failures)} failed`);
  setText(card.querySelector('.facts'), parts.filter((t) => t).join(' · '));
  card.querySelector('.more').hidden = isPushed(sensor);
  card.querySelector('.more').setAttribute('aria-label', `History of ${label}`);
}

function showSensors(now) {
  const holder = byId('sensor-list');
  const order = now.sensors.map((s) => s.name).join('\n');
  if (holder.dataset.order !== order) {
    holder.dataset.order = order;
    const old = new Map([...holder.children].map((card) => [card.dataset.sensor, card]));
    const focused = document.activeElement;
    holder.replaceChildren(...now.sensors.map((s) => {
      const card = old.get(s.name) || newCard();
      card.dataset.sensor = s.name;
      return card;
    }));
    // An element that is moved loses the focus.
    if (holder.contains(focused)) focused.focus({ preventScroll: true });
  }
  now.sensors.forEach((sensor, i) => showSensor(holder.children[i], sensor));
  const failing = now.sensors.filter((s) => s.state === 'Failing').length;
  setText(byId('sensor-count'), now.sensors.length === 0 ? 'none are configured' :
    `${now.sensors.length + now.sensorsLeftOut} sensors${failing ? `, ${failing} failing` : ''}${now.sensorsLeftOut ? `, the first ${now.sensors.length} are shown` : ''}; the lines show the last hour`);
}

const refusals = { malformed: 'malformed', tooLarge: 'too large', tooMuch: 'above the rate limit', wait: 'asked to retry later', unauthorized: 'without the token' };
function showIntake(now) {
  const sources = Object.entries(now.intake || {});
  byId('intake').hidden = !sources.length;
  const body = byId('sources');
  const key = JSON.stringify(sources.map(([name]) => name));
  if (body.dataset.key !== key) {
    body.dataset.key = key;
    body.replaceChildren(...sources.map(([name]) => {
      const row = element('tr');
      const head = element('th', '', name);
      head.scope = 'row';
      row.append(head, ...[1, 2, 3].map(() => element('td')));
      return row;
    }));
  }
  sources.forEach(([, source], i) => {
    const refused = Object.entries(source.refused || {}).map(([why, n]) => `${whole.format(n)} ${refusals[why] || why}`).join(', ');
    const cells = body.rows[i].cells;
    setText(cells[1], `${source.lastSeen ? `${duration(ago(source.lastSeen))} ago` : 'nothing yet'}${source.silent ? ': silent for too long' : ''}`);
    setText(cells[2], whole.format(source.accepted));
    setText(cells[3], refused ? `${refused}; the last time: ${source.lastReason}` : 'none');
  });
}

const levels = { Information: ['info', 'wait'], Warning: ['warning', 'warn'], Error: ['error', 'bad'], Critical: ['critical', 'bad'] };
async function showEvents() {
  const { events } = await (await fetch('api/events')).json();
  byId('events').replaceChildren(...events.map((e) => {
    const item = element('li');
    const time = element('time', '', when(e.time));
    time.dateTime = e.time;
    const [name, state] = levels[e.level] || [e.level, 'wait'];
    const tag = element('span', 'tag', name);
    tag.dataset.state = state;
    item.append(time, tag, element('span', '', e.text));
    return item;
  }));
}

async function showHour() {
  const { series } = await (await fetch('api/hour')).json();
  hour = new Map(series.map((s) => [`${s.sensor} ${s.value}`, s.points]));
  hourAt = Date.parse(latest.now);
  showSensors(latest);
}

async function showSettings() {
  const { version, settings, unknown } = await (await fetch('api/settings')).json();
  byId('settings').replaceChildren(...settings.map((s) => {
    const row = element('tr');
    const name = element('th', '', s.key);
    name.scope = 'row';
    row.append(name, element('td', 'value-text', s.value), element('td', '', s.isDefault ? 'default' : 'set'));
    return row;
  }));
  const problems = [...settings.filter((s) => s.error).map((s) => `Refused: ${s.key}: ${s.error}`), ...unknown.map((u) => `Unknown: ${u}`)];
  byId('refused').replaceChildren(...problems.map((p) => element('p', 'problem', p)));
  setText(byId('settings-note'), version ? `version ${version} of the twin` : '');
}

async function refresh(name, revision, show) {
  if (revisions[name] === revision) return;
  const before = revisions[name];
  revisions[name] = revision;
  try { await show(); } catch { revisions[name] = before; }
}

function show(now) {
  // A new version may have a new page. The stream is closed first: each event would start the reload again.
  if (latest && latest.version !== now.version) {
    if (stream) stop();
    return location.reload();
  }
  latest = now;
  setText(byId('device'), now.device);
  document.title = `${linkStates[now.link.state] === 'bad' ? '! ' : ''}${now.device} - SensorForwarder`;
  setText(byId('about'), `${now.module} ${now.version}, up ${duration(now.uptimeSeconds)}`);
  showBanner(now);
  showLink(now.link);
  showQueue(now.queue);
  showStorage(now.storage, now.queue, now.uptimeSeconds);
  showCustody(now.link, now.queue.depth);
  showSensors(now);
  showIntake(now);
  showHistory(now);
  refresh('events', `${now.eventsRevision} of ${day(now.now)}`, showEvents);
  refresh('hour', now.hourRevision, showHour);
  refresh('settings', now.settingsRevision, showSettings);
}

function live(state, text) {
  setState(byId('live'), state);
  setText(byId('live-text'), text);
}

function lost() {
  live('bad', 'module does not answer');
  banner('bad', 'The module does not answer', latest ? `The data shown is of ${day(latest.now)} ${clock(latest.now)}. The page keeps trying.` : 'The page keeps trying.');
  Object.keys(revisions).forEach((name) => { revisions[name] = -1; });
}

// A pulled cable, or a phone that left the network, causes no error. An event arrives each second, so silence means a lost connection.
const patience = { first: 15e3, next: 5e3 };
let stream = null;
let dueAt = 0;

function listen() {
  stream = new EventSource('api/stream');
  dueAt = performance.now() + patience.first;
  stream.onmessage = (message) => {
    dueAt = performance.now() + patience.next;
    live('good', 'live');
    show(JSON.parse(message.data));
  };
  stream.onerror = () => {
    // The browser closes the stream if the answer was an error.
    const isRefused = stream.readyState === EventSource.CLOSED;
    stop();
    if (isRefused) return ask();
    lost();
    setTimeout(listen, 3000);
  };
}

function stop() {
  stream.close();
  stream = null;
}

function look() {
  if (!stream || performance.now() < dueAt) return;
  stop();
  lost();
  listen();
}

// Polls instead of streaming, while the module has no free stream.
async function ask() {
  try {
    const answer = await fetch('api/now', { signal: AbortSignal.timeout(patience.first) });
    if (!answer.ok) throw new Error(await answer.text());
    const now = await answer.json();
    live('warn', 'every 5 s: too many pages are open');
    show(now);
  } catch {
    lost();
  }
  setTimeout(listen, 5000);
}

startHistory();
listen();
setInterval(look, 2000);
// Browsers delay the timers of a hidden page.
document.addEventListener('visibilitychange', look);
