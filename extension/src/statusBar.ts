/** Draws what status.ts says in the status bar. */
import * as vscode from 'vscode';
import type { Projects } from './projects';
import { bar, type Alarm } from './status';

const backgrounds: Record<Alarm, vscode.ThemeColor | undefined> = {
  none: undefined,
  warning: new vscode.ThemeColor('statusBarItem.warningBackground'),
  error: new vscode.ThemeColor('statusBarItem.errorBackground'),
};

/** The commands that a link in the tooltip may run. */
const linked = ['devside.startServer', 'devside.stopServer', 'devside.restartServer', 'devside.showLogs'];

export function statusBar(projects: Projects): vscode.Disposable {
  const item = vscode.window.createStatusBarItem('health', vscode.StatusBarAlignment.Left, 50);
  item.name = 'devside';
  item.command = 'devside.showStatus';
  const draw = (): void => {
    const b = bar(projects.condition());
    if (b === undefined) {
      item.hide();
      return;
    }
    const tooltip = new vscode.MarkdownString(b.tooltip, true);
    tooltip.isTrusted = { enabledCommands: linked };
    item.text = b.text;
    item.tooltip = tooltip;
    item.backgroundColor = backgrounds[b.alarm];
    item.accessibilityInformation = { label: b.label, role: 'button' };
    item.show();
  };
  draw();
  return vscode.Disposable.from(item, projects.onDidChange(draw));
}
