import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { after, test } from 'node:test';
import { candidates, findBinary } from '../../src/binary';

const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'devside-binary-'));
after(() => {
  fs.rmSync(dir, { recursive: true });
});

function program(name: string, body: string, mode = 0o755): string {
  const file = path.join(dir, name);
  fs.writeFileSync(file, `#!${process.execPath}\n${body}`, { mode });
  return file;
}

test('the setting comes first, and alone', () => {
  assert.deepEqual(candidates({ setting: '/opt/devside', extension: '/x', platform: 'linux' }), [{ path: '/opt/devside', from: 'the setting devside.path' }]);
  assert.deepEqual(candidates({ setting: '', extension: '/x', platform: 'linux' }).map((c) => c.from), ['the extension', 'PATH']);
  assert.deepEqual(candidates({ setting: '', extension: '/x', platform: 'win32' }).map((c) => path.basename(c.path)), ['devside.exe', 'devside.exe']);
});

test('a program that says its version is taken', async () => {
  const file = program('good', 'if (process.argv[2] === "--version") console.log("devside v1.2.3 (protocol 1, go1.26, linux/amd64)")');
  assert.deepEqual(await findBinary({ setting: file, extension: dir, platform: process.platform }), { path: file, from: 'the setting devside.path', version: 'v1.2.3' });
});

test('what was tried is said, with the reason', async () => {
  const other = program('other', 'console.log("something else")');
  const failing = program('failing', 'process.exit(3)');
  const shut = program('shut', '', 0o644);
  const of = (setting: string): Promise<unknown> => findBinary({ setting, extension: dir, platform: process.platform });
  await assert.rejects(of(other), /other \(the setting devside\.path\): it does not say its version/);
  await assert.rejects(of(failing), /failing \(the setting devside\.path\): Command failed/);
  await assert.rejects(of(shut), /shut \(the setting devside\.path\): it may not be run/);
  await assert.rejects(of(path.join(dir, 'nowhere')), /it is not there/);
  await assert.rejects(of('bin/devside'), /bin\/devside \(the setting devside\.path\): it is no absolute path/);
});

/** Does something with another PATH and in another folder, as a sidecar that is started in a project. */
async function within<T>(PATH: string, cwd: string, then: () => Promise<T>): Promise<T> {
  const before = { path: process.env['PATH'], cwd: process.cwd() };
  process.env['PATH'] = PATH;
  process.chdir(cwd);
  try {
    return await then();
  } finally {
    process.env['PATH'] = before.path;
    process.chdir(before.cwd);
  }
}

test('a bundled program that can not be run is passed over for the one in the PATH', async () => {
  const bundle = path.join(dir, 'ext');
  fs.mkdirSync(path.join(bundle, 'bin'), { recursive: true });
  fs.writeFileSync(path.join(bundle, 'bin', 'devside'), 'of another machine', { mode: 0o755 });
  const file = program('devside', 'console.log("devside v9 (protocol 1)")');
  const found = await within(`${path.join(dir, 'nowhere')}${path.delimiter}${dir}`, dir, () => findBinary({ setting: '', extension: bundle, platform: 'linux' }));
  assert.deepEqual(found, { path: file, from: 'PATH', version: 'v9' });
});

test('a project can not bring its own, by a PATH that names the folder one is in', async () => {
  program('devside', 'console.log("devside v9 (protocol 1)")');
  for (const PATH of ['.', '', `${path.delimiter}.${path.delimiter}`]) {
    await assert.rejects(within(PATH, dir, () => findBinary({ setting: '', extension: path.join(dir, 'nowhere'), platform: 'linux' })), /devside \(PATH\): it is not there/);
  }
});
