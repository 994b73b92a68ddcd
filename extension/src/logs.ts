/** A terminal for each server's log. It follows only while it is the active one. */
import * as vscode from 'vscode';
import { exists, type Projects } from './projects';
import type { LogLine } from './protocol';
import type { Sidecar } from './session';
import { after, markOf, paint, places, skipped, type Mark } from './logText';
import { textOf } from './status';
import type { Target } from './tree';

export class Logs implements vscode.Disposable {
  private readonly open = new Map<string, LogTerminal>();
  private readonly subscriptions: vscode.Disposable[];

  constructor(private readonly sidecar: Sidecar, private readonly projects: Projects) {
    this.subscriptions = [
      sidecar.onDidLog((p) => {
        const root = projects.rootOf(p.root); // two hubs can have the same token
        for (const t of this.open.values()) if (t.target.root === root && t.target.server === p.server) t.took(p.token, p.lines, p.skipped ?? 0);
      }),
      projects.onDidChange((p) => {
        if (p !== undefined) for (const t of this.open.values()) if (t.target.root === p.root) t.servedBy(this.server(p.root), vscode.window.activeTerminal === t.terminal);
      }),
      vscode.window.onDidChangeActiveTerminal((active) => {
        for (const t of this.open.values()) t.follow(active === t.terminal);
      }),
      vscode.window.onDidCloseTerminal((t) => {
        for (const [key, open] of this.open) if (open.terminal === t) this.open.delete(key);
      }),
      vscode.window.registerTerminalLinkProvider({
        provideTerminalLinks: (context) => this.links(context),
        handleTerminalLink: (link) => (link instanceof LogLink ? link.open() : undefined),
      }),
    ];
  }

  show(target: Target): void {
    const key = JSON.stringify([target.root, target.server]);
    const there = this.open.get(key);
    if (there !== undefined) {
      there.terminal.show(true);
      return;
    }
    const made = new LogTerminal(this.sidecar, target, this.server(target.root));
    this.open.set(key, made);
    made.terminal.show(true);
  }

  /** Which sidecar and which hub know the tokens of a project's logs. */
  private server(root: string): string {
    const session = this.sidecar.now;
    return `${session.kind === 'running' ? String(session.generation) : 'none'} ${String(this.projects.get(root)?.hubPid ?? 0)}`;
  }

  private async links(context: vscode.TerminalLinkContext): Promise<LogLink[]> {
    const of = [...this.open.values()].find((t) => t.terminal === context.terminal);
    if (of === undefined) return [];
    const dir = this.projects.get(of.target.root)?.trust.commands.find((c) => c.server === of.target.server)?.dir ?? '.';
    const root = vscode.Uri.file(of.target.root);
    const found = await Promise.all(
      places(context.line).map(async (p): Promise<LogLink | undefined> => {
        const absolute = /^([A-Za-z]:)?[\\/]/.test(p.file);
        const candidates = absolute ? [vscode.Uri.file(p.file)] : [vscode.Uri.joinPath(root, dir, p.file), vscode.Uri.joinPath(root, p.file)];
        for (const uri of candidates) if (await exists(uri)) return new LogLink(p.start, p.length, uri, new vscode.Position(p.line - 1, Math.max(0, p.column - 1)));
        return undefined;
      }),
    );
    return found.filter((l) => l !== undefined);
  }

  dispose(): void {
    for (const s of this.subscriptions) s.dispose();
    for (const t of this.open.values()) t.terminal.dispose();
  }
}

class LogLink extends vscode.TerminalLink {
  constructor(start: number, length: number, private readonly uri: vscode.Uri, private readonly at: vscode.Position) {
    super(start, length, 'Open file in editor');
  }

  async open(): Promise<void> {
    await vscode.window.showTextDocument(this.uri, { selection: new vscode.Range(this.at, this.at) });
  }
}

/** How a terminal stands to the log: it has the lines up to a mark, and more come with a token. */
type Following =
  | { kind: 'shut' } // what is written before the editor has opened it is lost
  | { kind: 'no' }
  | { kind: 'asked'; early: { token: string; lines: LogLine[] }[] } // lines can overtake the answer that names their token
  | { kind: 'yes'; token: string };

class LogTerminal implements vscode.Pseudoterminal {
  private readonly write = new vscode.EventEmitter<string>();
  private following: Following = { kind: 'shut' };
  private mark: Mark | undefined;
  private wanted = false;

  readonly onDidWrite = this.write.event;
  readonly terminal: vscode.Terminal;

  constructor(private readonly sidecar: Sidecar, readonly target: Target, private server: string) {
    this.terminal = vscode.window.createTerminal({ name: `devside: ${target.server}`, pty: this, iconPath: new vscode.ThemeIcon('output'), isTransient: true });
  }

  open(): void {
    this.following = { kind: 'no' };
    this.follow(true);
  }

  close(): void {
    this.follow(false);
    this.following = { kind: 'shut' };
  }

  /** Ctrl+C and q close it, as in a pager; the server is not touched. */
  handleInput(data: string): void {
    if (data === '\x03' || data === 'q') this.terminal.dispose();
  }

  /** Another hub, or the same through another sidecar, knows nothing of an earlier token. */
  servedBy(server: string, active: boolean): void {
    if (server === this.server) return;
    this.server = server;
    if (this.following.kind === 'shut') return;
    this.following = { kind: 'no' };
    this.follow(active);
  }

  follow(wanted: boolean): void {
    this.wanted = wanted;
    switch (this.following.kind) {
      case 'no':
        if (wanted) void this.begin();
        return;
      case 'shut':
      case 'asked':
        return; // begin looks again once it is answered
      case 'yes':
        if (wanted) return;
        void this.unfollow(this.following.token);
        this.following = { kind: 'no' };
    }
  }

  private async begin(): Promise<void> {
    const asked: Following = { kind: 'asked', early: [] };
    this.following = asked;
    const lines = vscode.workspace.getConfiguration('devside').get('logLines', 1000);
    try {
      const result = await this.sidecar.request('logs', {
        root: this.target.root,
        server: this.target.server,
        lines,
        follow: true,
        ...(this.mark === undefined ? {} : { since: this.mark.at }),
      });
      const token = result.token ?? '';
      if (this.following !== asked) {
        void this.unfollow(token);
        return;
      }
      this.show(after(this.mark, result.lines));
      for (const e of asked.early) if (e.token === token) this.show(e.lines);
      this.following = { kind: 'yes', token };
      this.follow(this.wanted);
    } catch (error) {
      if (this.following !== asked) return;
      this.following = { kind: 'no' };
      this.write.fire(`\x1b[31m${textOf(error)}\x1b[0m\r\n`);
    }
  }

  private async unfollow(token: string): Promise<void> {
    if (this.sidecar.now.kind !== 'running') return;
    try {
      await this.sidecar.request('unfollow', { root: this.target.root, token });
    } catch {
      // Whoever would send the lines is gone, and so is the following.
    }
  }

  took(token: string, lines: LogLine[], lost: number): void {
    switch (this.following.kind) {
      case 'shut':
      case 'no':
        return;
      case 'asked':
        this.following.early.push({ token, lines });
        return;
      case 'yes':
        if (token !== this.following.token) return;
        if (lost > 0) this.write.fire(skipped(lost));
        this.show(lines);
    }
  }

  private show(lines: readonly LogLine[]): void {
    if (lines.length === 0) return;
    this.mark = markOf(this.mark, lines);
    this.write.fire(paint(lines));
  }
}
