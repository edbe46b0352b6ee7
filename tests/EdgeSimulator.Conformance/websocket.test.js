import { createServer } from 'node:net';
import { test } from 'node:test';
import mqtt from 'azure-iot-device-mqtt';
import { conversation } from './conversation.js';

// MQTT over WebSocket always uses port 443, which not every user may open.
const problem = await new Promise(resolve => {
  const server = createServer();
  server.on('error', error => resolve(error.code === 'EADDRINUSE' ? undefined : error.message));
  server.listen(443, '127.0.0.1', () => server.close(() => resolve(undefined)));
});

if (problem) {
  test('MQTT over WebSocket', { skip: problem }, () => {});
} else {
  conversation('MQTT over WebSocket, IOTEDGE_* and the workload API', mqtt.MqttWs, {
    options: ['--identity', 'workload'],
    expectedVariables: ['IOTEDGE_WORKLOADURI', 'IOTEDGE_GATEWAYHOSTNAME'],
  });
}
