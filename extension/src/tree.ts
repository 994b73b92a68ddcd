/** The view in the activity bar: projects, servers, dependencies, and what is wrong with each. */
import * as vscode from 'vscode';
import type { Projects } from './projects';
import type { Dependency, Problem, Project, Server } from './protocol';
import { describe, isActive, isHeld, lookOf, problemIcon, stateWord } from './status';

/** A server that a command is about. */
export interface Target { root: string; server: string }

type Node =
  | { kind: 'project'; project: Project }
  | { kind: 'server'; project: Project; server: Server; root: string }
  | { kind: 'dependency'; dependency: Dependency; project: Project }
  | { kind: 'problem'; problem: Problem; project: Project };

/** How often ports, memory and ages are drawn anew: a row that is drawn under the mouse loses its click. */
const FIGURES_MS = 10_000;

export class Tree implements vscode.TreeDataProvider<Node>, vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<undefined>();
  private readonly subscription: vscode.Disposable;
  private drawn = { rows: '', at: 0 };
  readonly onDidChangeTreeData = this.changed.event;

  constructor(private readonly projects: Projects) {
    this.subscription = projects.onDidChange(() => {
      const rows = JSON.stringify(projects.all.map(rowsOf));
      const now = Date.now();
      if (rows === this.drawn.rows && now - this.drawn.at < FIGURES_MS) return;
      this.drawn = { rows, at: now };
      this.changed.fire(undefined);
    });
  }

  getChildren(node?: Node): Node[] {
    if (node === undefined) {
      const all = this.projects.all.filter((p) => p.servers.length > 0 || p.problems.length > 0);
      const only = all.length === 1 ? all[0] : undefined;
      return only === undefined ? all.map((project) => ({ kind: 'project', project })) : inside(only);
    }
    switch (node.kind) {
      case 'project':
        return inside(node.project);
      case 'server':
        return ofServer(node.project, node.server.name);
      case 'dependency':
      case 'problem':
        return [];
    }
  }

  getTreeItem(node: Node): vscode.TreeItem {
    const { Expanded, None } = vscode.TreeItemCollapsibleState;
    switch (node.kind) {
      case 'project': {
        const item = new vscode.TreeItem(node.project.name, Expanded);
        item.id = node.project.root;
        item.description = `${String(node.project.summary.ready)}/${String(node.project.summary.total)}`;
        item.iconPath = new vscode.ThemeIcon('folder');
        item.contextValue = 'project';
        return item;
      }
      case 'server':
        return serverItem(node.project, node.server, ofServer(node.project, node.server.name).length > 0 ? Expanded : None);
      case 'dependency': {
        const d = node.dependency;
        const item = new vscode.TreeItem(d.name, None);
        const word = d.checked === undefined ? 'not checked yet' : d.up ? 'up' : 'down';
        item.id = `${node.project.root} dependency ${d.name}`;
        item.description = `${word} · ${d.target}`;
        item.tooltip = d.message ?? `${d.name} is not started by devside, only checked`;
        item.iconPath = new vscode.ThemeIcon('database', d.up || d.checked === undefined ? undefined : new vscode.ThemeColor('problemsErrorIcon.foreground'));
        item.contextValue = 'dependency';
        item.accessibilityInformation = { label: `dependency ${d.name}, ${word}` };
        return item;
      }
      case 'problem': {
        const p = node.problem;
        const item = new vscode.TreeItem(p.message, None);
        item.tooltip = p.hint === undefined ? p.message : `${p.message}\n${p.hint}`;
        item.iconPath = new vscode.ThemeIcon(problemIcon(p), new vscode.ThemeColor(p.severity === 'error' ? 'problemsErrorIcon.foreground' : 'problemsWarningIcon.foreground'));
        item.contextValue = 'problem';
        item.command = commandOf(node.project, p);
        return item;
      }
    }
  }

  dispose(): void {
    this.subscription.dispose();
    this.changed.dispose();
  }
}

/** What of a project makes other rows, or other actions of them. */
function rowsOf(p: Project): unknown {
  return [p.name, p.servers.map((s) => [s.name, s.state, s.ports, s.url, s.message]), p.dependencies.map((d) => [d.name, d.up, d.target, d.message]), p.problems.map((x) => [x.server, x.message])];
}

function inside(project: Project): Node[] {
  return [
    ...project.servers.map((server): Node => ({ kind: 'server', project, server, root: project.root })),
    ...project.dependencies.map((dependency): Node => ({ kind: 'dependency', dependency, project })),
    ...project.problems.filter((p) => p.server === undefined || p.server === '').map((problem): Node => ({ kind: 'problem', problem, project })),
  ];
}

function ofServer(project: Project, name: string): Node[] {
  return project.problems.filter((p) => p.server === name).map((problem): Node => ({ kind: 'problem', problem, project }));
}

function serverItem(project: Project, s: Server, state: vscode.TreeItemCollapsibleState): vscode.TreeItem {
  const item = new vscode.TreeItem(s.name, state);
  const look = lookOf(s.state);
  // One that gets something beneath it is another row to the editor, which leaves known ones closed.
  item.id = `${project.root} server ${s.name} ${String(state)}`;
  item.description = describe(s, Date.now());
  item.iconPath = new vscode.ThemeIcon(look.icon, look.color === undefined ? undefined : new vscode.ThemeColor(look.color));
  item.tooltip = [`${s.name}: ${stateWord(s)}`, s.message, s.url, s.pid === undefined ? undefined : `pid ${String(s.pid)}`].filter((x) => x !== undefined && x !== '').join('\n');
  item.contextValue = ['server', isActive(s.state) ? 'active' : 'idle', isHeld(s.state) ? 'held' : '', s.url === undefined ? '' : 'url'].filter((x) => x !== '').join(' ');
  item.accessibilityInformation = { label: `server ${s.name}, ${stateWord(s)}, ${describe(s, Date.now())}` };
  return item;
}

/** What a click on a problem opens: the line that it names, else the Problems panel. */
function commandOf(project: Project, p: Problem): vscode.Command {
  if (p.file !== undefined && p.line !== undefined) {
    const at = new vscode.Position(p.line - 1, Math.max(0, (p.column ?? 1) - 1));
    return { title: 'Open', command: 'vscode.open', arguments: [vscode.Uri.joinPath(vscode.Uri.file(project.root), p.file), { selection: new vscode.Range(at, at) }] };
  }
  return { title: 'Show Problems', command: 'workbench.actions.view.problems' };
}
