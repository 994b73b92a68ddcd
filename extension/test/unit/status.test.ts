import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Problem, Project, Server, State } from '../../src/protocol';
import { bar, bytes, commandLine, describe, duration, escape, holderText, isActive, isHeld, outcome, stateWord, trustText, visible } from '../../src/status';

function server(name: string, state: State, more: Partial<Server> = {}): Server {
  return {
    name, state, since: '2026-03-01T09:00:00Z', ports: [{ number: 4000, listening: true }], uptimeMs: 0, restarts: 0, crashes: 0,
    memoryBytes: 0, cpuPercent: 0, traceId: '', run: 1, problems: [], ...more,
  };
}

function project(servers: Server[], more: Partial<Project> = {}): Project {
  const ready = servers.filter((s) => s.state === 'ready').length;
  return {
    root: '/srv/shop', name: 'shop', protocol: 1, sequence: 1, trust: { state: 'trusted', hash: 'h', commands: [] }, servers, dependencies: [],
    summary: { ready, total: servers.length, worst: 'stopped' }, problems: [], hubPid: 1, ...more,
  };
}

const problem: Problem = { code: 'config-invalid', severity: 'error', message: 'unknown key "prot"', since: '2026-03-01T09:00:00Z' };

test('the status bar counts, and says the worst', () => {
  const of = (...servers: Server[]): string => {
    const b = bar({ kind: 'projects', projects: [project(servers)] });
    return b === undefined ? 'hidden' : `${b.text} (${b.alarm})`;
  };
  assert.equal(of(), 'hidden');
  assert.equal(of(server('api', 'ready'), server('web', 'ready')), '$(pass) devside 2/2 (none)');
  assert.equal(of(server('api', 'ready'), server('web', 'starting')), '$(loading~spin) devside 1/2 (none)');
  assert.equal(of(server('api', 'stopped'), server('web', 'stopped')), '$(circle-outline) devside 0/2 (none)');
  assert.equal(of(server('api', 'unhealthy'), server('web', 'ready')), '$(warning) devside 1/2 (warning)');
  assert.equal(of(server('api', 'crash-loop'), server('web', 'blocked')), '$(error) devside 0/2 api: crash loop (error)');
  assert.equal(of(server('api', 'ready'), server('web', 'blocked', { problems: ['port-taken'] })), '$(error) devside 1/2 web: port taken (error)');
});

test('several projects are one item', () => {
  const b = bar({ kind: 'projects', projects: [project([server('a', 'ready')]), project([server('b', 'crash-loop')], { name: 'site' })] });
  assert.equal(b?.text, '$(error) devside 1/2 b: crash loop');
  assert.match(b.tooltip, /\*\*shop\*\*[^]*\*\*site\*\*/);
});

test('a screen reader hears what the icons show', () => {
  assert.equal(bar({ kind: 'projects', projects: [project([server('api', 'backoff', { restartInMs: 2000 })])] })?.label,
    'devside: 0 of 1 servers ready, api: crashed, restarts in 2 s');
});

test('without a project there is no item, and else one for each condition', () => {
  assert.equal(bar({ kind: 'none' }), undefined);
  assert.equal(bar({ kind: 'starting' })?.text, '$(loading~spin) devside');
  assert.equal(bar({ kind: 'quiet' })?.text, '$(circle-outline) devside');
  assert.deepEqual([bar({ kind: 'failed', why: 'no *program*' })?.alarm, bar({ kind: 'failed', why: 'no *program*' })?.tooltip], ['error', 'no \\*program\\*']);
});

test('a configuration that is wrong shows without servers', () => {
  assert.equal(bar({ kind: 'projects', projects: [project([], { problems: [problem] })] })?.alarm, 'error');
});

test('an error that leaves every server ready shows', () => {
  const b = bar({ kind: 'projects', projects: [project([server('api', 'ready')], { problems: [{ ...problem, server: 'api' }] })] });
  assert.deepEqual([b?.text, b?.alarm], ['$(error) devside 1/1 api', 'error']);
});

