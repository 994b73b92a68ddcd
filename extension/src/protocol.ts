/**
 * The protocol of devside, as far as the extension speaks it: a mirror of
 * rpc/wire and supervisor/status in TypeScript. A test of the Go side holds the
 * two equal: every interface below has the members of the type of its name there.
 * cmd/devside/PROTOCOL.md has the texts.
 *
 * Times are RFC 3339, durations are whole milliseconds in members that end in Ms.
 */

/** Where the extension and the hub must agree, see wire.Protocol. */
export const PROTOCOL = 1;

export type State =
  | 'stopped' | 'waiting' | 'starting' | 'ready' | 'unhealthy' | 'backoff' | 'crash-loop' | 'blocked' | 'stopping';
export type Severity = 'error' | 'warning' | 'information';
export type TrustState = 'trusted' | 'untrusted';

/** Every params object: the folder meant, where a window has several. */
export interface Root { root?: string }

export interface Project {
  root: string;
  name: string;
  protocol: number;
  sequence: number;
  trust: Trust;
  servers: Server[];
  dependencies: Dependency[];
  summary: Summary;
  problems: Problem[];
  config?: string;
  hubPid: number;
  http?: string;
}

export interface Trust { state: TrustState; hash: string; commands: TrustCommand[]; cleanup?: string[] }

export interface TrustCommand {
  server: string;
  argv: string[];
  dir: string;
  envFiles?: string[];
  env?: string[];
  probes?: string[];
  script?: string;
}

export interface Server {
  name: string;
  state: State;
  since: string;
  pid?: number;
  ports: Port[];
  url?: string;
  uptimeMs: number;
  waitedMs?: number;
  readyMs?: number;
  restarts: number;
  crashes: number;
  memoryBytes: number;
  pssBytes?: number;
  cpuPercent: number;
  lastExit?: Exit;
  message?: string;
  traceId: string;
  run: number;
  dependsOn?: string[];
  restartInMs?: number;
  startedAt?: string;
  restartReason?: string;
  problems: string[];
}

export interface Port { number: number; listening: boolean }
export interface Exit { code?: number; signal?: string; at: string; cause?: string }
export interface Dependency { name: string; up: boolean; checked?: string; target: string; message?: string }
export interface Summary { ready: number; total: number; worst: State }

export interface Problem {
  code: string;
  severity: Severity;
  server?: string;
  message: string;
  hint?: string;
  since: string;
  field?: string;
  port?: number;
  holder?: Holder;
  other?: string;
  file?: string;
  line?: number;
  column?: number;
  related?: Place[];
  argv?: string[];
  dir?: string;
  lines?: string[];
}

export interface Place { file: string; line: number; column?: number }

export interface Holder {
  pid?: number;
  startTime?: string;
  name?: string;
  command?: string;
  user?: string;
  started?: string;
  server?: string;
}

export interface StatusParams extends Root {}

export interface StartParams extends Root { servers?: string[]; wait?: boolean; workDoneToken?: string | number }
export interface StartResult { servers: ServerResult[] }
export interface ServerResult {
  name: string;
  ok: boolean;
  state: State;
  pid?: number;
  readyMs?: number;
  error?: ServerError;
  note?: string;
}
export interface ServerError { code: string; message: string; hint?: string }

export interface LogsParams extends Root {
  server: string;
  lines?: number;
  since?: string;
  grep?: string;
  run?: number;
  follow?: boolean;
}
export interface LogsResult { lines: LogLine[]; token?: string }
export interface LogLine { at: string; stream: 'stdout' | 'stderr' | 'devside'; text: string; run: number }
export interface DidLogParams { root: string; token: string; server: string; lines: LogLine[]; skipped?: number }
export interface DidHappenParams {
  root: string;
  kind: string;
  server?: string;
  at: string;
  message: string;
  traceId?: string;
  code?: string;
  exit?: Exit;
  act?: string;
  process?: Holder;
  because?: Because;
  removed?: string[];
  removedBytes?: number;
}
export interface Because { file: string; rule: string }
export interface UnfollowParams extends Root { token: string }
export type UnfollowResult = Record<string, never>;

export interface PortsParams extends Root {}
export type PortsResult = PortEntry[];
export interface PortEntry { port: number; server?: string; holder?: Holder }
export interface FreePortParams extends Root { port: number; holder: HolderName }
export interface HolderName { pid: number; startTime: string }
export interface FreePortResult { freed: boolean; why?: string }
export interface NextPortParams extends Root { server: string; write?: boolean }
export interface NextPortResult { port: number }

