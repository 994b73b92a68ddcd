// The folders that the tests open. Their servers need Node and nothing else.

const server = `// An HTTP server that needs a moment, and prints in colours.
import * as http from 'node:http';
const name = process.argv[2];
console.log('\\x1b[36m' + name + '\\x1b[0m is getting up, see src/' + name + '.mjs:1:1');
setTimeout(() => {
  http.createServer((request, response) => {
    console.log(request.method + ' ' + request.url);
    response.end('hello from ' + name);
  }).listen(process.env.PORT, '127.0.0.1', () => console.log('listening on http://localhost:' + process.env.PORT));
}, 600);
`;

/** A web server that waits for an API. */
export function shop(web, api) {
  return {
    'devside.yaml': `version: 1
servers:
  web:
    command: npm run dev
    dir: frontend
    port: ${web}
    depends_on: [api]
  api:
    command: [node, src/api.mjs, api]
    dir: backend
    port: ${api}
    caches: [.cache]
`,
    'frontend/package.json': JSON.stringify({ name: 'frontend', private: true, scripts: { dev: 'node src/web.mjs web' } }, null, 2),
    'frontend/src/web.mjs': server,
    'backend/src/api.mjs': server,
    'backend/.cache/entry': 'x'.repeat(2048),
  };
}

/** A server that dies on a line of its own. */
export function broken(port) {
  return {
    'devside.yaml': `version: 1\nservers:\n  api:\n    command: [node, src/app.mjs]\n    port: ${port}\n    restart: {delay: 50ms, max_delay: 100ms, max_in_a_row: 2}\n`,
    'src/app.mjs': `import * as http from 'node:http';

function greeting(user) {
  return 'hello ' + user.name;
}

console.log(greeting(undefined));
http.createServer((request, response) => response.end('hello')).listen(process.env.PORT, '127.0.0.1');
`,
  };
}

/** A project without a devside.yaml. */
export function detected() {
  return {
    'package.json': JSON.stringify({ name: 'site', private: true, scripts: { dev: 'node src/web.mjs web' } }, null, 2),
    'src/web.mjs': server,
  };
}
