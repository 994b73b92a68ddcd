/** Where the devside program is. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import * as path from 'node:path';
import { textOf } from './status';

export interface Binary { path: string; version: string; from: Source }

/** What was tried, in this order: a setting that somebody made by hand comes before what is bundled. */
export type Source = 'the setting devside.path' | 'the extension' | 'PATH';

export interface Places { setting: string; extension: string; platform: NodeJS.Platform }

/** A program that does not answer for so long will not be a good sidecar. */
const PROBE_MS = 10_000;

/**
 * The programs to be tried. The PATH is searched here, for absolute folders: the
 * sidecar is started in the folder of the project, which must not bring its own.
 */
export function candidates(p: Places): { path: string; from: Source }[] {
  const name = p.platform === 'win32' ? 'devside.exe' : 'devside';
  if (p.setting !== '') return [{ path: p.setting, from: 'the setting devside.path' }];
  const dirs = (process.env['PATH'] ?? '').split(path.delimiter).filter((dir) => path.isAbsolute(dir));
  const found = dirs.map((dir) => path.join(dir, name)).find((file) => existsSync(file));
  return [
    { path: path.join(p.extension, 'bin', name), from: 'the extension' },
    { path: found ?? name, from: 'PATH' },
  ];
}

/** The first program that says a version. Rejects with one sentence about all that were tried. */
export async function findBinary(p: Places): Promise<Binary> {
  const failures: string[] = [];
  for (const candidate of candidates(p)) {
    if (!path.isAbsolute(candidate.path)) {
      failures.push(`${candidate.path} (${candidate.from}): ${candidate.from === 'PATH' ? 'it is not there' : 'it is no absolute path'}`);
      continue;
    }
    try {
      return { ...candidate, version: await versionOf(candidate.path) };
    } catch (error) {
      failures.push(`${candidate.path} (${candidate.from}): ${reason(error)}`);
    }
  }
  throw new Error(`no devside can be run: ${failures.join('; ')}`);
}

function versionOf(program: string): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(program, ['--version'], { timeout: PROBE_MS, windowsHide: true }, (error, stdout) => {
      const version = /^devside (?:version )?(\S+)/.exec(stdout)?.[1];
      if (error !== null) reject(error instanceof Error ? error : new Error('it can not be run'));
      else if (version === undefined) reject(new Error('it does not say its version, so it is another program'));
      else resolve(version);
    });
  });
}

function reason(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  switch (code) {
    case 'ENOENT':
      return 'it is not there';
    case 'EACCES':
      return 'it may not be run';
    default:
      return textOf(error);
  }
}
