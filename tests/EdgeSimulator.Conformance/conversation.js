// Tests of the simulator with Microsoft's own client. The same for both identity sources and both transports.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import device from 'azure-iot-device';
import { Simulator, deviceId, moduleId } from './simulator.js';

const { Message, ModuleClient } = device;
const modelId = 'dtmi:com:example:Sensor;1';

export function conversation(title, transport, { options, expectedVariables }) {
  describe(title, { timeout: 180_000 }, () => {
    let simulator;
    let client;

    before(async () => {
      simulator = await Simulator.start(...options, '--settings', new URL('desired.json', import.meta.url).pathname);
      assert.deepEqual(expectedVariables.filter(name => !(name in simulator.environment)), []);
      Object.assign(process.env, simulator.environment);
      client = await ModuleClient.fromEnvironment(transport);
      client.on('error', error => console.error(`the client reports: ${error.message}`));
      // setOptions replaces earlier options, so the CA has to be included in every call.
      client.setOptions({ ca: await simulator.trustBundle(), modelId });
      await client.open();
    });

    after(async () => {
      await client?.close();
      await simulator?.stop();
    });

    test('telemetry arrives with its output and properties', async () => {
      const message = new Message(JSON.stringify({ device: deviceId, module: moduleId, epoch: 'e1', batch: readings(1, 3) }));
      message.messageId = 'm 1/1';
      message.contentType = 'application/json';
      message.contentEncoding = 'utf-8';
      message.properties.add('a b', 'c/d&e=f+g');

      await client.sendOutputEvent('live', message);

      const [arrived] = await simulator.messages();
      assert.equal(arrived.deviceId, deviceId);
      assert.equal(arrived.moduleId, moduleId);
      assert.deepEqual(arrived.properties, {
        '$.on': 'live', '$.mid': 'm 1/1', '$.ct': 'application/json', '$.ce': 'utf-8', 'a b': 'c/d&e=f+g',
      });
      assert.deepEqual(arrived.body.batch.map(reading => reading.id), [1, 2, 3]);
    });

    test('messages sent at once arrive once each, in order', async () => {
      const batches = Array.from({ length: 100 }, (_, index) => batch(index + 4, index + 4));

      await Promise.all(batches.map(async body => await client.sendOutputEvent('live', body)));

      const { unique, duplicates, lost } = await simulator.report();
      assert.deepEqual({ unique, duplicates, lost }, { unique: 103, duplicates: 0, lost: 0 });
      const ids = (await simulator.messages()).flatMap(message => message.body.batch.map(reading => reading.id));
      assert.deepEqual(ids, ids.toSorted((left, right) => left - right));
    });

    test('the twin can be read, a desired patch is pushed, a reported patch is accepted', async () => {
      const twin = await client.getTwin();
      assert.equal(twin.properties.desired.batchSize, 5);
      assert.equal((await simulator.twin()).modelId, modelId);

      const { $version } = twin.properties.desired;
      const pushed = new Promise(resolve => twin.on('properties.desired', patch => {
        if (patch.batchSize === 7) {
          resolve(patch);
        }
      }));
      // The listener above starts the subscription. A patch sent before it is active is lost, so patches are repeated.
      while (twin.properties.desired.batchSize !== 7) {
        await simulator.patchDesired({ batchSize: 7 });
        await Promise.race([pushed, new Promise(resolve => setTimeout(resolve, 200))]);
      }

      assert.ok((await pushed).$version > $version);
      await new Promise((resolve, reject) => twin.properties.reported.update(
        { batchSize: { value: 7, ac: 200, av: $version + 1, ad: 'ok' } }, error => error ? reject(error) : resolve()));
      const { reported } = (await simulator.twin()).properties;
      assert.deepEqual(reported.batchSize, { value: 7, ac: 200, av: $version + 1, ad: 'ok' });
    });

    test('a direct method is answered', async () => {
      client.onMethod('ping', (request, response) => response.send(201, { heard: request.payload }, error => assert.ifError(error)));
      let answer;
      while (!answer) {
        // The client does not report when its subscription is active, so the call is repeated until then.
        answer = await simulator.invoke('ping', { hello: [1] }).catch(error => assert.match(error.message, /404/));
      }

      assert.deepEqual(answer, { status: 201, payload: { heard: { hello: [1] } } });
    });

    test('a message to an input is received', async () => {
      const received = new Promise(resolve => client.on('inputMessage', (input, message) => resolve([input, message])));

      await simulator.sendToInput('in', 'hello');

      const [input, message] = await received;
      assert.equal(input, 'in');
      assert.equal(message.getBytes().toString(), 'hello');
      await client.complete(message);
    });

    test('a token is renewed by reconnecting, and nothing is lost', async () => {
      const connections = simulator.count(/module connected/);
      // Valid for 10 s with a margin of 9 s: the client renews the token every second.
      const ca = await simulator.trustBundle();
      client.setOptions({ ca, tokenRenewal: { tokenValidTimeInSeconds: 10, tokenRenewalMarginInSeconds: 9 } });
      let sent = 1000;
      while (simulator.count(/module connected/) < connections + 2) {
        await client.sendOutputEvent('live', batch(sent, sent++));
      }

      client.setOptions({ ca, tokenRenewal: { tokenValidTimeInSeconds: 3600, tokenRenewalMarginInSeconds: 900 } });
      await simulator.line(/module connected/, connections + 3);
      const { epochs } = await simulator.report();
      assert.equal(epochs[0].unique, 103 + sent - 1000);
      assert.equal(epochs[0].maxId, sent - 1);
    });

    test('after a connection reset the client reconnects, and messages in flight arrive', async () => {
      const before = await simulator.report();
      const connections = simulator.count(/module connected/);
      const sending = Array.from({ length: 20 }, (_, index) => client.sendOutputEvent('live', batch(5001 + index, 5001 + index)));
      await simulator.faults({ cut: true });
      await Promise.all(sending);
      await client.sendOutputEvent('live', batch(5021, 5021));

      await simulator.line(/module connected/, connections + 1);
      const { unique, duplicates, duplicatesExplained } = await simulator.report();
      assert.equal(unique, before.unique + 21);
      assert.equal(duplicates, duplicatesExplained);
      assert.deepEqual(await simulator.invoke('ping', 'again'), { status: 201, payload: { heard: 'again' } });
    });
  });
}

function readings(first, last) {
  return Array.from({ length: last - first + 1 }, (_, index) => ({
    id: first + index,
    data: { sensor: 's', kind: 'simulated', time: '2026-11-24T14:20:31.123Z', quality: 'good', values: { v: index } },
  }));
}

function batch(first, last) {
  return new Message(JSON.stringify({ device: deviceId, module: moduleId, epoch: 'e1', batch: readings(first, last) }));
}
