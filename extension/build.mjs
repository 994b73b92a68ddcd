// Bundles the extension into dist/extension.js and dist/languageClient.js; with --tests, the unit tests into dist/test.
import * as esbuild from 'esbuild';
import * as fs from 'node:fs';

fs.rmSync('dist', { recursive: true, force: true });
const common = { bundle: true, platform: 'node', target: 'node20', format: 'cjs', logLevel: 'warning' };
if (process.argv.includes('--tests')) {
  const tests = fs.readdirSync('test/unit').filter((f) => f.endsWith('.test.ts')).map((f) => `test/unit/${f}`);
  await esbuild.build({ ...common, entryPoints: tests, outdir: 'dist/test', sourcemap: 'inline' });
} else {
  // The second file is loaded by the first when a sidecar is started.
  await esbuild.build({ ...common, entryPoints: ['src/extension.ts', 'src/languageClient.ts'], outdir: 'dist', external: ['vscode', './languageClient'], supported: { 'dynamic-import': false }, minify: true });
  fs.copyFileSync('../cmd/devside/devside.schema.json', 'dist/devside.schema.json');
}
