/**
 * The life of the sidecar: when it is started, what happens when it dies, and the
 * one door to it. Nothing else in the extension holds the language client.
 */
import * as vscode from 'vscode';
import type { CloseHandlerResult, LanguageClient, Middleware } from 'vscode-languageclient/node';
import { findBinary, type Binary } from './binary';
import { DID_CHANGE_STATUS, DID_LOG, METHOD_PREFIX, PROTOCOL, RUNS, type DidLogParams, type ErrorData, type Project, type Requests, type Verb } from './protocol';
import { Deaths } from './deaths';
import { textOf } from './status';

export type Session =
  | { kind: 'idle' } // nothing asked for it yet
  | { kind: 'starting'; generation: number; started: Promise<LanguageClient> }
  | { kind: 'running'; generation: number; client: LanguageClient }
  | { kind: 'stopping'; stopped: Promise<void> }
  | { kind: 'failed'; why: string };

/** An error of a request, with what devside said beside its text. */
export class RequestError extends Error {
  constructor(message: string, readonly code: number | undefined, readonly data: ErrorData | undefined) {
    super(message);
  }
}

/** A start was given up for a stop, or for another start, that came after it. */
class Superseded extends Error {}

export class Sidecar implements vscode.Disposable {
  private session: Session = { kind: 'idle' };
  private generation = 0; // of the newest start: what an older one still says does not count
  private restarting: Promise<void> | undefined;
  private restartsAsked = 0;
  private deaths = new Deaths();
  private readonly changed = new vscode.EventEmitter<Session>();
  private readonly status = new vscode.EventEmitter<Project>();
  private readonly log = new vscode.EventEmitter<DidLogParams>();

  readonly onDidChange = this.changed.event;
  readonly onDidChangeStatus = this.status.event;
  readonly onDidLog = this.log.event;

  constructor(
    private readonly context: vscode.ExtensionContext,
    private readonly output: vscode.OutputChannel,
    private readonly middleware: Middleware,
  ) {}

  get now(): Session {
    return this.session;
  }

  /** Starts the sidecar unless it runs, and resolves when it takes requests. */
  async start(): Promise<LanguageClient> {
    switch (this.session.kind) {
      case 'running':
        return this.session.client;
      case 'starting':
        return this.session.started;
      case 'stopping':
        await this.session.stopped;
        return this.start();
      case 'idle':
      case 'failed': {
        const generation = ++this.generation;
        // Whoever asks again after a failure is told by what was asked for.
        const started = this.launch(generation, this.session.kind === 'idle');
        this.become({ kind: 'starting', generation, started });
        return started;
      }
    }
  }

  private async launch(generation: number, first: boolean): Promise<LanguageClient> {
    try {
      const binary = await this.binary();
      const client = await this.newClient(binary);
      await client.start();
      if (generation !== this.generation) {
        await client.stop();
        throw new Superseded('another start came after this one');
      }
      this.output.appendLine(`devside ${binary.version} from ${binary.from}: ${binary.path}`);
      this.become({ kind: 'running', generation, client });
      return client;
    } catch (error) {
      const why = textOf(error);
      if (generation === this.generation) this.fail(why, first);
      throw error;
    }
  }

  /** The program that is the sidecar, and that has the other commands. */
  binary(): Promise<Binary> {
    const setting = vscode.workspace.getConfiguration('devside').get('path', '');
    return findBinary({ setting, extension: this.context.extensionPath, platform: process.platform });
  }

  private async newClient(binary: Binary): Promise<LanguageClient> {
    const { CloseAction, ErrorAction, LanguageClient, TransportKind } = await import('./languageClient');
    const settings = vscode.workspace.getConfiguration('devside');
    const client: LanguageClient = new LanguageClient(
      'devside',
      'devside',
      { command: binary.path, args: [], transport: TransportKind.stdio, options: { env: process.env } },
      {
        documentSelector: ['devside.yaml', 'package.json', 'Procfile', 'Procfile.*'].map((name) => ({ scheme: 'file', pattern: `**/${name}` })),
        outputChannel: this.output,
        diagnosticCollectionName: 'devside',
        middleware: this.middleware,
        initializationOptions: {
          linger: settings.get('linger', '10s'),
          // What a folder brings along can't start anything in a window that does not trust it.
          ...(vscode.workspace.isTrusted ? {} : { autostart: false }),
        },
        initializationFailedHandler: () => false,
        errorHandler: {
          error: () => ({ action: ErrorAction.Continue, handled: true }),
          closed: (): CloseHandlerResult => ({ action: CloseAction.DoNotRestart, handled: true, message: this.died(client) }),
        },
      },
    );
    client.onNotification(DID_CHANGE_STATUS, (p: Project) => {
      this.status.fire(p);
    });
    client.onNotification(DID_LOG, (p: DidLogParams) => {
      this.log.fire(p);
    });
    return client;
  }

