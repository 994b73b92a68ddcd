/** The commands of the palette, the view and the status bar. They exist whatever the sidecar does. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import * as vscode from 'vscode';
import type { Middleware } from 'vscode-languageclient/node';
import type { Logs } from './logs';
import { pickServer } from './pick';
import { exists, localFolders, type Projects } from './projects';
import { COMMAND_PREFIX, RUNS, type Project, type Server, type StartResult } from './protocol';
import { complain, RequestError, type Sidecar } from './session';
import { bytes, holderText, isActive, isHeld, outcome, portText, textOf, visible } from './status';
import type { Target } from './tree';
import type { Trust } from './trust';

export interface Parts {
  output: vscode.OutputChannel;
  sidecar: Sidecar;
  projects: Projects;
  trust: Trust;
  logs: Logs;
}

type Act = 'start' | 'stop' | 'restart' | 'reset';

export function commands(parts: Parts): vscode.Disposable {
  const { sidecar, projects, logs, output } = parts;

  const one = (title: string, wanted: (s: Server) => boolean, none: string, then: (t: Target) => Promise<void> | void) => async (given?: unknown) => {
    const target = asTarget(given) ?? (await pickServer(await look(projects), title, wanted, none));
    if (target !== undefined) await then(target);
  };
  const actOn = (verb: Act) => (t: Target) => act(parts, verb, t.root, [t.server]);
  const all = (verb: Act) => async () => {
    if (RUNS.has(verb) && !vscode.workspace.isTrusted) return offerTrust();
    const every = await look(projects);
    const found = every.filter((p) => p.servers.length > 0);
    if (found.length === 0) await offerConfig(every);
    await Promise.all(found.map((p) => act(parts, verb, p.root, undefined)));
  };
  const active = (s: Server): boolean => isActive(s.state);

  const table: Record<string, (given?: unknown) => Promise<void> | void> = {
    'devside.startAll': all('start'),
    'devside.stopAll': all('stop'),
    'devside.restartAll': all('restart'),
    'devside.startServer': one('Start a server', (s) => !active(s), 'Every server runs.', actOn('start')),
    'devside.stopServer': one('Stop a server', active, 'No server runs.', actOn('stop')),
    'devside.restartServer': one('Restart a server', active, 'No server runs.', actOn('restart')),
    'devside.resetCrashLoop': one('Reset and start a server', (s) => isHeld(s.state), 'No server is held.', actOn('reset')),
    'devside.showLogs': one('Show the log of a server', () => true, 'There are no servers.', (t) => {
      logs.show(t);
    }),
    'devside.openInBrowser': one('Open a server in the browser', (s) => s.url !== undefined && active(s), 'No server that runs has a URL.', async (t) => {
      const url = projects.get(t.root)?.servers.find((s) => s.name === t.server)?.url;
      if (url !== undefined) await vscode.env.openExternal(vscode.Uri.parse(url, true));
    }),
    'devside.freePort': () => freePort(parts),
    'devside.clearCaches': (given) => clearCaches(parts, asTarget(given)),
    'devside.createConfig': () => createConfig(parts),
    'devside.showStatus': () => showStatus(parts),
    'devside.restartSidecar': () => sidecar.restart(),
    'devside.showSidecarLog': () => {
      output.show();
    },
  };
  return vscode.Disposable.from(...Object.entries(table).map(([id, run]) => vscode.commands.registerCommand(id, (given?: unknown) => told(() => run(given)))));
}

/** Runs a command, and says what went wrong instead of throwing it at the editor. */
async function told(run: () => Promise<void> | void): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (error instanceof RequestError && error.data?.code === 'workspace-untrusted') return offerTrust();
    const text = textOf(error);
    const hint = error instanceof RequestError && error.data?.hint !== undefined ? ` (${error.data.hint})` : '';
    await complain(`devside: ${text}${hint}`);
  }
}

async function offerTrust(): Promise<void> {
  const manage = 'Manage Workspace Trust';
  const choice = await vscode.window.showWarningMessage('This workspace is not trusted: devside shows what is wrong, and runs nothing of it.', manage);
  if (choice === manage) await vscode.commands.executeCommand('workbench.trust.manage');
}

/** What to do where there is nothing to start. */
async function offerConfig(looked: readonly Project[]): Promise<void> {
  const wrong = looked.flatMap((p) => p.problems).find((p) => p.severity === 'error');
  if (wrong !== undefined) {
    const show = 'Show Problems';
    if ((await vscode.window.showErrorMessage(`No server can be started: ${wrong.message}`, show)) === show) await vscode.commands.executeCommand('workbench.actions.view.problems');
    return;
  }
  const create = 'Create devside.yaml';
  const choice = await vscode.window.showInformationMessage('No servers were found in this folder. A devside.yaml names them.', create);
  if (choice === create) await vscode.commands.executeCommand('devside.createConfig');
}

