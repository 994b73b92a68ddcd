// Makes ../bin/devside-<platform>.vsix for each platform that is named: the bundle
// in dist/, and the static program for it in bin/ with its run bit.
// GO and VERSION come from the Makefile.
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';

const go = { linux: 'linux', alpine: 'linux', darwin: 'darwin', win32: 'windows' };
const arch = { x64: 'amd64', arm64: 'arm64' };
const mostBytes = 15 * 1024 * 1024; // of one .vsix

const run = (program, args, env = {}) => execFileSync(program, args, { stdio: ['ignore', 'inherit', 'inherit'], env: { ...process.env, ...env } });

fs.mkdirSync('../bin', { recursive: true });
fs.copyFileSync('../LICENSE', 'LICENSE');
for (const platform of process.argv.slice(2)) {
  const [os, cpu] = platform.split('-');
  if (!(os in go) || !(cpu in arch)) throw new Error(`unknown platform ${platform}`);
  fs.rmSync('bin', { recursive: true, force: true });
  const program = path.resolve('bin', os === 'win32' ? 'devside.exe' : 'devside');
  run(process.env.GO ?? 'go', ['build', '-C', '..', '-trimpath', '-ldflags', `-s -w -X main.version=${process.env.VERSION ?? 'dev'}`, '-o', program, './cmd/devside'],
    { CGO_ENABLED: '0', GOOS: go[os], GOARCH: arch[cpu] });
  fs.chmodSync(program, 0o755);
  const out = `../bin/devside-${platform}.vsix`;
  run('npx', ['--no-install', 'vsce', 'package', '--target', platform, '--no-dependencies', '--skip-license', '-o', out]);
  const { size } = fs.statSync(out);
  if (size > mostBytes) throw new Error(`${out} has ${size} bytes, more than ${mostBytes}`);
}
fs.rmSync('bin', { recursive: true, force: true });
