import { conversation } from './conversation.js';

conversation('EdgeHubConnectionString and EdgeModuleCACertificateFile', {
  options: ['--identity', 'connectionString'],
  expectedVariables: ['EdgeHubConnectionString', 'EdgeModuleCACertificateFile'],
});
