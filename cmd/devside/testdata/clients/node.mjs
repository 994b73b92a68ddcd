// Node's part of TestE2ENode: a client of vscode-languageserver-protocol, which is what
// VS Code's own client is made of. It reads strictly: one stray byte on devside's
// standard output, and nothing is understood any more.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const { DEVSIDE_PACKAGES: packages, DEVSIDE_BINARY: binary, DEVSIDE_ROOT: root, DEVSIDE_GO_ON: goOn } = process.env;
const lsp = createRequire(packages + '/')('vscode-languageserver-protocol/node');

const say = (step, more = {}) => process.stdout.write(JSON.stringify({ step, ...more }) + '\n');

// until looks every 20 ms, and fails after 30 s.
async function until(what, look) {
  for (const end = Date.now() + 30_000; ;) {
    const found = look();
    if (found) return found;
    assert.ok(Date.now() < end, `still waiting for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const child = spawn(binary, ['--stdio', '--allow-root'], { cwd: root, stdio: ['pipe', 'pipe', 'inherit'] });
const ended = new Promise((resolve) => child.once('exit', resolve));
const connection = lsp.createProtocolConnection(new lsp.StreamMessageReader(child.stdout), new lsp.StreamMessageWriter(child.stdin));

const faults = [], asked = [], notified = new Set();
let status, diagnostics = [];
connection.onError(([error]) => faults.push(String(error)));
connection.onRequest((method) => { asked.push(method); });
connection.onNotification((method, params) => {
  notified.add(method);
  if (method === 'devside/didChangeStatus') status = params;
  if (method === 'textDocument/publishDiagnostics') diagnostics = params.diagnostics;
});
connection.listen();

const rootUri = pathToFileURL(root).href;
const uri = rootUri + '/devside.yaml';
const { capabilities } = await connection.sendRequest(lsp.InitializeRequest.type, {
  processId: process.pid, rootUri, initializationOptions: { trusted: true },
  capabilities: { textDocument: { codeAction: { codeActionLiteralSupport: { codeActionKind: { valueSet: ['quickfix'] } } } } },
});
// Of what has to be declared, only what was.
assert.deepEqual(Object.keys(capabilities).sort(), ['codeActionProvider', 'executeCommandProvider', 'experimental', 'textDocumentSync', 'workspace']);
await connection.sendNotification(lsp.InitializedNotification.type, {});

await assert.rejects(connection.sendRequest('devside/nobodyKnowsThis', {}), { code: lsp.ErrorCodes.MethodNotFound });
await assert.rejects(connection.sendRequest('textDocument/formatting', {}), { code: lsp.ErrorCodes.MethodNotFound });
await connection.sendNotification('devside/nobodyKnowsThis', {});
await connection.sendNotification('$/nobodyKnowsThis', {});
assert.equal((await connection.sendRequest('devside/status', {})).servers[0].state, 'stopped');

const started = await connection.sendRequest(lsp.ExecuteCommandRequest.type, { command: 'devside.server.start', arguments: [{ servers: ['api'] }] });
assert.equal(started.servers[0].state, 'blocked');
assert.equal((await connection.sendRequest('devside/status', {})).servers[0].state, 'blocked');
const diagnostic = await until('a diagnostic', () => diagnostics[0]);
say('diagnostic', { code: diagnostic.code, message: diagnostic.message, line: diagnostic.range.start.line });

const actions = await connection.sendRequest(lsp.CodeActionRequest.type, { textDocument: { uri }, range: diagnostic.range, context: { diagnostics: [diagnostic] } });
const stop = actions.find((action) => action.title.startsWith('Stop '));
assert.ok(stop, `no action stops who has the port: ${JSON.stringify(actions)}`);
assert.equal(stop.isPreferred, undefined);
say('action', { title: stop.title });
const { command, arguments: args } = stop.command;
assert.deepEqual(await connection.sendRequest(lsp.ExecuteCommandRequest.type, { command, arguments: args }), { freed: true });

await until('the server to be ready, without a diagnostic', () => status?.servers[0].state === 'ready' && diagnostics.length === 0);
say('ready');
await until('the test', () => existsSync(goOn));

assert.equal(await connection.sendRequest(lsp.ShutdownRequest.type), null);
await assert.rejects(connection.sendRequest('devside/status', {}), { code: lsp.ErrorCodes.InvalidRequest });
await connection.sendNotification(lsp.ExitNotification.type);
assert.equal(await ended, 0);
assert.deepEqual(faults, []);
assert.deepEqual(asked, [], 'requests that this client never declared');
assert.deepEqual([...notified].sort(), ['devside/didChangeStatus', 'devside/didHappen', 'textDocument/publishDiagnostics']);