test('names in the tooltip are text, and arguments of links are data', () => {
  const b = bar({ kind: 'projects', projects: [project([server('a](command:evil) | <b>', 'ready')])] });
  assert.ok(!(b?.tooltip ?? '').includes('](command:evil)'));
  const links = [...(b?.tooltip ?? '').matchAll(/\(command:(devside\.\w+)\?(\S+) "/g)];
  assert.deepEqual(links.map((m) => m[1]), ['devside.showLogs', 'devside.restartServer', 'devside.stopServer']);
  for (const m of links) assert.deepEqual(JSON.parse(decodeURIComponent(m[2] ?? '')), [{ root: '/srv/shop', server: 'a](command:evil) | <b>' }]);
  assert.equal(escape('$(x) [a](b) | `c`\n<d>'), '\\$\\(x\\) \\[a\\]\\(b\\) \\| \\`c\\` \\<d\\>');
});

test('which states run, and which are held', () => {
  const all: State[] = ['stopped', 'waiting', 'starting', 'ready', 'unhealthy', 'backoff', 'crash-loop', 'blocked', 'stopping'];
  assert.deepEqual(all.filter((s) => !isActive(s)), ['stopped', 'crash-loop', 'blocked']);
  assert.deepEqual(all.filter(isHeld), ['crash-loop', 'blocked']);
  assert.equal(stateWord(server('api', 'blocked', { problems: ['command-missing'] })), 'command missing');
  assert.equal(stateWord(server('api', 'blocked')), 'blocked');
});

test('a server in a line', () => {
  const now = Date.parse('2026-03-01T09:03:10Z');
  const running = { startedAt: '2026-03-01T09:00:00Z', memoryBytes: 1, pssBytes: 52 * 1024 * 1024 };
  assert.equal(describe(server('api', 'ready', running), now), ':4000 · 52 MB · 3 min');
  assert.equal(describe(server('api', 'unhealthy', running), now), 'unhealthy · :4000 · 52 MB · 3 min');
  assert.equal(describe(server('api', 'stopped'), now), ':4000');
  assert.equal(describe(server('job', 'stopped', { ports: [] }), now), '');
});

test('durations and sizes', () => {
  assert.deepEqual([0, 999, 1000, 59_999, 60_000, 7_200_000, 86_400_000 * 3].map(duration), ['0 ms', '999 ms', '1 s', '59 s', '1 min', '2 h', '3 d']);
  assert.deepEqual([0, 1023, 1024, 1536 * 1024, 10 * 1024 ** 2, 1.5 * 1024 ** 3, 5000 * 1024 ** 4].map(bytes), ['0 B', '1023 B', '1 KB', '1.5 MB', '10 MB', '1.5 GB', '5000 TB']);
});

test('who holds a port', () => {
  assert.equal(holderText({}), 'a process');
  assert.equal(holderText({ pid: 7, name: 'node', user: 'ada' }), 'node (pid 7, user ada)');
  assert.equal(holderText({ pid: 7, name: 'node', server: 'api' }), 'the server api (pid 7)');
});

test('the question of trust has everything that would run', () => {
  assert.equal(commandLine(['node', 'a b', '', '$HOME', "it's", '--x=1']), 'node "a b" "" $HOME "it\'s" --x=1');
  assert.equal(
    trustText(
      [
        { server: 'api', argv: ['node', 'api.js'], dir: 'backend', envFiles: ['.env'], env: ['LEVEL'], probes: ['curl localhost'] },
        { server: 'web', argv: ['npm', 'run', 'dev'], dir: '.', script: 'next dev && evil' },
      ],
      ['node .*old'],
    ),
    'api: node api.js\n\u2003\u2003in backend\n\u2003\u2003with LEVEL\n\u2003\u2003with the variables of .env\n\u2003\u2003checked by curl localhost\n\n' +
      'web: npm run dev\n\u2003\u2003the script next dev && evil\n\nEnded before the first start: node .*old',
  );
});

test('what a person agrees to shows what would hide', () => {
  assert.equal(visible('caf\u00e9 \u4f60 ok'), 'caf\u00e9 \u4f60 ok');
  assert.equal(visible('a\nb\tc\x1b[2J'), 'a\\nb\\u{9}c\\u{1b}[2J');
  assert.equal(visible('\u202egnp\u200b\u2028\u00a0\u2003'), '\\u{202e}gnp\\u{200b}\\u{2028}\\u{a0}\\u{2003}');
  assert.equal(commandLine(['a"b', 'c\\d', '\u202e']), '"a\\"b" "c\\\\d" "\\u{202e}"');
  // A script can't look like another server's entry.
  assert.equal(trustText([{ server: 'web', argv: ['npm', 'run', 'dev'], dir: '.', script: 'vite\n\napi: node api.js' }], []),
    'web: npm run dev\n\u2003\u2003the script vite\\n\\napi: node api.js');
});

test('a state that is not known yet is shown as it is', () => {
  const odd = server('api', 'draining' as State);
  assert.equal(stateWord(odd), 'draining');
  assert.match(bar({ kind: 'projects', projects: [project([odd])] })?.text ?? '', /devside 0\/1/);
});

test('what is told of a start', () => {
  assert.equal(outcome([{ name: 'api', ok: true }]), undefined);
  assert.equal(outcome([{ name: 'api', ok: false, error: { message: 'port 4000 is taken' } }, { name: 'web', ok: false }]), 'api: port 4000 is taken (and 1 more)');
});