export interface ClearCachesParams extends Root { servers?: string[]; dryRun?: boolean }
export interface ClearCachesResult { removed: RemovedCache[]; refused: RefusedCache[] }
export interface RemovedCache { path: string; files: number; bytes: number; note?: string }
export interface RefusedCache { path: string; why: string }

export interface InstallParams extends Root { server: string }
export interface InstallResult { argv: string[]; dir: string; ok: boolean; message?: string; lines: string[] }
export interface ResumeParams extends Root { servers?: string[] }
export interface ResumeResult { resumed: string[] }

export interface TrustParams extends Root { hash: string }
export interface TrustResult { trusted: boolean }
export interface ReloadParams extends Root {}
export interface ReloadResult {
  valid: boolean;
  added: string[];
  changed: string[];
  removed: string[];
  restarted: string[];
}
export interface DashboardParams extends Root { address?: string }
export interface DashboardResult { url: string; token: string }
export interface QuitParams extends Root {}
export interface QuitResult { quit: boolean; why?: string }

/** Every request: devside/<verb>, and devside.server.<verb> by workspace/executeCommand. */
export interface Requests {
  /** The state of a project. Starts its hub if there is none. */
  status: { params: StatusParams; result: Project };
  /** Start servers and what they depend on. */
  start: { params: StartParams; result: StartResult };
  /** Stop servers and everything they started. */
  stop: { params: StartParams; result: StartResult };
  /** Stop, then start, servers. */
  restart: { params: StartParams; result: StartResult };
  /** Leave crash-loop or blocked, and start. */
  reset: { params: StartParams; result: StartResult };
  /** The last lines of a server's output, or follow it. */
  logs: { params: LogsParams; result: LogsResult };
  /** End a followed log. */
  unfollow: { params: UnfollowParams; result: UnfollowResult };
  /** Who listens on the project's ports. */
  ports: { params: PortsParams; result: PortsResult };
  /** End the process that was shown to hold a port. */
  freePort: { params: FreePortParams; result: FreePortResult };
  /** Give a server the next free port. */
  nextPort: { params: NextPortParams; result: NextPortResult };
  /** Remove the caches of servers, or count what that would remove. */
  clearCaches: { params: ClearCachesParams; result: ClearCachesResult };
  /** Run the package manager of a server whose packages are not those of its lockfile. */
  install: { params: InstallParams; result: InstallResult };
  /** Let watch rules act again that have restarted a server too often. */
  resume: { params: ResumeParams; result: ResumeResult };
  /** Allow the commands with this hash to run. */
  trust: { params: TrustParams; result: TrustResult };
  /** Read the configuration again. */
  reload: { params: ReloadParams; result: ReloadResult };
  /** Serve metrics and health over HTTP, and say where. */
  dashboard: { params: DashboardParams; result: DashboardResult };
  /** End the hub when nothing else holds it. */
  quit: { params: QuitParams; result: QuitResult };
}

export type Verb = keyof Requests;

export const METHOD_PREFIX = 'devside/';
export const COMMAND_PREFIX = 'devside.server.';

/** Notifications from devside: the newest state of a project; lines of a followed log; what has happened. */
export const DID_CHANGE_STATUS = 'devside/didChangeStatus';
export const DID_LOG = 'devside/didLog';
export const DID_HAPPEN = 'devside/didHappen';

/**
 * What runs something of the folder, or can have it run again: a server whose
 * caches are cleared is started anew. In a workspace that is not trusted none of
 * them is sent.
 */
export const RUNS: ReadonlySet<string> = new Set<Verb>(['start', 'restart', 'reset', 'nextPort', 'clearCaches', 'install', 'resume', 'trust', 'reload']);

/** The `data` of every error that devside answers with. */
export interface ErrorData {
  code: string;
  hint?: string;
  known?: string[];
  hash?: string;
  version?: string;
  pid?: number;
}

/** The codes of errors. Untrusted says that a person must agree to the commands first. */
export const ErrorCodes = {
  Parse: -32700,
  InvalidRequest: -32600,
  MethodNotFound: -32601,
  InvalidParams: -32602,
  Internal: -32603,
  NotInitialized: -32002,
  Cancelled: -32800,
  ServerCancelled: -32802,
  RequestFailed: -32803,
  Untrusted: -32050,
  RootRefused: -32051,
  HubLost: -32052,
  ProtocolMismatch: -32053,
  ConfigInvalid: -32054,
  Timeout: -32055,
} as const;
