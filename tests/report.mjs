// Summarizes the reports of tests/run: time per project, the slowest tests, coverage by folder, and processes and files
// left behind, which count as a failure.
// The last line is "N passed, N failed"; the exit code is 1 when anything failed.
// node tests/report.mjs FOLDER_WITH_REPORTS PROJECTS_THAT_FAILED LEFTOVERS
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

const [folder, failedProjects, leftovers] = process.argv.slice(2);
const files = readdirSync(folder, { recursive: true }).map((name) => join(folder, name));
const read = (end) => files.filter((file) => file.endsWith(end)).map((file) => ({ file, text: readFileSync(file, 'utf8') }));
const attributes = (element) => Object.fromEntries([...element.matchAll(/([\w-]+)="([^"]*)"/g)].map((m) => [m[1], m[2]]));
const elements = (text, name) => [...text.matchAll(new RegExp(`<${name} [^>]*>`, 'g'))].map((m) => attributes(m[0]));

let passed = 0;
let failed = 0;
const projects = [];
const tests = [];
for (const { file, text } of read('.xml')) {
  const assembly = elements(text, 'assembly')[0];
  if (assembly) {
    passed += Number(assembly.passed);
    failed += Number(assembly.failed) + Number(assembly.errors ?? 0);
    projects.push([Number(assembly.time), basename(file, '.xml')]);
    for (const test of elements(text, 'test'))
      tests.push([Number(test.time), `${test.type}.${test.method}`.replace(/^SensorForwarder\.Tests\./, '')]);
  } else if (file.endsWith('.junit.xml')) {
    const cases = elements(text, 'testcase');
    const bad = [...text.matchAll(/<failure[ >]/g)].length;
    passed += cases.length - bad;
    failed += bad;
    projects.push([cases.reduce((sum, test) => sum + Number(test.time), 0), basename(file, '.junit.xml')]);
  }
}

const show = (title, rows) => {
  if (rows.length === 0) return;
  console.log(`== ${title}`);
  for (const [seconds, name] of rows.sort((a, b) => b[0] - a[0])) console.log(`${seconds.toFixed(1).padStart(8)} s  ${name}`);
};
show('time per project', projects);
const byMethod = new Map();
for (const [seconds, name] of tests) byMethod.set(name, (byMethod.get(name) ?? 0) + seconds);
show('the ten slowest tests', [...byMethod].map(([name, seconds]) => [seconds, name]).sort((a, b) => b[0] - a[0]).slice(0, 10));

const coverage = new Map();
for (const { text } of read('.cobertura.xml').concat(read('.xml').filter(({ file }) => /coverage.*cobertura/.test(file)))) {
  for (const [, head, body] of text.matchAll(/<class ([^>]*)>(.*?)<\/class>/gs)) {
    const path = attributes(head).filename?.match(/SensorForwarder\/(?!Tests)(.*)$/)?.[1];
    if (!path || path.includes('/obj/') || path.startsWith('obj/')) continue;
    const name = path.includes('/') ? path.slice(0, path.indexOf('/')) : '.';
    const sum = coverage.get(name) ?? { lines: 0, hit: 0, branches: 0, taken: 0 };
    // The lines of a class are listed twice: the first time under its methods.
    for (const line of elements(body.slice(body.lastIndexOf('</methods>')), 'line')) {
      sum.lines++;
      if (Number(line.hits) > 0) sum.hit++;
      const [, taken, branches] = line['condition-coverage']?.match(/\((\d+)\/(\d+)\)/) ?? [0, 0, 0];
      sum.branches += Number(branches);
      sum.taken += Number(taken);
    }
    coverage.set(name, sum);
  }
}

const percent = (part, whole) => (whole === 0 ? '     -' : `${((100 * part) / whole).toFixed(1)} %`.padStart(8));
if (coverage.size > 0) console.log('== coverage of modules/SensorForwarder by the tests in their own process: lines, branches, folder');
for (const [name, sum] of [...coverage].sort((a, b) => a[0].localeCompare(b[0])))
  console.log(`${percent(sum.hit, sum.lines)} ${percent(sum.taken, sum.branches)}  ${name}`);

// A test that hangs or crashes ends its project. The end of the project's output shows which test.
const reported = new Set(projects.map(([, name]) => name));
for (const { file, text } of read('.log')) {
  const name = basename(file, '.log');
  if (!reported.has(name)) console.log(`== ${name} ended without a report: ${text.trimEnd().split('\n').slice(-40).join('\n')}`);
}

if (leftovers) {
  console.log(`== left behind, which counts as one failure\n${leftovers}`);
  failed++;
}
if (Number(failedProjects) > 0 && failed === 0) failed = Number(failedProjects);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
