import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Deaths } from '../../src/deaths';
import { after, markOf, paint, places, type Mark } from '../../src/logText';
import type { LogLine } from '../../src/protocol';

const line = (at: string, text: string, stream: LogLine['stream'] = 'stdout'): LogLine => ({ at, stream, text, run: 1 });

test('a log that goes on shows each line once', () => {
  const all = [line('1', 'a'), line('2', 'b'), line('2', 'b'), line('2', 'c'), line('3', 'd')];
  // However the lines were cut into what was shown and what comes after.
  for (let cut = 0; cut <= all.length; cut++) {
    const mark = markOf(undefined, all.slice(0, cut));
    const since = all.filter((l) => mark === undefined || l.at >= mark.at); // what devside answers to `since`
    assert.deepEqual(after(mark, since), all.slice(cut), `cut at ${String(cut)}`);
  }
});

test('a mark counts the lines of its time over several answers', () => {
  let mark: Mark | undefined = markOf(undefined, [line('1', 'a')]);
  mark = markOf(mark, [line('1', 'b')]);
  assert.deepEqual(mark, { at: '1', count: 2 });
  assert.deepEqual(markOf(mark, []), mark);
});

test('lines keep their colours, and do not lend them to the next', () => {
  assert.equal(paint([line('1', '\x1b[31mred'), line('1', 'api started', 'devside')]), '\x1b[31mred\x1b[0m\r\n\x1b[2m── api started\x1b[0m\r\n');
});

test('places in a line', () => {
  const found = (text: string): string[] => places(text).map((p) => `${p.file}:${String(p.line)}:${String(p.column)}@${String(p.start)}+${String(p.length)}`);
  assert.deepEqual(found('    at handler (/srv/shop/api/src/app.js:12:5)'), ['/srv/shop/api/src/app.js:12:5@16+29']);
  assert.deepEqual(found('src/app/[id]/page.tsx:3'), ['src/app/[id]/page.tsx:3:1@0+23']);
  assert.deepEqual(found('src/a.ts(7,9): error TS2304'), ['src/a.ts:7:9@0+13']);
  assert.deepEqual(found('./x.go:1:2 and ../y.rs:3:4'), ['./x.go:1:2@0+10', '../y.rs:3:4@15+11']);
  assert.deepEqual(found('http://localhost:3000/a.js:1:1 at 12:30:45 version 1.2:3'), []);
  assert.deepEqual(found('C:\\shop\\a.ts:5:6'), ['C:\\shop\\a.ts:5:6@0+16']);
});

test('the sidecar is given up at the fifth death within three minutes', () => {
  const d = new Deaths();
  assert.deepEqual([0, 1, 2, 3, 4].map((n) => d.again(n * 1000)), [true, true, true, true, false]);
  const slow = new Deaths();
  for (let n = 0; n < 20; n++) assert.ok(slow.again((n * Deaths.within) / 4), `death ${String(n)}`);
});
