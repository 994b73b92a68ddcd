// What a person does in the workbench, one story after the other.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { broken, detected, shop } from './projects.mjs';
import { below, commandOf, freePort, startOf, until } from './workbench.mjs';

/** Opens a folder of two servers that do not run. */
async function opened(w, name) {
  const [web, api] = [await freePort(), await freePort()];
  const window = await w.open(w.folder(name, shop(web, api)));
  await window.status(/devside 0\/2/);
  return { window, web, api };
}

/** Starts everything, and agrees to the commands. */
async function start(window) {
  await window.palette('devside: Start All');
  await window.answer('Trust and Run');
}

async function started(w, name) {
  const all = await opened(w, name);
  await start(all.window);
  await all.window.status(/devside 2\/2/);
  return all;
}

/** Stops everything and closes the window. */
async function end(window) {
  await window.palette('devside: Stop All');
  await window.status(/devside 0\//);
  await window.close();
}

/** Somebody else's process that listens on a port, while a part of a story is told. */
async function whileHeld(port, tell) {
  const holder = spawn(process.execPath, ['-e', `require('net').createServer().listen(${port}, '127.0.0.1', () => console.log('here'))`], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => holder.once('exit', resolve));
  try {
    await new Promise((resolve) => holder.stdout.once('data', resolve));
    await tell(holder.pid, ended);
  } finally {
    holder.kill('SIGKILL');
    await ended;
  }
}

async function pids(window) {
  return Object.fromEntries((await window.project()).servers.map((s) => [s.name, s.pid ?? 0]));
}

/** Waits until servers are in a state, by what the command line says. */
async function are(window, state, ...names) {
  let seen;
  await until(`${names.join(', ')}: ${state}`, async () => {
    seen = (await window.project()).servers.map((s) => `${s.name} ${s.state}`);
    return names.every((n) => seen.includes(`${n} ${state}`));
  }, { within: 60_000, last: () => seen });
}

/** The sidecars below the workbench's server. */
function sidecars(w) {
  return below(w.server.pid).filter((pid) => commandOf(pid).includes('--stdio') && path.basename(commandOf(pid)[0] ?? '') === 'devside');
}

export const stories = {
  async 'a start asks first, shows each state, and ends ready'(w) {
    const { window, web, api } = await opened(w, 'start');
    await window.palette('devside: Start All');
    const question = await window.dialog().innerText();
    for (const part of ['Run these commands of start?', 'web: npm run dev', 'the script dev: node src/web.mjs web', 'in frontend', 'api: node src/api.mjs api']) {
      assert.ok(question.includes(part), `the question has no ${part}: ${question}`);
    }
    await window.screenshot('trust');
    await window.answer('Cancel');
    assert.deepEqual((await window.project()).servers.map((s) => s.state), ['stopped', 'stopped'], 'something ran without a yes');

    await window.palette('devside: Start All');
    await window.answer('Trust and Run');
    await window.status(/devside 2\/2/);
    const said = (await window.said()).join(' | ');
    assert.match(said, /0\/2.*\| .*1\/2.*\| .*2\/2/, 'the item went through its states');
    assert.equal(await (await fetch(`http://127.0.0.1:${web}/`)).text(), 'hello from web');
    assert.match((await window.health().locator('a').getAttribute('aria-label')) ?? '', /2 of 2 servers ready/);

    await window.health().click();
    await window.row('web').waitFor();
    await window.row(`:${api}`).waitFor();
    await window.screenshot('start');
    await window.page.keyboard.press('Escape');
    await window.palette('devside: Stop All');
    await window.status(/devside 0\/2/);
    await assert.rejects(fetch(`http://127.0.0.1:${web}/`));
    await window.close();
  },

  async 'a port that is taken is mended by its quick-fix'(w) {
    const { window, api } = await opened(w, 'taken');
    await whileHeld(api, async (pid, ended) => {
      await start(window);
      await window.status(/api: port taken/);
      await window.toast('is taken by node').waitFor();
      await window.dismissToasts();
      const row = await window.problem(`port ${api} is taken by node (pid ${pid}`);
      assert.match((await row.getAttribute('aria-label')) ?? '', /^Error: [^]*at line 11 and character 11\./);
      await row.dblclick();
      await window.page.locator('.squiggly-error').first().waitFor();
      await window.quickFix(`Stop node (pid ${pid}`);
      await window.screenshot('problems');
      await window.page.keyboard.press('Enter'); // it is the first, and so the focused one
      await ended;
      await window.status(/devside 2\/2/);
      await row.waitFor({ state: 'detached' });
    });
    await end(window);
  },

  async 'a port is freed from the palette, after a look at who holds it'(w) {
    const { window, api } = await opened(w, 'free');
    await whileHeld(api, async (pid, ended) => {
      await window.palette('devside: Free a Port…');
      await window.choose(String(api));
      assert.match(await window.dialog().innerText(), new RegExp(`Stop node \\(pid ${pid}`));
      await window.answer('Stop It');
      await ended;
    });
    await window.toast(`Port ${api} is free.`).waitFor();
    await window.close();
  },

  async 'a crash is shown on its line, and a save mends it'(w) {
    const folder = w.folder('crash', broken(await freePort()));
    const window = await w.open(folder);
    await window.status(/devside 0\/1/);
    await start(window);
    await window.status(/api: crash loop/);
    await window.dismissToasts();
    const row = await window.problem('crash-site');
    await row.dblclick();
    await window.page.locator('.tab.active[data-resource-name="app.mjs"]').waitFor();
    await until('the cursor on line 4', async () => /Ln 4, Col/.test(await window.page.locator('[id="status.editor.selection"]').innerText()), {
      last: () => window.page.locator('[id="status.editor.selection"]').innerText(),
    });
    // The fix for the user's own source, whose text is not sent to devside.
    await window.quickFix('Restart api');
    await window.page.keyboard.press('Escape');
    fs.writeFileSync(path.join(folder, 'src/app.mjs'), fs.readFileSync(path.join(folder, 'src/app.mjs'), 'utf8').replace('greeting(undefined)', "greeting({name: 'ada'})"));
    await window.status(/devside 1\/1/);
    await row.waitFor({ state: 'detached' });
    await end(window);
  },

  async 'the view starts, restarts and stops, and has what is wrong'(w) {
    const { window, api } = await started(w, 'view');
    await window.view();
    const before = await pids(window);
    const row = window.serverRow('api');
    await row.waitFor();
    await until('port and memory in the row', async () => new RegExp(`:${api} · .* [KM]B · `).test(await row.innerText()), { last: () => row.innerText() });
    await window.screenshot('view');
    await row.hover();
    await row.locator('a[aria-label="Restart Server…"]').click();
    await until('another process of api', async () => ![0, before.api].includes((await pids(window)).api));
    await are(window, 'ready', 'api', 'web');
    assert.equal((await pids(window)).web, before.web, 'web was restarted, too');
    await row.hover();
    await row.locator('a[aria-label="Stop Server…"]').click();
    await are(window, 'stopped', 'api');
    // Somebody else takes its port meanwhile: the reason is beneath the row.
    await whileHeld(api, async () => {
      await row.hover();
      await row.locator('a[aria-label="Start Server…"]').click();
      await window.page.locator('.sidebar .monaco-list-row', { hasText: `port ${api} is taken by node` }).waitFor();
    });
    await are(window, 'ready', 'api'); // by itself: the port is free
    await window.palette('devside: Stop All');
    await are(window, 'stopped', 'api', 'web');
    await window.close();
  },

  async 'servers outlive a reload, and their log goes on'(w) {
    const { window, api } = await started(w, 'reload');
    const before = await pids(window);
    await window.page.reload({ waitUntil: 'domcontentloaded' });
    await window.page.locator('.monaco-workbench').waitFor({ timeout: 60_000 });
    await window.status(/devside 2\/2/);
    assert.deepEqual(await pids(window), before);

    await window.palette('devside: Show Logs…');
    await window.choose('api');
    await window.prints('api is getting up');
    await fetch(`http://127.0.0.1:${api}/after-the-reload`);
    await window.prints('GET /after-the-reload');
    await window.screenshot('logs');

    // Another terminal is the active one: the log is left, and goes on where it was left.
    await window.palette('devside: Show Logs…');
    await window.choose('web');
    await window.prints('web is getting up');
    await fetch(`http://127.0.0.1:${api}/while-hidden`);
    await window.palette('devside: Show Logs…');
    await window.choose('api');
    await window.prints('GET /while-hidden');
    assert.equal((await window.terminalText()).split('GET /after-the-reload').length, 2, 'a line is there once');

    // A path in it opens.
    await window.followLink('src/api.mjs:1:1', () => window.page.locator('.tab.active[data-resource-name="api.mjs"]').isVisible());
    await end(window);
  },

  async 'two windows of one project agree, and the last to close ends it'(w) {
    const { window } = await started(w, 'two');
    const second = await w.open(window.folder);
    await second.status(/devside 2\/2/);
    await second.palette('devside: Stop Server…');
    await second.choose('web');
    await window.status(/devside 1\/2/);
    await second.palette('devside: Start All');
    await window.status(/devside 2\/2/);
    const servers = Object.values(await pids(window)).map((pid) => [pid, startOf(pid)]);
    assert.equal(servers.length, 2);
    await window.close();
    await second.status(/devside 2\/2/);
    for (const [pid, start] of servers) assert.equal(startOf(pid), start, 'a server ended with the first window');
    await second.close();
    for (const [pid, start] of servers) await until(`the end of server ${pid}`, () => startOf(pid) !== start, { within: 60_000 });
  },

  async 'a sidecar that is killed comes back, and the servers never left'(w) {
    const before = new Set(sidecars(w));
    const { window, api } = await started(w, 'killed');
    const servers = await pids(window);
    await window.palette('devside: Show Logs…');
    await window.choose('api');
    await window.prints('api is getting up');
    const kill = async () => {
      const ours = () => sidecars(w).filter((p) => !before.has(p));
      await until('a sidecar', () => ours().length > 0);
      const [pid, ...others] = ours();
      assert.deepEqual(others, [], 'one sidecar for each window');
      const start = startOf(pid);
      process.kill(pid, 'SIGKILL');
      await until('the end of the sidecar', () => startOf(pid) !== start);
    };
    // The item says something else in between, and then the same again.
    const back = async () => {
      const heard = (await window.said()).length;
      await kill();
      await until('the sidecar to be back', async () => {
        const said = await window.said();
        return said.length > heard && /2\/2/.test(said.at(-1));
      }, { last: () => window.said() });
    };
    for (let times = 1; times <= 2; times++) {
      await back();
      await window.status(/devside 2\/2/);
      assert.deepEqual(await pids(window), servers);
      await fetch(`http://127.0.0.1:${api}/after-kill-${times}`);
      await window.prints(`GET /after-kill-${times}`);
    }
    await window.palette('devside: Restart Sidecar');
    await window.palette('devside: Restart Server…');
    await window.choose('api');
    await until('another process of api', async () => ![0, servers.api].includes((await pids(window)).api));
    await window.status(/devside 2\/2/);
    // Whoever dies again and again is not started for ever, but by a person.
    for (let times = 1; times <= 4; times++) await back();
    await kill();
    await window.toast('five times within three minutes').waitFor();
    assert.match((await window.health().locator('a').getAttribute('aria-label')) ?? '', /devside does not run/);
    await window.dismissToasts();
    await window.palette('devside: Restart Sidecar');
    await window.palette('devside: Start All'); // they have ended where that took longer than they linger
    await window.status(/devside 2\/2/);
    await end(window);
  },

  async 'changed commands are shown again before they run'(w) {
    const { window } = await started(w, 'changed');
    // A script that a command names is part of the command.
    const script = path.join(window.folder, 'frontend/package.json');
    fs.writeFileSync(script, fs.readFileSync(script, 'utf8').replace('web.mjs web', 'web.mjs other'));
    await window.palette('devside: Restart Server…');
    await window.choose('web');
    assert.match(await window.dialog().innerText(), /the script dev: node src\/web\.mjs other/);
    const before = await pids(window);
    await window.answer('Cancel');
    assert.deepEqual(await pids(window), before, 'something ran without a yes');
    // And one in devside.yaml is told at once.
    const config = path.join(window.folder, 'devside.yaml');
    fs.writeFileSync(config, fs.readFileSync(config, 'utf8').replace('api.mjs, api]', 'api.mjs, renamed]'));
    const toast = window.toast('The commands of changed have changed');
    await toast.waitFor();
    await toast.getByRole('button', { name: 'Review Commands' }).click();
    assert.match(await window.dialog().innerText(), /node src\/api\.mjs renamed/);
    await window.answer('Trust and Run');
    await window.palette('devside: Restart All');
    await until('the new command', async () => commandOf((await window.server('api')).pid ?? 0).includes('renamed'));
    await window.status(/devside 2\/2/);
    await end(window);
  },

  async 'caches are shown before they go'(w) {
    const { window } = await opened(w, 'caches');
    await window.palette('devside: Clear Caches…');
    await window.choose('All of caches');
    assert.match(await window.dialog().innerText(), /backend\/\.cache: 1 files, 2 KB/);
    await window.answer('Clear');
    await window.answer('Trust and Run');
    await window.toast('Cleared backend/.cache').waitFor();
    assert.ok(!fs.existsSync(path.join(window.folder, 'backend/.cache')));
    await window.close();
  },

  async 'without a devside.yaml it is made of what was found'(w) {
    const window = await w.open(w.folder('found', detected()));
    await window.status(/devside/);
    await window.view();
    await window.serverRow('web').or(window.page.locator('.sidebar .monaco-list-row[aria-label^="server "]')).first().waitFor();
    await window.palette('devside: Create devside.yaml');
    await window.page.locator('.tab.active[data-resource-name="devside.yaml"]').waitFor();
    assert.match(fs.readFileSync(path.join(window.folder, 'devside.yaml'), 'utf8'), /command: npm run dev/);
    await window.close();
  },

  async 'a folder without servers says what to do, and one without anything is left alone'(w) {
    const bare = await w.open(w.folder('bare', { 'notes.txt': 'nothing to run' }));
    await bare.view();
    await bare.page.locator('.sidebar .welcome-view-content', { hasText: 'No servers were found' }).waitFor();
    assert.equal(await bare.statusText(), '');
    await bare.page.locator('.sidebar .welcome-view-content a.monaco-button', { hasText: 'Create devside.yaml' }).click();
    await bare.page.locator('.tab.active[data-resource-name="devside.yaml"]').waitFor();
    await until('an example', async () => /servers:/.test(await bare.page.locator('.editor-instance .view-lines').innerText()));
    assert.ok(!fs.existsSync(path.join(bare.folder, 'devside.yaml')), 'it is the person\'s to save');
    // A devside.yaml that appears is looked at.
    fs.writeFileSync(path.join(bare.folder, 'devside.yaml'), `version: 1\nservers:\n  job:\n    command: [sleep, "1000"]\n`);
    await bare.status(/devside 0\/1/);
    await bare.close();
  },
};

/** In a workbench of their own: what is slow, or counts something. */
export const more = {
  async 'what other extensions see, in the extension host'(w) {
    const folder = w.folder('api', shop(await freePort(), await freePort()));
    const uri = (p) => `vscode-remote://127.0.0.1:${w.port}${p}`;
    const payload = [
      ['extensionDevelopmentPath', uri(w.installed())],
      ['extensionTestsPath', uri(new URL('api.cjs', import.meta.url).pathname)],
      ['skipWelcome', 'true'],
    ];
    let exited;
    const code = new Promise((resolve) => (exited = resolve));
    const window = await w.open(folder, `&payload=${encodeURIComponent(JSON.stringify(payload))}`, async (page) => {
      await page.exposeBinding('codeAutomationLog', (_, type, args) => {
        const text = args.join(' ');
        if (/^(ok  |FAIL) in the extension host/.test(text)) console.log(text); // and not what the editor has to say
      });
      await page.exposeBinding('codeAutomationExit', (_, c) => exited(c));
    });
    assert.equal(await code, 0);
    await window.close();
  },

  async 'the real project, Next.js and Express'(w) {
    const from = process.env.WORKBENCH_PROJECT;
    assert.ok(from, 'WORKBENCH_PROJECT names no prepared project');
    const [web, api] = [await freePort(), await freePort()];
    const folder = w.folder('real', {});
    fs.cpSync(from, folder, { recursive: true, verbatimSymlinks: true });
    fs.writeFileSync(path.join(folder, 'devside.yaml'), `version: 1
servers:
  web:
    command: npm run dev
    dir: frontend
    port: ${web}
    env: {NEXT_TELEMETRY_DISABLED: "1"}
    depends_on: [api]
    ready: {http: /, within: 180s, timeout: 120s}
  api:
    command: npm run dev
    dir: api
    port: ${api}
    ready: {http: /api/health, within: 60s}
`);
    const window = await w.open(folder);
    await window.status(/devside 0\/2/);
    await start(window);
    await window.status(/devside 2\/2/, 170_000);
    assert.match(await (await fetch(`http://127.0.0.1:${web}/`)).text(), /<html/);
    // A page that does not compile is an error on its line, and goes when it is mended.
    const source = path.join(folder, 'frontend/app/cart/page.tsx');
    const page = 'export default function Cart() {\n  return <p>two apples</p>;\n}\n';
    const answer = async () => (await fetch(`http://127.0.0.1:${web}/cart`).catch(() => undefined))?.status;
    fs.mkdirSync(path.dirname(source));
    fs.writeFileSync(source, page.replace('return', 'return (('));
    await until('the page to be found and refused', async () => (await answer()) === 500);
    const row = await window.problem('crash-site');
    assert.match((await window.page.locator('.markers-panel-container').innerText()).replaceAll('\u00a0', ' '), /page\.tsx/);
    fs.writeFileSync(source, page);
    // Next 16.4 sometimes goes on answering with the page that did not compile, however
    // often the file is saved. The error may stay then, and a restart is what helps.
    const mended = async () => (await answer()) === 200;
    await until('the page to be compiled', mended, { within: 15_000 }).catch(async () => {
      await window.palette('devside: Restart Server…');
      await window.choose('web');
      await until('the page after a restart', mended, { within: 90_000 });
    });
    await until('the error to go', async () => (await row.count()) === 0);
    await end(window);
  },

  async 'how long its activation takes'(w) {
    // By the editor's own account, beside the other extensions of the same window.
    const rounds = Number(process.env.WORKBENCH_ROUNDS ?? 1);
    const times = {};
    const folder = w.folder('activation', shop(await freePort(), await freePort()));
    for (let round = 0; round < rounds; round++) {
      const window = await w.open(folder);
      await window.status(/devside 0\/2/);
      await window.palette('Developer: Show Running Extensions');
      const rows = window.page.locator('.runtime-extensions-editor .monaco-list-row');
      await rows.filter({ hasText: 'devside' }).first().waitFor();
      for (const text of await rows.allInnerTexts()) {
        const [, name] = /^\s*(\S.*)$/m.exec(text) ?? [];
        const ms = /Activation[^:]*: (\d+)ms/.exec(text.replaceAll('\u00a0', ' '))?.[1];
        if (name !== undefined && ms !== undefined) (times[name.trim()] ??= []).push(Number(ms));
      }
      await window.close();
    }
    const median = (all) => [...all].sort((a, b) => a - b)[Math.floor((all.length - 1) / 2)];
    assert.equal(times.devside?.length, rounds, `the editor says no time: ${JSON.stringify(times)}`);
    for (const [name, all] of Object.entries(times).sort()) console.log(`     activation of ${name}: ${median(all)} ms (${all.join(', ')})`);
    fs.writeFileSync(path.join(w.out, 'activation.json'), `${JSON.stringify({ unit: 'ms', activation: times })}\n`);
  },
};

/** With the workbench's own question of trust, and a folder that nobody has trusted. */
export const restricted = {
  async 'an untrusted workspace is shown, and nothing of it runs'(w) {
    const [web, api] = [await freePort(), await freePort()];
    const window = await w.open(w.folder('strange', { ...shop(web, api), 'devside.yaml': `${shop(web, api)['devside.yaml']}    prot: 1\n` }));
    await window.page.locator('.monaco-dialog-box', { hasText: 'trust the authors' }).waitFor();
    await window.answer(/No, I don't trust/);
    await window.problem('unknown key');
    await window.palette('devside: Start All');
    await window.toast('This workspace is not trusted').waitFor();
    await window.screenshot('restricted');
    // Nor when its configuration would start.
    await window.dismissToasts();
    fs.writeFileSync(path.join(window.folder, 'devside.yaml'), shop(web, api)['devside.yaml']);
    await window.status(/devside 0\/2/);
    await window.palette('devside: Start All');
    await window.toast('This workspace is not trusted').waitFor();
    assert.deepEqual((await window.project()).servers.filter((s) => (s.pid ?? 0) > 0), []);
    await assert.rejects(fetch(`http://127.0.0.1:${api}/`));
    await window.close();
  },
};
