// A real VS Code workbench: code-server with the packaged extension, in Chromium.
// Everything lives in one temporary folder and ends with stop(). Waits have a
// deadline, and say what they saw last.
import { spawn, spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import * as fs from 'node:fs';
import * as net from 'node:net';
import * as os from 'node:os';
import * as path from 'node:path';

/** Where code-server and playwright-core are, see install.sh. */
export const tools = process.env.WORKBENCH_TOOLS ?? '';
const { chromium } = createRequire(path.join(tools, 'package.json'))('playwright-core');

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Asks until the answer is true-ish, and returns it. last() is what a failure shows. */
export async function until(what, ask, { within = 30_000, last } = {}) {
  const end = Date.now() + within;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`still waiting for ${what}${last === undefined ? '' : `; last seen: ${JSON.stringify(await last())}`}`);
    await pause(50);
  }
}

export function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer().once('error', reject).listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** The start time of a process, in ticks: with the pid it is its identity. Undefined: it has ended. */
export function startOf(pid) {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

/** The processes below one, by the kernel's own lists. */
export function below(pid) {
  const found = [];
  const walk = (at) => {
    let tasks = [];
    try {
      tasks = fs.readdirSync(`/proc/${at}/task`);
    } catch {
      return; // it has ended
    }
    for (const task of tasks) {
      let children = '';
      try {
        children = fs.readFileSync(`/proc/${at}/task/${task}/children`, 'utf8');
      } catch {
        continue;
      }
      for (const child of children.trim().split(' ').filter((c) => c !== '').map(Number)) {
        found.push(child);
        walk(child);
      }
    }
  };
  walk(pid);
  return found;
}

export function commandOf(pid) {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
  } catch {
    return [];
  }
}

const settings = {
  'workbench.startupEditor': 'none', 'workbench.tips.enabled': false, 'workbench.colorTheme': 'Default Dark Modern', 'window.commandCenter': false,
  'remote.autoForwardPorts': false, // its toasts would cover ours
  'devside.linger': '20s', // a busy machine may take more than 10 s to load a window again
  'git.enabled': false, 'telemetry.telemetryLevel': 'off', 'update.mode': 'none', 'extensions.autoUpdate': false,
  'extensions.autoCheckUpdates': false, 'extensions.ignoreRecommendations': true,
  'terminal.integrated.gpuAcceleration': 'off', // lines of a terminal are elements then
  'editor.minimap.enabled': false, 'chat.commandCenter.enabled': false, 'chat.disableAIFeatures': true, 'workbench.secondarySideBar.defaultVisibility': 'hidden',
};

export class Workbench {
  static async start({ vsix, trust = false, more = {}, out }) {
    const w = new Workbench();
    w.dir = fs.mkdtempSync(path.join(os.tmpdir(), 'devside-workbench-'));
    w.out = out;
    w.windows = [];
    const at = (name) => {
      const dir = path.join(w.dir, name);
      fs.mkdirSync(dir, { recursive: true });
      return dir;
    };
    w.home = at('home');
    w.state = at('state');
    const data = at('data');
    at('data/User');
    fs.writeFileSync(path.join(data, 'User/settings.json'), JSON.stringify({ ...settings, 'security.workspace.trust.enabled': trust, ...more }));
    const env = {
      ...process.env, HOME: w.home, XDG_CONFIG_HOME: path.join(w.home, '.config'), XDG_DATA_HOME: path.join(w.home, '.local'), XDG_STATE_HOME: path.join(w.home, '.state'),
      XDG_RUNTIME_DIR: w.home, EXTENSIONS_GALLERY: '{"serviceUrl":""}', DEVSIDE_HOME: w.state, DEVSIDE_ALLOW_ROOT: '1',
    };
    delete env.VSCODE_IPC_HOOK_CLI;
    if (fs.existsSync(path.join(tools, 'node-bin'))) env.PATH = `${path.join(tools, 'node-bin')}:${env.PATH}`;
    const program = path.join(tools, 'node_modules/.bin/code-server');
    const common = ['--user-data-dir', data, '--extensions-dir', at('extensions'), '--config', path.join(w.home, 'config.yaml')];
    if (vsix !== undefined) {
      const done = spawnSync(program, [...common, '--install-extension', vsix], { env, encoding: 'utf8', timeout: 60_000 });
      if (done.status !== 0) throw new Error(`install ${vsix}: ${done.stdout}${done.stderr}`);
    }
    w.port = await freePort();
    w.log = path.join(out, `code-server${trust ? '-trust' : ''}.log`);
    const log = fs.openSync(w.log, 'w');
    const flags = ['--auth', 'none', '--bind-addr', `127.0.0.1:${w.port}`, '--disable-telemetry', '--disable-update-check', '--disable-getting-started-override'];
    w.server = spawn(program, [...common, ...flags, ...(trust ? [] : ['--disable-workspace-trust'])], { env, stdio: ['ignore', log, log], detached: true });
    w.serverStart = startOf(w.server.pid);
    fs.closeSync(log);
    try {
      await until('the workbench\'s server', async () => {
        if (w.server.exitCode !== null) throw new Error(`code-server ended: ${fs.readFileSync(w.log, 'utf8')}`);
        try {
          return (await fetch(`http://127.0.0.1:${w.port}/healthz`)).ok;
        } catch {
          return false;
        }
      });
      w.browser = await chromium.launchPersistentContext(at('browser'), {
        executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true, viewport: { width: 1280, height: 800 },
        args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
      });
      w.browser.setDefaultTimeout(30_000);
    } catch (error) {
      await w.stop();
      throw error;
    }
    return w;
  }

