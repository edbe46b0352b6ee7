// Starts the built simulator without a module, and talks to its cloud side.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { get } from 'node:http';
import { createServer } from 'node:net';
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

  /** What a module gets into its environment. */
  environment = {};

  static async start(...options) {
    if (!existsSync(executable)) {
      throw new Error(`there is no '${executable}': build it first (dotnet build), or name it in EDGE_SIMULATOR`);
    }

    const simulator = new Simulator();
    const port = await freePort();
    simulator.#url = `http://127.0.0.1:${port}`;
    simulator.#process = spawn(
      executable, ['--no-module', '--api', port, '--device', deviceId, '--module-id', moduleId, ...options]);
    createInterface(simulator.#process.stdout).on('line', line => {
      const [, name, value] = /^export (\w+)='(.*)'$/.exec(line) ?? [];
      if (name) {
        simulator.environment[name] = value;
        simulator.#wake();
      }
    });
    createInterface(simulator.#process.stderr).on('line', line => simulator.#heard(line));
    simulator.#process.on('exit', code => simulator.#heard(`the simulator exited with code ${code}`));
    process.on('exit', () => simulator.#process.kill('SIGKILL'));
    await simulator.line(/no module is started/);
    await simulator.#until(() => 'Web__Port' in simulator.environment, 'the last variable');
    return simulator;
  }

  /** The log so far, for what a test has to say when it fails. */
  get log() {
    return this.#log.join('\n');
  }

  /** How many lines match. */
  count(pattern) {
    return this.#log.filter(line => pattern.test(line)).length;
  }

  /** Waits until so many lines match. The test runner's time limit is the patience. */
  async line(pattern, times = 1) {
    await this.#until(() => this.count(pattern) >= times, pattern);
  }

  /** The CA that a module is to trust, from where its environment says. */
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

  /** Ends it in order, or else: the second signal does not wait for readings, the last one for nothing. */
  async stop() {
    const ended = new Promise(resolve => this.#process.on('exit', resolve));
    for (const signal of ['SIGTERM', 'SIGTERM', 'SIGKILL']) {
      if (this.#process.exitCode !== null || this.#process.signalCode !== null) {
        return;
      }

      this.#process.kill(signal);
      // A second signal counts from one second after the first.
      await Promise.race([ended, new Promise(resolve => setTimeout(resolve, 1500))]);
    }
  }

  async #until(condition, what) {
    while (!condition()) {
      if (this.#process.exitCode !== null) {
        throw new Error(`${what} has not come:\n${this.log}`);
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