function look(projects: Projects): Promise<readonly Project[]> {
  if (localFolders().length === 0) throw new Error('open the folder of a project first');
  return projects.look();
}

/** Starts, stops or restarts servers, with the question of trust before, and what failed after. */
async function act(parts: Parts, verb: Act, root: string, servers: string[] | undefined): Promise<void> {
  const params = { root, ...(servers === undefined ? {} : { servers }) };
  const result = await parts.trust.around(root, () => parts.sidecar.request(verb, params));
  if (result !== undefined) await tellOutcome(root, result);
}

async function tellOutcome(root: string, result: StartResult): Promise<void> {
  const text = outcome(result.servers);
  const failed = result.servers.find((s) => !s.ok);
  if (text === undefined || failed === undefined || failed.error?.code === 'cancelled') return;
  const [problems, log, free] = ['Show Problems', 'Show Log', 'Free the Port…'] as const;
  const choice = await vscode.window.showErrorMessage(text, ...(failed.error?.code === 'port-taken' ? [free, problems] : [problems, log]));
  if (choice === problems) await vscode.commands.executeCommand('workbench.actions.view.problems');
  if (choice === log) await vscode.commands.executeCommand('devside.showLogs', { root, server: failed.name });
  if (choice === free) await vscode.commands.executeCommand('devside.freePort');
}

async function freePort({ projects, sidecar }: Parts): Promise<void> {
  const found = await Promise.all((await look(projects)).map(async (p) => (await sidecar.request('ports', { root: p.root })).map((entry) => ({ root: p.root, entry }))));
  const items = found.flat().flatMap(({ root, entry }) => {
    const { holder } = entry;
    if (holder === undefined) return [];
    return [{ label: `$(plug) ${String(entry.port)}`, description: holderText(holder), detail: holder.command ?? '', root, entry, holder }];
  });
  if (items.length === 0) {
    void vscode.window.showInformationMessage('Every port of this folder is free.');
    return;
  }
  const chosen = await vscode.window.showQuickPick(items, { title: 'Free a port', placeHolder: 'the process to stop', matchOnDescription: true, matchOnDetail: true });
  if (chosen === undefined) return;
  const { entry, holder, root } = chosen;
  if (holder.pid === undefined || holder.startTime === undefined) throw new Error(`who holds ${portText(entry)} can't be seen by this user, and so not be stopped`);
  const stop = 'Stop It';
  const detail = [visible(holder.command ?? ''), holder.server === undefined ? '' : 'It is one of the servers of this project.'].filter((x) => x !== '').join('\n');
  if ((await vscode.window.showWarningMessage(`Stop ${holderText(holder)} on ${portText(entry)}?`, { modal: true, detail }, stop)) !== stop) return;
  const result = await sidecar.request('freePort', { root, port: entry.port, holder: { pid: holder.pid, startTime: holder.startTime } });
  if (result.freed) void vscode.window.showInformationMessage(`Port ${String(entry.port)} is free.`);
  else throw new Error(`port ${String(entry.port)} was not freed: ${result.why ?? 'it is still held'}`);
}

async function clearCaches({ projects, sidecar, trust }: Parts, given: Target | undefined): Promise<void> {
  const every = (await look(projects)).map((p) => ({ label: `$(trash) All of ${p.name}`, root: p.root, servers: p.servers.map((s) => s.name) }));
  const single = projects.all.flatMap((p) => p.servers.map((s) => ({ label: `$(trash) ${s.name}`, description: p.name, root: p.root, servers: [s.name] })));
  const chosen =
    given === undefined
      ? await vscode.window.showQuickPick([...every, ...single], { title: 'Clear caches', placeHolder: 'whose caches' })
      : { root: given.root, servers: [given.server] };
  if (chosen === undefined) return;
  const { root, servers } = chosen;
  const would = await sidecar.request('clearCaches', { root, servers, dryRun: true });
  const refused = would.refused.map((r) => `${r.path} is left alone: ${r.why}`);
  if (would.removed.length === 0) {
    void vscode.window.showInformationMessage(['There are no caches to clear.', ...refused].join(' '));
    return;
  }
  const yes = 'Clear';
  const detail = [...would.removed.map((r) => `${r.path}: ${String(r.files)} files, ${bytes(r.bytes)}`), ...refused].join('\n');
  if ((await vscode.window.showWarningMessage(`Clear the caches of ${servers.join(', ')}?`, { modal: true, detail }, yes)) !== yes) return;
  const progress = { location: vscode.ProgressLocation.Notification, title: `Clearing the caches of ${servers.join(', ')}` };
  const done = await trust.around(root, () => vscode.window.withProgress(progress, () => sidecar.request('clearCaches', { root, servers })));
  if (done === undefined) return;
  const size = done.removed.reduce((n, r) => n + r.bytes, 0);
  void vscode.window.showInformationMessage(`Cleared ${done.removed.map((r) => r.path).join(', ')}: ${bytes(size)}.`);
}