  /** A folder with these files. */
  folder(name, files) {
    const dir = path.join(this.dir, name);
    for (const [file, text] of Object.entries(files)) {
      fs.mkdirSync(path.dirname(path.join(dir, file)), { recursive: true });
      fs.writeFileSync(path.join(dir, file), text);
    }
    fs.mkdirSync(dir, { recursive: true });
    return dir;
  }

  /** A window with a folder open. */
  async open(folder, query = '', before = async () => undefined) {
    const page = await this.browser.newPage();
    await before(page);
    const window = new Window(page, folder, this);
    this.windows.push(window);
    await page.addInitScript(() => {
      // Every text that the status bar's item has had.
      globalThis.said = [];
      const look = () => {
        const text = document.getElementById('devside.devside.health')?.textContent?.trim();
        if (text !== undefined && globalThis.said.at(-1) !== text) globalThis.said.push(text);
      };
      new MutationObserver(look).observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
    });
    await page.goto(`http://127.0.0.1:${this.port}/?folder=${encodeURIComponent(folder)}${query}`, { waitUntil: 'domcontentloaded' });
    await page.locator('.monaco-workbench').waitFor({ timeout: 60_000 });
    return window;
  }

  /** The folder of the installed extension. */
  installed() {
    const dir = path.join(this.dir, 'extensions');
    return path.join(dir, fs.readdirSync(dir).find((f) => f.startsWith('devside.devside-')));
  }

  /** What the extension and its sidecars have logged. */
  logged() {
    const files = fs.readdirSync(path.join(this.dir, 'data/logs'), { recursive: true }).filter((f) => /-devside\.log$/.test(f));
    return files.map((f) => `${f}:\n${fs.readFileSync(path.join(this.dir, 'data/logs', f), 'utf8')}`).join('\n');
  }

  /** Ends everything. Hubs and servers end by themselves when their last window has gone, and are waited for. */
  async stop() {
    await this.browser?.close().catch(() => undefined);
    await endGroup(this.server.pid, this.serverStart);
    await until('the end of everything that was started here', () => this.left().length === 0, { within: 90_000, last: () => this.left() });
    fs.rmSync(this.dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }

  /** Processes that have this workbench's folder of devside's state in their environment. */
  left() {
    const found = [];
    for (const pid of fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      try {
        if (fs.readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(`DEVSIDE_HOME=${this.state}`)) found.push(commandOf(pid).join(' '));
      } catch {
        // it has ended
      }
    }
    return found;
  }
}

/** Ends a group of ours: its leader is our child, whose pid is taken as long as we have not read its exit. */
async function endGroup(pid, start) {
  const signal = (name) => {
    try {
      if (startOf(pid) === start) process.kill(-pid, name);
    } catch {
      // it has ended
    }
  };
  signal('SIGTERM');
  await until('the end of code-server', () => startOf(pid) !== start, { within: 10_000 }).catch(() => signal('SIGKILL'));
}

export class Window {
  constructor(page, folder, workbench) {
    this.page = page;
    this.folder = folder;
    this.workbench = workbench;
  }

  health() {
    return this.page.locator('[id="devside.devside.health"]');
  }

  async statusText() {
    return (await this.health().count()) === 0 ? '' : ((await this.health().textContent()) ?? '').trim();
  }

  /** Waits until the status bar's item reads like this. */
  async status(pattern, within = 30_000) {
    await until(`${pattern} in the status bar`, async () => pattern.test(await this.statusText()), { within, last: () => this.statusText() });
  }

  /** Every text that the item has had. */
  said() {
    return this.page.evaluate(() => globalThis.said);
  }

