import mqtt from 'azure-iot-device-mqtt';
import { conversation } from './conversation.js';

conversation('EdgeHubConnectionString and EdgeModuleCACertificateFile', mqtt.Mqtt, {
  options: ['--identity', 'connectionString'],
  expectedVariables: ['EdgeHubConnectionString', 'EdgeModuleCACertificateFile'],
});
