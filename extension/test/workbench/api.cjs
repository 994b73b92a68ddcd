// Runs in the real extension host, beside the extension: what other extensions see of it.
const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const vscode = require('vscode');

const commands = [
  'startAll', 'startServer', 'stopAll', 'stopServer', 'restartAll', 'restartServer', 'resetCrashLoop', 'showLogs', 'openInBrowser', 'freePort',
  'clearCaches', 'createConfig', 'showStatus', 'restartSidecar', 'showSidecarLog',
].map((c) => `devside.${c}`);

const folder = () => vscode.workspace.workspaceFolders[0].uri.fsPath;

/** Waits for an event that is so. */
function next(event, is, what) {
  return new Promise((resolve, reject) => {
    let last;
    const timer = setTimeout(() => {
      subscription.dispose();
      reject(new Error(`still waiting for ${what}; last seen: ${JSON.stringify(last)}`));
    }, 60_000);
    const subscription = event((value) => {
      last = value;
      if (!is(value)) return;
      clearTimeout(timer);
      subscription.dispose();
      resolve(value);
    });
  });
}

const tests = {
  async 'it is active, and has its commands'({ extension }) {
    assert.equal(extension.isActive, true);
    const known = new Set(await vscode.commands.getCommands(true));
    assert.deepEqual(commands.filter((c) => !known.has(c)), []);
  },

  async 'requests take the name of the verb or of the method'({ api }) {
    const [a, b] = [await api.request('status', { root: folder() }), await api.request('devside/status', {})];
    assert.deepEqual(a.servers.map((s) => [s.name, s.state]), [['web', 'stopped'], ['api', 'stopped']]);
    assert.equal(b.root, a.root);
  },

  async 'nothing runs before the hash was agreed to, and the extension does not vouch'({ api }) {
    const refused = await api.request('start', {}).then(() => undefined, (error) => error);
    assert.equal(refused?.code, -32050);
    const { trust } = await api.request('status', {});
    assert.equal(trust.state, 'untrusted');
    assert.equal(refused.data.hash, trust.hash);
    await assert.rejects(api.request('trust', { hash: 'x'.repeat(64) }), (error) => error.data.code === 'hash-changed');
    assert.deepEqual(await api.request('trust', { hash: trust.hash }), { trusted: true });
  },

  async 'a start is seen as it happens'({ api }) {
    const starting = next(api.onDidChangeStatus, (p) => p.servers.some((s) => s.state === 'starting'), 'a server that starts');
    const ready = next(api.onDidChangeStatus, (p) => p.summary.ready === 2, 'two that are ready');
    const result = await api.request('start', {});
    assert.deepEqual(result.servers.map((s) => [s.name, s.ok]), [['api', true], ['web', true]]);
    assert.equal((await starting).root, (await ready).root);
  },

  async 'errors have what devside says of them'({ api }) {
    await assert.rejects(api.request('stop', { servers: ['wep'] }), (error) => error.code === -32602 && error.data.code === 'unknown-server' && error.data.known.includes('web'));
  },

  async 'commands take a server as their argument'({ api }) {
    const stopped = next(api.onDidChangeStatus, (p) => p.servers.find((s) => s.name === 'web').state === 'stopped', 'web to stop');
    await vscode.commands.executeCommand('devside.stopServer', { root: folder(), server: 'web' });
    assert.equal((await stopped).servers.find((s) => s.name === 'api').state, 'ready');
  },

  async 'a devside.yaml that is wrong is a diagnostic at its key'({ api }) {
    const file = vscode.Uri.file(path.join(folder(), 'devside.yaml'));
    const before = fs.readFileSync(file.fsPath, 'utf8');
    const of = () => vscode.languages.getDiagnostics(file).filter((d) => d.source === 'devside' && d.message.includes('unknown key'));
    const told = next(vscode.languages.onDidChangeDiagnostics, () => of().length === 1, 'the diagnostic');
    fs.writeFileSync(file.fsPath, `${before}    prot: 1\n`);
    await told;
    assert.equal(of()[0].range.start.line, before.split('\n').length - 1);
    const gone = next(vscode.languages.onDidChangeDiagnostics, () => of().length === 0, 'it to be gone');
    fs.writeFileSync(file.fsPath, before);
    await gone;
    assert.equal((await api.request('status', {})).servers.find((s) => s.name === 'api').state, 'ready', 'a broken file touched a server');
  },

  async 'without a sidecar, commands say so and come back with it'({ api }) {
    const settings = () => vscode.workspace.getConfiguration('devside');
    await settings().update('path', path.join(folder(), 'no-such-devside'), vscode.ConfigurationTarget.Global);
    // Messages are not answered here: commands that show one do not end by themselves.
    await vscode.commands.executeCommand('devside.restartSidecar');
    await assert.rejects(api.request('status', {}), /no-such-devside \(the setting devside\.path\): it is not there/);
    for (const c of ['devside.startAll', 'devside.showStatus', 'devside.freePort']) void vscode.commands.executeCommand(c);
    await settings().update('path', undefined, vscode.ConfigurationTarget.Global);
    await vscode.commands.executeCommand('devside.restartSidecar');
    const p = await api.request('status', {});
    assert.equal(p.servers.find((s) => s.name === 'api').state, 'ready', 'the server ended with the sidecar');
    await api.request('stop', {});
  },
};

exports.run = async () => {
  const extension = vscode.extensions.getExtension('devside.devside');
  const api = await extension.activate();
  let failed = 0;
  for (const [name, test] of Object.entries(tests)) {
    try {
      await test({ extension, api });
      console.log(`ok   in the extension host: ${name}`);
    } catch (error) {
      failed++;
      console.log(`FAIL in the extension host: ${name}\n${error.stack}`);
    }
  }
  if (failed > 0) throw new Error(`${failed} of ${Object.keys(tests).length} failed`);
};
