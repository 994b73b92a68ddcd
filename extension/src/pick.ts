/** Quick picks: of a server, with its state, port and age. */
import * as vscode from 'vscode';
import type { Project, Server } from './protocol';
import { describe, lookOf, stateWord } from './status';
import type { Target } from './tree';

interface ServerItem extends vscode.QuickPickItem { target: Target }

/** Asks for one of the servers that are wanted; undefined: nobody was chosen, or there is none. */
export async function pickServer(projects: readonly Project[], title: string, wanted: (s: Server) => boolean, none: string): Promise<Target | undefined> {
  const items = projects.flatMap((p) => p.servers.filter(wanted).map((s) => item(p, s, projects.length > 1)));
  if (items.length === 0) {
    void vscode.window.showInformationMessage(none);
    return undefined;
  }
  const chosen = await vscode.window.showQuickPick(items, { title, placeHolder: 'a server', matchOnDescription: true, matchOnDetail: true });
  return chosen?.target;
}

function item(p: Project, s: Server, named: boolean): ServerItem {
  return {
    label: `$(${lookOf(s.state).icon}) ${s.name}`,
    description: describe(s, Date.now()) || stateWord(s),
    ...(s.message === undefined ? {} : { detail: s.message }),
    ...(named ? { detail: [p.name, s.message].filter((x) => x !== undefined).join(' · ') } : {}),
    target: { root: p.root, server: s.name },
  };
}