/** A beginning for a folder in which nothing was found. */
const beginning = 'version: 1\nservers:\n  ${1:web}:\n    command: ${2:npm run dev}\n    port: ${3:3000}\n';

async function createConfig({ sidecar }: Parts): Promise<void> {
  const folders = localFolders();
  const folder = folders.length <= 1 ? folders[0] : await vscode.window.showWorkspaceFolderPick({ placeHolder: 'the folder of the devside.yaml' });
  if (folder === undefined) {
    if (folders.length === 0) throw new Error('open the folder of a project first');
    return;
  }
  const file = vscode.Uri.joinPath(folder.uri, 'devside.yaml');
  if (!(await exists(file))) {
    const binary = await sidecar.binary();
    try {
      await promisify(execFile)(binary.path, ['init', '--root', folder.uri.fsPath], { timeout: 30_000, windowsHide: true });
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 3)) throw error;
      // Nothing was found: the person writes it, from an example.
      const editor = await vscode.window.showTextDocument(await vscode.workspace.openTextDocument(file.with({ scheme: 'untitled' })));
      await editor.insertSnippet(new vscode.SnippetString(beginning));
      return;
    }
  }
  await vscode.window.showTextDocument(file);
}

async function showStatus({ projects }: Parts): Promise<void> {
  const target = await pickServer(await look(projects), 'devside', () => true, 'No servers were found in this folder. A devside.yaml names them.');
  const server = projects.get(target?.root ?? '')?.servers.find((s) => s.name === target?.server);
  if (target === undefined || server === undefined) return;
  const actions = [
    ...(isActive(server.state)
      ? [{ label: '$(debug-restart) Restart', id: 'devside.restartServer' }, { label: '$(debug-stop) Stop', id: 'devside.stopServer' }]
      : [{ label: '$(play) Start', id: 'devside.startServer' }]),
    ...(isHeld(server.state) ? [{ label: '$(debug-rerun) Reset and Start', id: 'devside.resetCrashLoop' }] : []),
    { label: '$(output) Show Log', id: 'devside.showLogs' },
    ...(server.url === undefined ? [] : [{ label: '$(globe) Open in Browser', description: server.url, id: 'devside.openInBrowser' }]),
    { label: '$(trash) Clear Caches', id: 'devside.clearCaches' },
  ];
  const title = `${server.name}: ${server.message ?? server.state}`;
  const chosen = await vscode.window.showQuickPick(actions, { title });
  if (chosen !== undefined) await vscode.commands.executeCommand(chosen.id, target);
}

/** A node of the view, or the argument of a link. */
function asTarget(given: unknown): Target | undefined {
  if (typeof given !== 'object' || given === null || !('root' in given) || !('server' in given)) return undefined;
  const { root, server } = given;
  const name = typeof server === 'object' && server !== null && 'name' in server ? server.name : server;
  return typeof root === 'string' && typeof name === 'string' ? { root, server: name } : undefined;
}

/** What a lens or a quick-fix of the sidecar does, where the editor has more to show for it than a result. */
export function middleware(parts: () => Parts): Middleware {
  return {
    executeCommand: async (command, args: unknown[], next) => {
      const verb = command.startsWith(COMMAND_PREFIX) ? command.slice(COMMAND_PREFIX.length) : '';
      const p = parts();
      const given = args[0];
      const root = typeof given === 'object' && given !== null && 'root' in given && typeof given.root === 'string' ? given.root : (p.projects.all[0]?.root ?? '');
      return told(async () => {
        if (RUNS.has(verb) && !vscode.workspace.isTrusted) return offerTrust();
        if (verb === 'logs') {
          const target = asTarget({ root, ...(given as object) });
          if (target !== undefined) p.logs.show({ ...target, root: p.projects.rootOf(target.root) });
          return;
        }
        if (verb === 'trust') {
          await p.trust.ask(root);
          return;
        }
        const result: unknown = await p.trust.around(root, async () => {
          try {
            return (await next(command, args)) as unknown;
          } catch (error) {
            throw p.sidecar.readError(error);
          }
        });
        if (verb === 'start' || verb === 'stop' || verb === 'restart' || verb === 'reset') {
          if (result !== undefined) await tellOutcome(root, result as StartResult);
        } else tellResult(verb, result);
      });
    },
  };
}

/** What a quick-fix did, in one line. */
function tellResult(verb: string, result: unknown): void {
  const r = (typeof result === 'object' && result !== null ? result : {}) as Partial<Record<'freed' | 'ok', boolean> & Record<'why' | 'message', string> & { port: number }>;
  if (verb === 'freePort' && r.freed === false) throw new Error(`the port was not freed: ${r.why ?? 'it is still held'}`);
  if (verb === 'install' && r.ok === false) throw new Error(r.message ?? 'the install failed');
  if (verb === 'nextPort' && r.port !== undefined) void vscode.window.showInformationMessage(`Port ${String(r.port)} is used from the next start on.`);
}
