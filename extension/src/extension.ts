/** Where the extension begins: it makes the parts, joins them, and ends them. */
import * as vscode from 'vscode';
import { commands, middleware, type Parts } from './commands';
import { fixes } from './fixes';
import { Logs } from './logs';
import { Projects } from './projects';
import type { Project, Requests, Verb } from './protocol';
import { Sidecar } from './session';
import { statusBar } from './statusBar';
import { Tree } from './tree';
import { Trust } from './trust';

/** What tests and other extensions get: the protocol, by the sidecar of this window. */
export interface Api {
  /** devside/<verb>; the method's name with or without its prefix. Starts the sidecar if need be. */
  request<V extends Verb>(method: V | `devside/${V}`, params?: Requests[V]['params']): Promise<Requests[V]['result']>;
  readonly onDidChangeStatus: vscode.Event<Project>;
}

/** The sidecars that deactivate has to wait for: one at most. */
const live = new Set<Sidecar>();

export function activate(context: vscode.ExtensionContext): Api {
  const output = vscode.window.createOutputChannel('devside');
  const sidecar: Sidecar = new Sidecar(context, output, middleware(() => parts));
  const projects = new Projects(sidecar, output);
  const trust = new Trust(sidecar, projects);
  const logs = new Logs(sidecar, projects);
  const parts: Parts = { output, sidecar, projects, trust, logs };
  live.add(sidecar);

  const tree = new Tree(projects);
  const view = vscode.window.createTreeView('devside.servers', { treeDataProvider: tree, showCollapseAll: false });
  context.subscriptions.push(
    output, sidecar, projects, trust, logs, tree, view,
    commands(parts),
    statusBar(projects),
    fixes(sidecar),
    sidecar.onDidChange((s) => vscode.commands.executeCommand('setContext', 'devside.session', s.kind)),
    view.onDidChangeVisibility((e) => {
      // The view's welcome text says that it does not run. What was given up is started again by a person.
      if (e.visible && sidecar.now.kind !== 'failed') projects.look().catch(() => undefined);
    }),
    vscode.workspace.onDidGrantWorkspaceTrust(() => {
      if (sidecar.now.kind !== 'idle') void sidecar.restart();
    }),
    vscode.workspace.onDidChangeConfiguration((e) => {
      // Settings that count from the start of the sidecar on. Servers outlive it (linger).
      if ((e.affectsConfiguration('devside.path') || e.affectsConfiguration('devside.linger')) && sidecar.now.kind !== 'idle') void sidecar.restart();
      else if (e.affectsConfiguration('devside')) void sidecar.settingsChanged();
    }),
  );
  void projects.open();
  return {
    request: <V extends Verb>(method: V | `devside/${V}`, params: Requests[V]['params'] = {}) => sidecar.request(method.replace(/^devside\//, '') as V, params),
    onDidChangeStatus: sidecar.onDidChangeStatus,
  };
}

/** The editor waits for what is returned here: the sidecar leaves its hub, and servers linger. */
export async function deactivate(): Promise<void> {
  await Promise.all([...live].map((s) => s.stop()));
  live.clear();
}
