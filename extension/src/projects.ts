/** The newest snapshot of every project of the window, and when to ask for one. */
import * as vscode from 'vscode';
import type { Project } from './protocol';
import { speaks, type Sidecar } from './session';
import { textOf, type Condition } from './status';

/** Files at the top of a folder that say that there may be servers. */
const marks = ['devside.yaml', 'Procfile', 'package.json'] as const;

export class Projects implements vscode.Disposable {
  private readonly byRoot = new Map<string, Project>();
  private readonly roots = new Map<string, string>(); // of folders that were looked at, by their URI
  private readonly watchers = new Map<string, vscode.Disposable>(); // by the folder's URI
  private marked = false; // a folder has one of the marks
  private readonly changed = new vscode.EventEmitter<Project | undefined>();
  private readonly subscriptions: vscode.Disposable;

  readonly onDidChange = this.changed.event; // with the project, if it was one

  constructor(private readonly sidecar: Sidecar, private readonly output: vscode.OutputChannel) {
    this.subscriptions = vscode.Disposable.from(
      this.changed,
      sidecar.onDidChangeStatus((p) => {
        this.put(p);
      }),
      sidecar.onDidChange((s) => {
        if (s.kind === 'running') void this.lookAgain();
        else this.byRoot.clear(); // what was known may not hold any more
        this.changed.fire(undefined);
      }),
      vscode.workspace.onDidChangeWorkspaceFolders((e) => {
        for (const f of e.removed) this.forget(f);
        this.watch();
        void this.open();
      }),
    );
    this.watch();
  }

  /** Looks for a devside.yaml, or a Procfile, that is written later. */
  private watch(): void {
    for (const f of localFolders()) {
      const key = f.uri.toString();
      if (this.watchers.has(key)) continue;
      const watcher = vscode.workspace.createFileSystemWatcher(new vscode.RelativePattern(f, '{devside.yaml,Procfile}'), false, true, true);
      watcher.onDidCreate(() => this.open());
      this.watchers.set(key, watcher);
    }
  }

  get all(): readonly Project[] {
    return [...this.byRoot.values()].sort((a, b) => a.name.localeCompare(b.name));
  }

  get(root: string): Project | undefined {
    return this.byRoot.get(root);
  }

  /** The real root of a folder that the window names. */
  rootOf(folder: string): string {
    return this.roots.get(vscode.Uri.file(folder).toString()) || folder; // empty: it has not answered yet
  }

  condition(): Condition {
    const session = this.sidecar.now;
    if (session.kind === 'failed') return { kind: 'failed', why: session.why };
    if (!this.marked && this.byRoot.size === 0) return { kind: 'none' };
    if (session.kind === 'starting') return { kind: 'starting' };
    return this.byRoot.size > 0 ? { kind: 'projects', projects: this.all } : { kind: 'quiet' };
  }

  /** Starts the sidecar where there may be servers, and looks at the projects that say so themselves. */
  async open(): Promise<void> {
    for (const f of localFolders()) {
      const found = await Promise.all(marks.map((mark) => exists(vscode.Uri.joinPath(f.uri, mark))));
      if (!found.includes(true)) continue;
      this.marked = true;
      this.changed.fire(undefined);
      // A package.json alone is mostly no server's: its hub is started when somebody wants to see it.
      if (found[0] === true || found[1] === true) await this.lookAt(f);
      else await this.sidecar.start().catch(() => undefined); // the session says why
    }
  }

  /** Asks for the state of every folder. Rejects if none of them could say it. */
  async look(): Promise<readonly Project[]> {
    const failures: unknown[] = [];
    for (const f of localFolders()) {
      try {
        await this.ask(f);
      } catch (error) {
        failures.push(error);
      }
    }
    if (this.byRoot.size === 0 && failures.length > 0) throw failures[0];
    return this.all;
  }

  private async lookAgain(): Promise<void> {
    for (const f of localFolders()) if (this.roots.has(f.uri.toString())) await this.lookAt(f);
  }

  private async lookAt(f: vscode.WorkspaceFolder): Promise<void> {
    this.roots.set(f.uri.toString(), '');
    try {
      await this.ask(f);
    } catch (error) {
      this.output.appendLine(`${f.name}: ${textOf(error)}`);
    }
  }

  private async ask(f: vscode.WorkspaceFolder): Promise<void> {
    const p = await this.sidecar.request('status', { root: f.uri.fsPath });
    this.roots.set(f.uri.toString(), p.root);
    this.put(p);
  }

  private put(p: Project): void {
    if (!speaks(p)) {
      this.output.appendLine(`${p.root}: its hub speaks version ${String(p.protocol)} of the protocol, which this extension does not`);
      return;
    }
    const known = this.byRoot.get(p.root);
    if (known?.hubPid === p.hubPid && known.sequence > p.sequence) return; // an answer that a newer state overtook
    this.byRoot.set(p.root, p);
    this.changed.fire(p);
  }

  private forget(f: vscode.WorkspaceFolder): void {
    const root = this.roots.get(f.uri.toString());
    this.roots.delete(f.uri.toString());
    this.watchers.get(f.uri.toString())?.dispose();
    this.watchers.delete(f.uri.toString());
    if (root !== undefined) this.byRoot.delete(root);
    this.changed.fire(undefined);
  }

  dispose(): void {
    this.subscriptions.dispose();
    for (const w of this.watchers.values()) w.dispose();
  }
}

export function localFolders(): readonly vscode.WorkspaceFolder[] {
  return (vscode.workspace.workspaceFolders ?? []).filter((f) => f.uri.scheme === 'file');
}

export async function exists(uri: vscode.Uri): Promise<boolean> {
  try {
    await vscode.workspace.fs.stat(uri);
    return true;
  } catch {
    return false;
  }
}
