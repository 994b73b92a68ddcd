/**
 * What the extension says of a project, as text. Nothing here knows the editor:
 * statusBar.ts, tree.ts and pick.ts draw what these functions return.
 */
import type { Holder, PortEntry, Problem, Project, Server, State, TrustCommand } from './protocol';

/** What there is to say something of: the session with the sidecar, and what it said. */
export type Condition =
  | { kind: 'none' } // nothing to supervise was found
  | { kind: 'starting' } // the sidecar starts
  | { kind: 'failed'; why: string } // it does not run, and will not by itself
  | { kind: 'quiet' } // it runs, and no project has been looked at
  | { kind: 'projects'; projects: readonly Project[] };

export type Alarm = 'none' | 'warning' | 'error';

export interface Bar {
  text: string;
  alarm: Alarm;
  label: string; // for a screen reader
  tooltip: string; // Markdown
}

interface Look { icon: string; color?: string; word: string }

const known: Record<State, Look> = {
  stopped: { icon: 'circle-outline', word: 'stopped' },
  waiting: { icon: 'watch', word: 'waiting for a dependency' },
  starting: { icon: 'loading~spin', word: 'starting' },
  ready: { icon: 'pass', color: 'testing.iconPassed', word: 'ready' },
  unhealthy: { icon: 'warning', color: 'problemsWarningIcon.foreground', word: 'unhealthy' },
  backoff: { icon: 'history', color: 'problemsWarningIcon.foreground', word: 'crashed, will restart' },
  'crash-loop': { icon: 'error', color: 'problemsErrorIcon.foreground', word: 'crash loop' },
  blocked: { icon: 'circle-slash', color: 'problemsErrorIcon.foreground', word: 'blocked' },
  stopping: { icon: 'loading~spin', word: 'stopping' },
};

/** A newer devside may say a state that is not known here: it is shown as it is. */
export function lookOf(state: string): Look {
  const looks: Readonly<Record<string, Look | undefined>> = known;
  return looks[state] ?? { icon: 'question', word: state };
}

/** How bad a state is for who looks at a whole project, worst last: the order of supervisor/status. */
const order: readonly State[] = ['stopped', 'ready', 'waiting', 'starting', 'stopping', 'backoff', 'unhealthy', 'blocked', 'crash-loop'];

/** Whether a server runs, or will by itself. */
export function isActive(state: State): boolean {
  return state !== 'stopped' && state !== 'blocked' && state !== 'crash-loop';
}

/** Whether it stays as it is until somebody helps. */
export function isHeld(state: State): boolean {
  return state === 'blocked' || state === 'crash-loop';
}

/** A server's state in words: "port 3000 is taken" says more than "blocked". */
export function stateWord(s: Server): string {
  if (s.state === 'blocked') {
    if (s.problems.includes('port-taken')) return 'port taken';
    if (s.problems.includes('command-missing')) return 'command missing';
  }
  if (s.state === 'backoff' && s.restartInMs !== undefined) return `crashed, restarts in ${duration(s.restartInMs)}`;
  return lookOf(s.state).word;
}

/** What went wrong, whatever was thrown. */
export function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The status bar's item. */
export function bar(c: Condition): Bar | undefined {
  switch (c.kind) {
    case 'none':
      return undefined;
    case 'starting':
      return plain('$(loading~spin) devside', 'devside: starting', 'devside is being started.');
    case 'failed':
      return { ...plain('$(error) devside', `devside does not run: ${c.why}`, escape(c.why)), alarm: 'error' };
    case 'quiet':
      return plain('$(circle-outline) devside', 'devside: no servers were looked for yet', 'Click to see the servers of this folder.');
    case 'projects':
      return ofProjects(c.projects);
  }
}

function plain(text: string, label: string, tooltip: string): Bar {
  return { text, alarm: 'none', label, tooltip };
}

