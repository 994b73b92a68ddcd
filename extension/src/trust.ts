/** Nothing of a project runs before a person has seen its commands: the question. */
import * as vscode from 'vscode';
import type { Projects } from './projects';
import { ErrorCodes, type Project } from './protocol';
import { complain, RequestError, type Sidecar } from './session';
import { textOf, trustText } from './status';

/** A question of more, or of longer, lines is shown as a document, since a dialogue cuts it. */
const mostLines = 25;
const longestLine = 300;

const scheme = 'devside-commands';

export class Trust implements vscode.Disposable {
  private readonly told = new Map<string, string>(); // the hash that a person was last told of, by root
  private readonly asked = new Set<string>(); // hashes that a person was shown
  private readonly documents = new Map<string, string>();
  private readonly subscriptions: vscode.Disposable[];

  constructor(private readonly sidecar: Sidecar, projects: Projects) {
    this.subscriptions = [
      vscode.workspace.registerTextDocumentContentProvider(scheme, { provideTextDocumentContent: (uri) => this.documents.get(uri.path) ?? '' }),
      projects.onDidChange((p) => {
        if (p !== undefined) this.look(p);
      }),
    ];
  }

  /** Tells, once, that the commands of a project that was trusted have changed. */
  private look(p: Project): void {
    const before = this.told.get(p.root);
    if (p.trust.state === 'trusted') this.told.set(p.root, p.trust.hash);
    else if (before !== undefined && before !== p.trust.hash) {
      this.told.set(p.root, p.trust.hash);
      // Whoever is starting something is about to be asked, and needs no telling.
      setTimeout(() => {
        if (!this.asked.has(p.trust.hash)) void this.tellChanged(p);
      }, 1000);
    }
  }

  private async tellChanged(p: Project): Promise<void> {
    const review = 'Review Commands';
    const choice = await vscode.window.showWarningMessage(`The commands of ${p.name} have changed. None of them is run before you have agreed to them.`, review);
    if (choice !== review) return;
    try {
      await this.ask(p.root);
    } catch (error) { // the hub was lost meanwhile
      await complain(`devside: ${textOf(error)}`);
    }
  }

  /** Does what needs trust, and asks for it when devside says that it is missing. Undefined: not agreed. */
  async around<T>(root: string, action: () => PromiseLike<T>): Promise<T | undefined> {
    for (;;) {
      try {
        return await action();
      } catch (error) {
        if (!(error instanceof RequestError) || error.code !== ErrorCodes.Untrusted) throw error;
        if (!(await this.ask(root))) return undefined;
      }
    }
  }

  /** Shows the commands and, if a person agrees, says to devside which were shown. */
  async ask(root: string): Promise<boolean> {
    for (;;) {
      const p = await this.sidecar.request('status', { root });
      if (p.trust.state === 'trusted') return true;
      if (!(await this.agreed(p))) return false;
      try {
        return (await this.sidecar.request('trust', { root, hash: p.trust.hash })).trusted;
      } catch (error) {
        // They have changed while they were being looked at: the new ones are shown.
        if (!(error instanceof RequestError) || error.data?.code !== 'hash-changed') throw error;
      }
    }
  }

  private async agreed(p: Project): Promise<boolean> {
    this.told.set(p.root, p.trust.hash);
    this.asked.add(p.trust.hash);
    const text = trustText(p.trust.commands, p.trust.cleanup ?? []);
    const question = `Run these commands of ${p.name}?`;
    const yes = 'Trust and Run';
    const lines = text.split('\n');
    if (lines.length <= mostLines && lines.every((line) => line.length <= longestLine)) {
      return (await vscode.window.showWarningMessage(question, { modal: true, detail: text }, yes)) === yes;
    }
    const uri = vscode.Uri.from({ scheme, path: `/${p.trust.hash}/commands of ${p.name}` });
    this.documents.set(uri.path, text);
    await vscode.window.showTextDocument(uri, { preview: true });
    return (await vscode.window.showWarningMessage(`${question} They are in the document that was opened.`, yes, 'No')) === yes;
  }

  dispose(): void {
    for (const s of this.subscriptions) s.dispose();
  }
}