  /** Runs a command of the palette. What opens late takes the focus, and the palette goes with it: it is asked for again. */
  async palette(text) {
    const input = this.page.locator('.quick-input-widget .quick-input-box input');
    await until(`the palette with ${text}`, async () => {
      try {
        if (!(await input.isVisible()) || !(await input.inputValue()).startsWith('>')) {
          await this.page.keyboard.press('F1');
          await pause(100);
          return false;
        }
        await input.fill(`>${text}`, { timeout: 1000 });
        await this.row(text).waitFor({ timeout: 5000 });
        return await input.evaluate((element) => element === document.activeElement);
      } catch {
        return false;
      }
    });
    await this.page.keyboard.press('Enter'); // once: it is not known whether one that timed out was taken
  }

  /** A row of the quick pick. */
  row(text) {
    return this.page.locator('.quick-input-list .monaco-list-row', { hasText: text }).first();
  }

  async choose(text) {
    await this.row(text).waitFor();
    await this.row(text).click();
  }

  dialog() {
    return this.page.locator('.monaco-dialog-box');
  }

  async answer(button) {
    await this.dialog().getByRole('button', { name: button }).click();
    await this.dialog().waitFor({ state: 'detached' });
  }

  toast(text) {
    return this.page.locator('.notifications-toasts .notification-list-item', { hasText: text }).first();
  }

  async dismissToasts() {
    await this.palette('Notifications: Clear All Notifications');
  }

  /** Shows the Problems panel, and waits for a row. */
  async problem(text, within = 60_000) {
    const panel = this.page.locator('.markers-panel-container');
    if (!(await panel.isVisible().catch(() => false))) await this.page.keyboard.press('Control+Shift+M');
    await panel.waitFor();
    const row = panel.locator('.monaco-list-row', { hasText: text }).first();
    await row.waitFor({ timeout: within });
    return row;
  }

  /** Has the editor show what it offers at the cursor, until this is among it. */
  async quickFix(text) {
    const shown = this.page.locator('.action-widget:not(.action-list-submenu-panel)');
    const offered = async () => ((await shown.count()) === 0 ? '' : shown.innerText());
    await until(`the quick-fix ${text}`, async () => {
      if ((await offered()) === '') await this.page.keyboard.press('Control+.');
      await pause(200);
      return (await offered()).includes(text);
    }, { last: offered });
  }

  /** Shows devside's view. */
  async view() {
    const tab = this.page.locator('.activitybar .action-item a[aria-label^="devside"]');
    const shown = this.page.locator('.sidebar .composite.title', { hasText: /devside/i });
    if (!(await shown.isVisible().catch(() => false))) await tab.click();
    await shown.waitFor();
  }

  serverRow(name) {
    return this.page.locator('.sidebar .monaco-list-row[aria-label^="server ' + name + '"]');
  }

  terminalText() {
    return this.page.locator('.terminal-wrapper.active .xterm-rows').innerText().then((t) => t.replaceAll('\u00a0', ' '), () => '');
  }

  /** Waits until the active terminal shows this. */
  async prints(text) {
    await until(`${text} in the terminal`, async () => (await this.terminalText()).includes(text), { last: () => this.terminalText() });
  }

  /** Follows a link in the active terminal, as a mouse does, until something has opened. */
  async followLink(text, opened) {
    const at = await this.page.evaluate((wanted) => {
      const rows = [...document.querySelectorAll('.terminal-wrapper.active .xterm-rows > div')];
      for (const row of rows) {
        for (const span of row.querySelectorAll('span')) {
          const start = span.textContent.indexOf(wanted);
          if (start < 0) continue;
          const range = document.createRange();
          range.setStart(span.firstChild, start);
          range.setEnd(span.firstChild, start + wanted.length);
          const box = range.getBoundingClientRect();
          return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
        }
      }
      return undefined;
    }, text);
    if (at === undefined) throw new Error(`${text} is not in the terminal: ${await this.terminalText()}`);
    // The editor looks for links when the mouse comes, and takes a moment for it.
    await until(`the link ${text}`, async () => {
      await this.page.mouse.move(at.x - 3, at.y);
      await this.page.mouse.move(at.x, at.y);
      await this.page.keyboard.down('Control');
      await this.page.mouse.click(at.x, at.y);
      await this.page.keyboard.up('Control');
      await pause(200);
      return opened();
    });
  }

  /** What devside itself says, by the command line, of the folder of this window. */
  async project() {
    const program = process.env.DEVSIDE_BINARY;
    const done = spawnSync(program, ['status', '-o', 'json', '--root', this.folder], {
      encoding: 'utf8', timeout: 30_000, env: { ...process.env, DEVSIDE_HOME: this.workbench.state, DEVSIDE_ALLOW_ROOT: '1' },
    });
    if (done.stdout === '') throw new Error(`devside status: ${done.stderr}`);
    return JSON.parse(done.stdout);
  }

  async server(name) {
    return (await this.project()).servers.find((s) => s.name === name);
  }

  async screenshot(name) {
    await this.page.screenshot({ path: path.join(this.workbench.out, `${name}.png`) });
  }

  async close() {
    await this.page.close();
  }
}
