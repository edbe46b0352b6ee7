'use strict';

// The link to the receiver: its state, held-back readings, and the lanes. Loaded before page.js, whose functions it uses.

const linkNames = { Up: 'Connected', Down: 'No connection', Refusing: 'The receiver refuses', Failing: 'The receiver answers with an error', Paused: 'Paused', Starting: 'Nothing sent yet' };
const linkStates = { Up: 'good', Down: 'bad', Refusing: 'bad', Failing: 'bad', Paused: 'warn', Starting: 'wait' };
const orders = { OldestFirst: 'oldest first', LiveFirst: 'new readings first' };

function showLink(link) {
  setText(byId('link-state'), linkNames[link.state]);
  setState(byId('link-state'), linkStates[link.state]);
  list(byId('link'), [
    ['to', link.sink || 'nowhere yet'],
    ['for', duration(ago(link.since))],
    link.lastSuccess ? ['last accepted', `${duration(ago(link.lastSuccess))} ago`] : ['last accepted', 'not yet'],
    ['order', orders[link.drainOrder] || link.drainOrder],
    ['failed attempts', whole.format(link.failures)],
    link.reconnects === undefined ? null : ['connections lost', whole.format(link.reconnects)],
    link.quota ? ['messages today', `${whole.format(link.quota.messagesToday)} of ${whole.format(link.quota.dailyMessageLimit)}`] : null,
    link.upstream && link.upstream.messages !== undefined ? ['waiting in edgeHub', whole.format(link.upstream.messages)] : null,
    link.lastError ? ['last error', `${duration(ago(link.lastErrorAt))} ago`] : null,
  ]);
  setText(byId('link-error'), link.lastError || '');
  setState(byId('link-error'), linkStates[link.state] === 'bad' ? 'bad' : 'past');
  setText(byId('link-held'), [heldByQuota(link.quota), heldByEdgeHub(link.upstream)].filter((t) => t).join(' '));
  showLanes(link);
}

const holders = { receiver: 'the receiver', edgeHub: 'edgeHub', cloud: 'the cloud' };

// Who holds the readings: this device, edgeHub, or the receiver.
function showCustody({ custody, delivered, upstream }, waiting) {
  const { handedOver, handedOverSince, lostMessages, returnedReadings } = upstream || {};
  list(byId('custody'), [
    ['waiting here', whole.format(waiting)],
    handedOver === undefined ? null : ['handed over to edgeHub', `${whole.format(handedOver)}${handedOverSince ? `, the first ${duration(ago(handedOverSince))} ago` : ''}`],
    [`delivered to ${holders[custody]}`, whole.format(delivered)],
    lostMessages ? ['lost by edgeHub', `${whole.format(lostMessages)} messages; ${whole.format(returnedReadings)} readings sent again`] : null,
  ]);
}

// The duration is right even if the clock or time zone of the browser is not that of the module.
const at = (time) => `${clock(time)} (in ${duration(-ago(time))})`;

function heldByQuota(quota) {
  if (!quota || !quota.heldBackUntil) return '';
  const why = quota.messagesToday >= quota.dailyMessageLimit ? 'the daily messages are used up'
    : `the messages are spread over the day${quota.isOnlyBacklogHeldBack ? ', and new readings go first' : ''}`;
  return `${quota.isOnlyBacklogHeldBack ? 'The backlog is' : 'Readings are'} held back until ${at(quota.heldBackUntil)}: ${why}.`;
}

const heldByEdgeHub = (upstream) => upstream && upstream.heldSince
  ? `edgeHub has delivered nothing to the cloud for ${duration(ago(upstream.heldSince))}: readings are held back here, and one batch a minute is sent.` : '';

function showLanes({ lanes, drainOrder }) {
  const hasTwo = drainOrder === 'LiveFirst' || lanes.backfill.waiting > 0 || lanes.backfill.inFlightBatches > 0;
  const shown = hasTwo ? [['new', lanes.live], ['backlog', lanes.backfill]] : [['all', lanes.live]];
  if (lanes.alarm) shown.unshift(['alarms', lanes.alarm]);
  const rows = [
    ['waiting', (lane) => whole.format(lane.waiting)],
    ['oldest', (lane) => lane.oldestAgeSeconds === undefined ? '-' : duration(lane.oldestAgeSeconds)],
    ['in flight', (lane) => lane.inFlightBatches ? `${lane.inFlightReadings} in ${lane.inFlightBatches}` : '-'],
    ['batches', (lane) => whole.format(lane.batchesAccepted)],
    ['last accepted', (lane) => lane.lastAccepted ? `${duration(ago(lane.lastAccepted))} ago` : '-'],
  ];
  const table = byId('lanes');
  if (table.dataset.columns !== `${shown.length}`) {
    table.dataset.columns = `${shown.length}`;
    const headed = (name, scope, text) => {
      const cell = element(name, '', text);
      if (scope) cell.scope = scope;
      return cell;
    };
    const head = element('tr');
    head.append(headed('td', '', ''), ...shown.map(([name]) => headed('th', 'col', name)));
    table.tHead.replaceChildren(head);
    table.tBodies[0].replaceChildren(...rows.map(([name]) => {
      const row = element('tr');
      row.append(headed('th', 'row', name), ...shown.map(() => element('td')));
      return row;
    }));
  }
  rows.forEach(([, textOf], i) => shown.forEach(([, lane], j) => setText(table.tBodies[0].rows[i].cells[j + 1], textOf(lane))));
}