  /** The sidecar has ended without being asked. It is ours, not the language client's, to start another. */
  private died(client: LanguageClient): string {
    if (this.session.kind !== 'running' || this.session.client !== client) return 'the connection was closed';
    if (!this.deaths.again(Date.now())) {
      this.fail('it ended by itself five times within three minutes', true);
      return 'devside ended by itself too often, and is not started again';
    }
    this.become({ kind: 'idle' });
    this.start().catch(() => undefined); // whoever looks at the session sees why
    return 'devside ended by itself, and is started again';
  }

  private fail(why: string, tell: boolean): void {
    this.become({ kind: 'failed', why });
    this.output.appendLine(`devside does not run: ${why}`);
    if (tell) void complain(`devside does not run: ${why}. Its log says more.`);
  }

  /** Stops the sidecar; servers go on for as long as it asked (linger). */
  async stop(): Promise<void> {
    const before = this.session;
    switch (before.kind) {
      case 'idle':
      case 'failed':
        this.generation++;
        if (before.kind === 'failed') this.become({ kind: 'idle' }); // who starts it now is told anew
        return;
      case 'stopping':
        return before.stopped;
      case 'starting':
      case 'running': {
        this.generation++;
        // A client that is stopped while it starts would leave its process.
        const stopped = (before.kind === 'running' ? Promise.resolve(before.client) : before.started)
          .then((client) => client.stop())
          .catch(() => undefined) // it had not come up, or is gone already
          .then(() => {
            this.become({ kind: 'idle' });
          });
        this.become({ kind: 'stopping', stopped });
        return stopped;
      }
    }
  }

  /** Stops and starts. What is asked for meanwhile is done once more: a setting may have changed after it was read. */
  restart(): Promise<void> {
    this.restartsAsked++;
    this.restarting ??= this.restartAsAsked().finally(() => {
      this.restarting = undefined;
    });
    return this.restarting;
  }

  private async restartAsAsked(): Promise<void> {
    for (let done = 0; done !== this.restartsAsked; ) {
      done = this.restartsAsked;
      await this.stop();
      this.deaths = new Deaths();
      await this.start().catch(() => undefined); // it has been told
    }
  }

  /** Has the sidecar ask for the settings again. */
  async settingsChanged(): Promise<void> {
    if (this.session.kind !== 'running') return;
    await this.session.client.sendNotification('workspace/didChangeConfiguration', { settings: null }).catch(() => undefined); // it has ended: the next one asks by itself
  }

  /** Sends a request, and starts the sidecar for it if need be. */
  async request<V extends Verb>(verb: V, params: Requests[V]['params']): Promise<Requests[V]['result']> {
    if (RUNS.has(verb) && !vscode.workspace.isTrusted) {
      throw new RequestError('nothing of a folder is run before the workspace is trusted', undefined, { code: 'workspace-untrusted' });
    }
    const client = await this.start();
    try {
      return await client.sendRequest<Requests[V]['result']>(METHOD_PREFIX + verb, params);
    } catch (error) {
      throw this.readError(error);
    }
  }

  /** What the language client throws, with what devside said in it. */
  readError(error: unknown): Error {
    if (!(error instanceof Error)) return new Error(String(error));
    const code = 'code' in error && typeof error.code === 'number' ? error.code : undefined;
    return new RequestError(error.message, code, 'data' in error ? (error.data as ErrorData | undefined) : undefined);
  }

  private become(next: Session): void {
    this.session = next;
    this.changed.fire(next);
  }

  dispose(): void {
    this.changed.dispose();
    this.status.dispose();
    this.log.dispose();
  }
}

/** Says what went wrong, with the two things that may help. */
export async function complain(text: string): Promise<void> {
  const [log, again] = ['Show Sidecar Log', 'Restart Sidecar'] as const;
  const choice = await vscode.window.showErrorMessage(text, log, again);
  if (choice === log) await vscode.commands.executeCommand('devside.showSidecarLog');
  if (choice === again) await vscode.commands.executeCommand('devside.restartSidecar');
}

/** Whether this extension and a hub can talk to each other. */
export function speaks(p: Project): boolean {
  return p.protocol === PROTOCOL;
}
