// Starts the built simulator without a module, and calls its REST API.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { get } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const executable = process.env.EDGE_SIMULATOR
  ?? fileURLToPath(new URL('../EdgeSimulator/bin/Debug/net10.0/EdgeSimulator', import.meta.url));

export const deviceId = 'pi-conformance';
export const moduleId = 'reference';

export class Simulator {
  #process;
  #log = [];
  #waiting = [];
  #url;

  /** The module's environment variables, as printed by the simulator. */
  environment = {};

  /** Starts the simulator for a module that the test starts: Microsoft's client. */
  static async start(...options) {
    const simulator = await Simulator.#launch('--no-module', ...options);
    await simulator.line(/no module started/);
    await simulator.#until(() => 'Web__Port' in simulator.environment, 'the variable Web__Port');
    return simulator;
  }

  /** Starts the simulator with the built module, and waits until it is connected. */
  static async startWithModule(...options) {
    const simulator = await Simulator.#launch(...options);
    await simulator.line(/module connected/);
    return simulator;
  }

  static async #launch(...options) {
    if (!existsSync(executable)) {
      throw new Error(`'${executable}' not found: build it (dotnet build), or set EDGE_SIMULATOR to its path`);
    }

    const simulator = new Simulator();
    const port = await freePort();
    simulator.#url = `http://127.0.0.1:${port}`;
    // A killed process leaves its temporary files and the runtime's diagnostic files behind.
    const temporary = mkdtempSync(join(tmpdir(), 'conformance-'));
    simulator.#process = spawn(
      executable, ['--api', port, '--device', deviceId, '--module-id', moduleId, ...options],
      { env: { ...process.env, TMPDIR: temporary, DOTNET_EnableDiagnostics: '0' } });
    createInterface(simulator.#process.stdout).on('line', line => {
      const [, name, value] = /^export (\w+)='(.*)'$/.exec(line) ?? [];
      if (name) {
        simulator.environment[name] = value;
        simulator.#wake();
      } else {
        // The log, when the simulator starts the module.
        simulator.#heard(line);
      }
    });
    createInterface(simulator.#process.stderr).on('line', line => simulator.#heard(line));
    simulator.#process.on('exit', code => simulator.#heard(`the simulator exited with code ${code}`));
    process.on('exit', () => {
      simulator.#process.kill('SIGKILL');
      rmSync(temporary, { recursive: true, force: true, maxRetries: 3 });
    });
    return simulator;
  }

  /** The connection string and the CA of the module named with --sender. */
  async sender() {
    const line = this.#log.find(text => text.includes('EdgeHubConnectionString='));
    const [, connectionString, authority] = /EdgeHubConnectionString='(.*?)' EdgeModuleCACertificateFile='(.*?)'/.exec(line);
    return { connectionString, ca: await readFile(authority, 'utf8') };
  }

  /** The log so far, for error messages. */
  get log() {
    return this.#log.join('\n');
  }

  /** Number of log lines that match. */
  count(pattern) {
    return this.#log.filter(line => pattern.test(line)).length;
  }

  /** Waits until the given number of lines match, limited only by the test runner's timeout. */
  async line(pattern, times = 1) {
    await this.#until(() => this.count(pattern) >= times, pattern);
  }

  /** The CA that the module has to trust, from the source that its environment names. */
  async trustBundle() {
    const { EdgeModuleCACertificateFile: file, IOTEDGE_WORKLOADURI: workload } = this.environment;
    if (file) {
      return await readFile(file, 'utf8');
    }

    const answer = await new Promise((resolve, reject) =>
      get({ socketPath: new URL(workload).pathname, path: '/trust-bundle?api-version=2018-06-28' }, resolve).on('error', reject));
    return JSON.parse((await answer.toArray()).join('')).certificate;
  }

  async twin() {
    return await this.#request('GET', `/twins/${deviceId}/modules/${moduleId}`);
  }

  async patchDesired(desired) {
    return await this.#request('PATCH', `/twins/${deviceId}/modules/${moduleId}`, { properties: { desired } });
  }

  async invoke(methodName, payload) {
    return await this.#request('POST', `/twins/${deviceId}/modules/${moduleId}/methods`, { methodName, payload });
  }

  async faults(faults) {
    return await this.#request('POST', '/faults', faults);
  }

  async messages() {
    return (await this.#request('GET', '/messages')).messages;
  }

  async report() {
    return await this.#request('GET', '/report');
  }

  async sendToInput(inputName, data) {
    return await this.#request('POST', '/api/v1/messages', { inputName, data });
  }

  /** Stops the simulator: SIGTERM ends it gracefully, the second SIGTERM aborts the wait for readings, then SIGKILL. */
  async stop() {
    const ended = new Promise(resolve => this.#process.on('exit', resolve));
    for (const signal of ['SIGTERM', 'SIGTERM', 'SIGKILL']) {
      if (this.#process.exitCode !== null || this.#process.signalCode !== null) {
        return;
      }

      this.#process.kill(signal);
      // The simulator ignores a second signal within one second of the first.
      await Promise.race([ended, new Promise(resolve => setTimeout(resolve, 1500))]);
    }
  }

  async #until(condition, what) {
    while (!condition()) {
      if (this.#process.exitCode !== null) {
        throw new Error(`the simulator exited before ${what} appeared:\n${this.log}`);
      }

      await new Promise(resolve => this.#waiting.push(resolve));
    }
  }

  #heard(line) {
    this.#log.push(line);
    this.#wake();
  }

  #wake() {
    this.#waiting.splice(0).forEach(resolve => resolve());
  }

  async #request(method, path, body) {
    const answer = await fetch(this.#url + path, {
      method,
      headers: { 'content-type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    if (!answer.ok) {
      throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    }

    return JSON.parse(text);
  }
}

async function freePort() {
  return await new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