function ofProjects(projects: readonly Project[]): Bar | undefined {
  const servers = projects.flatMap((p) => p.servers);
  if (servers.length === 0) {
    const wrong = projects.flatMap((p) => p.problems).find((p) => p.severity === 'error');
    if (wrong === undefined) return undefined;
    return { ...plain('$(error) devside', `devside: ${wrong.message}`, escape(wrong.message)), alarm: 'error' };
  }
  const ready = projects.reduce((n, p) => n + p.summary.ready, 0);
  const total = projects.reduce((n, p) => n + p.summary.total, 0);
  const worst = servers.reduce((a, b) => (order.indexOf(b.state) > order.indexOf(a.state) ? b : a));
  const untrusted = projects.some((p) => p.trust.state === 'untrusted');
  const errors = projects.flatMap((p) => p.problems).filter((p) => p.severity === 'error');
  let { icon } = lookOf(worst.state);
  let alarm: Alarm = 'none';
  let more = '';
  if (isHeld(worst.state)) [icon, alarm, more] = ['error', 'error', `${worst.name}: ${stateWord(worst)}`];
  else if (worst.state === 'unhealthy' || worst.state === 'backoff') [icon, alarm, more] = ['warning', 'warning', `${worst.name}: ${stateWord(worst)}`];
  else if (errors[0] !== undefined) [icon, alarm, more] = ['error', 'error', errors[0].server ?? 'devside.yaml'];
  else if (worst.state === 'stopped') more = untrusted ? 'not trusted' : '';
  else if (worst.state !== 'ready') more = `${worst.name}: ${stateWord(worst)}`;
  const count = `devside ${String(ready)}/${String(total)}`;
  return {
    text: `$(${icon}) ${count}` + (alarm === 'error' && more !== '' ? ` ${more}` : ''),
    alarm,
    label: `devside: ${String(ready)} of ${String(total)} servers ready` + (more === '' ? '' : `, ${more}`),
    tooltip: projects.map((p) => table(p, projects.length > 1)).join('\n\n'),
  };
}

/** A project's servers as a Markdown table, with command links. */
function table(p: Project, named: boolean): string {
  const rows = p.servers.map((s) => {
    const arg = { root: p.root, server: s.name };
    const name = link(escape(s.name), 'devside.showLogs', arg, 'Show its log');
    const where = s.url !== undefined && isActive(s.state) ? `[${escape(portsOf(s))}](${s.url})` : escape(portsOf(s));
    const actions = isActive(s.state)
      ? `${link('$(debug-restart)', 'devside.restartServer', arg, 'Restart')} ${link('$(debug-stop)', 'devside.stopServer', arg, 'Stop')}`
      : link('$(play)', 'devside.startServer', arg, 'Start');
    return `| $(${lookOf(s.state).icon}) ${name} | ${escape(stateWord(s))} | ${where} | ${escape(memoryOf(s))} | ${actions} |`;
  });
  const wrong = p.problems.map((x) => `$(${problemIcon(x)}) ${escape(x.message)}`);
  return [named ? `**${escape(p.name)}**\n` : '', '| server | state | port | memory | |', '|:--|:--|:--|--:|:--|', ...rows, '', ...wrong.flatMap((w) => [w, ''])]
    .join('\n')
    .trim();
}

function link(text: string, command: string, arg: unknown, title: string): string {
  return `[${text}](command:${command}?${encodeURIComponent(JSON.stringify([arg]))} "${title}")`;
}

