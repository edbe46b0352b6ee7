import mqtt from 'azure-iot-device-mqtt';
import { conversation } from './conversation.js';

conversation('IOTEDGE_* and the workload API over its Unix socket', mqtt.Mqtt, {
  options: ['--identity', 'workload'],
  expectedVariables: [
    'IOTEDGE_WORKLOADURI', 'IOTEDGE_AUTHSCHEME', 'IOTEDGE_MODULEGENERATIONID', 'IOTEDGE_IOTHUBHOSTNAME',
    'IOTEDGE_GATEWAYHOSTNAME', 'IOTEDGE_DEVICEID', 'IOTEDGE_MODULEID',
  ],
});
