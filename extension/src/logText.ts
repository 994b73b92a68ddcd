/** What a log terminal prints, and the places in it that can be opened. Knows no editor. */
import type { LogLine } from './protocol';

/** How far a log was shown: the time of the last line, and how many of that time there were. */
export interface Mark { at: string; count: number }

/** The lines that are new to who has seen everything up to a mark; lines begin at the mark's time. */
export function after(mark: Mark | undefined, lines: readonly LogLine[]): LogLine[] {
  if (mark === undefined) return [...lines];
  let skip = mark.count;
  return lines.filter((l) => {
    if (l.at !== mark.at || skip === 0) return true;
    skip--;
    return false;
  });
}

export function markOf(mark: Mark | undefined, lines: readonly LogLine[]): Mark | undefined {
  for (const l of lines) mark = mark !== undefined && mark.at === l.at ? { at: l.at, count: mark.count + 1 } : { at: l.at, count: 1 };
  return mark;
}

const dim = '\x1b[2m';
const reset = '\x1b[0m';

/** Lines for a terminal: their own colours, and what devside says itself set apart. */
export function paint(lines: readonly LogLine[]): string {
  return lines.map((l) => (l.stream === 'devside' ? `${dim}── ${l.text}${reset}\r\n` : `${l.text}${reset}\r\n`)).join('');
}

export function skipped(n: number): string {
  return `${dim}── ${String(n)} bytes were left out: they came faster than they could be shown${reset}\r\n`;
}

/** A file and a line in a line of output. */
export interface Place { start: number; length: number; file: string; line: number; column: number }

/** file:line, file:line:column, and file(line,column) as tsc prints it; not in URLs. */
const pattern = /(?<![\w:/.@-])((?:[A-Za-z]:[\\/]|\.{0,2}[\\/])?(?:[\w@.+[\]-]+[\\/])*[\w@.+[\]-]+\.[A-Za-z]\w{0,7})(?::(\d{1,7})(?::(\d{1,5}))?|\((\d{1,7}),(\d{1,5})\))/g;

export function places(text: string): Place[] {
  return [...text.matchAll(pattern)].map((m) => ({
    start: m.index,
    length: m[0].length,
    file: m[1] ?? '',
    line: Number(m[2] ?? m[4] ?? 1),
    column: Number(m[3] ?? m[5] ?? 1),
  }));
}
