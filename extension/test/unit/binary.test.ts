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
  assert.deepEqual(candidates({ setting: '', extension: '/x', platform: 'linux' }).map((c) => c.path), [path.join('/x', 'bin', 'devside'), 'devside']);
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
});

test('a bundled program that can not be run is passed over for the one in the PATH', async () => {
  const bundle = path.join(dir, 'ext');
  fs.mkdirSync(path.join(bundle, 'bin'), { recursive: true });
  fs.writeFileSync(path.join(bundle, 'bin', 'devside'), 'of another machine', { mode: 0o755 });
  const before = process.env['PATH'];
  program('devside', 'console.log("devside v9 (protocol 1)")');
  process.env['PATH'] = `${dir}${path.delimiter}${before ?? ''}`;
  try {
    assert.deepEqual(await findBinary({ setting: '', extension: bundle, platform: 'linux' }), { path: 'devside', from: 'PATH', version: 'v9' });
  } finally {
    process.env['PATH'] = before;
  }
});