/** A text as Markdown that says just that. */
export function escape(text: string): string {
  return text.replace(/[\\`*_{}[\]()#+\-.!|<>~$&]/g, '\\$&').replace(/\s+/g, ' ');
}

export function problemIcon(p: Problem): string {
  return p.severity === 'error' ? 'error' : p.severity === 'warning' ? 'warning' : 'info';
}

/** What stands behind a server's name: ":4000 · 52 MB · 3 min". */
export function describe(s: Server, now: number): string {
  const parts = [portsOf(s)];
  if (s.state !== 'ready' && s.state !== 'stopped') parts.unshift(stateWord(s));
  if (isActive(s.state)) parts.push(memoryOf(s), ageOf(s, now));
  return parts.filter((x) => x !== '').join(' · ');
}

export function portsOf(s: Server): string {
  return s.ports.map((p) => `:${String(p.number)}`).join(' ');
}

export function memoryOf(s: Server): string {
  const used = s.pssBytes ?? s.memoryBytes;
  return used > 0 ? bytes(used) : '';
}

export function ageOf(s: Server, now: number): string {
  if (s.startedAt === undefined) return '';
  return duration(Math.max(0, now - Date.parse(s.startedAt)));
}

/** "800 ms", "12 s", "3 min", "2 h", "4 d". */
export function duration(ms: number): string {
  if (ms < 1000) return `${String(Math.round(ms))} ms`;
  const steps: readonly [number, string][] = [[86_400_000, 'd'], [3_600_000, 'h'], [60_000, 'min'], [1000, 's']];
  const [size, unit] = steps.find(([n]) => ms >= n) ?? [1000, 's'];
  return `${String(Math.floor(ms / size))} ${unit}`;
}

/** Binary sizes, as devside.yaml has them: "52 MB", "1.5 GB". */
export function bytes(n: number): string {
  if (n < 1024) return `${String(n)} B`;
  const units = ['KB', 'MB', 'GB', 'TB'] as const;
  const step = Math.min(units.length, Math.floor(Math.log2(n) / 10));
  const value = n / 1024 ** step;
  return `${value >= 10 || step === 1 ? String(Math.round(value)) : value.toFixed(1)} ${units[step - 1] ?? 'KB'}`;
}

/** "node (pid 4121, user ada, started 09:12)". */
export function holderText(h: Holder): string {
  const about: string[] = [];
  if (h.pid !== undefined) about.push(`pid ${String(h.pid)}`);
  if (h.user !== undefined) about.push(`user ${h.user}`);
  if (h.started !== undefined) about.push(`started ${new Date(h.started).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })}`);
  const who = h.server !== undefined ? `the server ${h.server}` : h.name !== undefined && h.name !== '' ? visible(h.name) : 'a process';
  return about.length === 0 ? who : `${who} (${about.join(', ')})`;
}

/** What a port is for: "api's port". */
export function portText(e: PortEntry): string {
  return e.server === undefined ? `port ${String(e.port)}` : `port ${String(e.port)} of ${e.server}`;
}

/** A text with everything in it that would not show, or would move what does, as an escape. */
export function visible(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu, (c) => (c === '\n' ? '\\n' : `\\u{${(c.codePointAt(0) ?? 0).toString(16)}}`));
}

/** The words of a command so that one sees where each begins and ends. */
export function commandLine(argv: readonly string[]): string {
  return argv.map((word) => (/^[\w@%+=:,./$-]+$/.test(word) ? word : `"${visible(word.replace(/["\\]/g, '\\$&'))}"`)).join(' ');
}

/** Two em spaces: a dialogue leaves out ordinary ones. */
const indent = '\u2003\u2003';

/** What a person is asked to agree to: each command as it would run, with the script it names. */
export function trustText(commands: readonly TrustCommand[], cleanup: readonly string[]): string {
  const list = (texts: readonly string[]): string => texts.map(visible).join(', ');
  const entries = commands.map((c) => {
    const lines = [`${visible(c.server)}: ${commandLine(c.argv)}`];
    if (c.script !== undefined && c.script !== '') lines.push(`the script ${visible(c.script)}`);
    if (c.dir !== '' && c.dir !== '.') lines.push(`in ${visible(c.dir)}`);
    if (c.env !== undefined && c.env.length > 0) lines.push(`with ${list(c.env)}`);
    if (c.envFiles !== undefined && c.envFiles.length > 0) lines.push(`with the variables of ${list(c.envFiles)}`);
    for (const probe of c.probes ?? []) lines.push(`checked by ${visible(probe)}`);
    return lines.join(`\n${indent}`);
  });
  if (cleanup.length > 0) entries.push(`Ended before the first start: ${list(cleanup)}`);
  return entries.join('\n\n');
}

/** What is told after a start, stop or restart, or undefined if all came out as asked. */
export function outcome(results: readonly { name: string; ok: boolean; error?: { message: string; hint?: string } }[]): string | undefined {
  const failed = results.filter((r) => !r.ok);
  const first = failed[0];
  if (first === undefined) return undefined;
  const rest = failed.length > 1 ? ` (and ${String(failed.length - 1)} more)` : '';
  return `${first.name}: ${first.error?.message ?? 'did not come up'}${rest}`;
}
