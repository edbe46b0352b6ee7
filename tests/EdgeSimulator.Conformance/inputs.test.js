// Microsoft's client sends; SensorForwarder gets it at an input, stores it and forwards it.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import device from 'azure-iot-device';
import mqtt from 'azure-iot-device-mqtt';
import { Simulator, deviceId } from './simulator.js';

const { Message, ModuleClient } = device;

describe("Messages of another module to the module's input", { timeout: 180_000 }, () => {
  let simulator;
  let client;

  before(async () => {
    simulator = await Simulator.startWithModule(
      '--sender', 'weather', '--settings', new URL('inputs.json', import.meta.url).pathname);
    const { connectionString, ca } = await simulator.sender();
    client = ModuleClient.fromConnectionString(connectionString, mqtt.Mqtt);
    client.on('error', error => console.error(`the client reports: ${error.message}`));
    client.setOptions({ ca });
    await client.open();
  });

  after(async () => {
    await client?.close();
    await simulator?.stop();
  });

  test('they are forwarded once each, in order, with their sender, id and properties', async () => {
    const numbers = Array.from({ length: 50 }, (_, index) => index);
    for (const number of numbers) {
      const message = new Message(JSON.stringify({ sensor: 'wind', values: { number } }));
      message.messageId = `m ${number}`;
      message.contentType = 'application/json';
      message.properties.add('place', 'roof/1');
      await client.sendOutputEvent('out', message);
    }

    await client.sendOutputEvent('out', new Message('21.4 C'));

    const readings = await arrived(51);
    assert.deepEqual(readings.slice(0, 50).map(reading => reading.values.number), numbers);
    assert.equal(readings[7].sensor, 'wind');
    assert.equal(readings[7].kind, 'input');
    assert.deepEqual(readings[7].edgeHub, {
      input: 'weather', device: deviceId, module: 'weather', messageId: 'm 7',
      properties: { '$.ct': 'application/json', place: 'roof/1' },
    });
    assert.equal(readings[50].sensor, 'weather');
    assert.equal(Buffer.from(readings[50].data.base64, 'base64').toString(), '21.4 C');
  });

  async function arrived(count) {
    while (true) {
      // Until the module has read its settings it also has a sensor of its own.
      const readings = (await simulator.messages()).flatMap(message => message.body.batch.map(reading => reading.data))
        .filter(reading => reading.kind === 'input');
      if (readings.length >= count) {
        return readings;
      }

      await new Promise(resolve => setTimeout(resolve, 100));
    }
  }
});
