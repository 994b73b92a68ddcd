// Runs the stories: node run.mjs VSIX [words of a story's name…]. Exit code 1 if one failed.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { more, restricted, stories } from './ui.mjs';
import { Workbench } from './workbench.mjs';

const [vsix, ...words] = process.argv.slice(2);
const out = path.resolve(process.env.WORKBENCH_OUT ?? 'workbench-out');
fs.mkdirSync(out, { recursive: true });
const patience = 240_000; // of one story
let failed = 0;
let ran = 0;

// Whoever interrupts the run leaves nothing behind, either.
let running;
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    (running?.stop() ?? Promise.resolve()).finally(() => process.exit(130));
  });
}

async function all(set, options) {
  const wanted = Object.entries(set).filter(([name]) => words.every((w) => name.includes(w)));
  if (wanted.length === 0) return;
  const w = await Workbench.start({ vsix: path.resolve(vsix), out, ...options });
  running = w;
  try {
    for (const [name, story] of wanted) {
      const began = Date.now();
      const seconds = () => ((Date.now() - began) / 1000).toFixed(1);
      let timer;
      ran++;
      try {
        const late = new Promise((_, reject) => {
          timer = setTimeout(() => reject(new Error(`not over after ${patience / 1000} s`)), patience);
        });
        await Promise.race([story(w), late]);
        console.log(`ok   ${name} (${seconds()} s)`);
      } catch (error) {
        failed++;
        console.log(`FAIL ${name} (${seconds()} s)\n${error.stack}`);
        console.log(w.logged().slice(-1500));
        for (const [i, window] of w.windows.entries()) {
          if (window.page.isClosed()) continue;
          await window.screenshot(`failed-${ran}-${i}`).catch(() => undefined);
          console.log(`the status bar said: ${JSON.stringify(await window.said().catch(() => []))}`);
        }
      } finally {
        clearTimeout(timer);
        for (const window of w.windows) if (!window.page.isClosed()) await window.close().catch(() => undefined);
      }
    }
  } finally {
    running = undefined;
    await w.stop();
  }
}

await all(stories, {});
await all(more, {});
await all(restricted, { trust: true });
if (process.env.WORKBENCH_IMAGES === '1' && failed === 0) {
  for (const name of ['trust', 'start', 'problems', 'view', 'logs']) {
    const from = path.join(out, `${name}.png`);
    if (fs.existsSync(from)) fs.copyFileSync(from, new URL(`../../images/${name}.png`, import.meta.url));
  }
}
console.log(`${ran - failed} of ${ran} stories; pictures are in ${out}`);
process.exit(failed === 0 && ran > 0 ? 0 : 1);
