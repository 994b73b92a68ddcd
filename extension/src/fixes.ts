/**
 * The sidecar's quick-fixes on lines of the user's own source, where crash sites
 * are shown. The language client asks for them only in files that it sends to the
 * sidecar, and the user's source is not sent anywhere.
 */
import * as vscode from 'vscode';
import type { CodeAction, Command } from 'vscode-languageclient/node';
import type { Sidecar } from './session';

export function fixes(sidecar: Sidecar): vscode.Disposable {
  return vscode.languages.registerCodeActionsProvider(
    { scheme: 'file' },
    {
      async provideCodeActions(document, range, context, token) {
        const ours = context.diagnostics.filter((d) => d.source === 'devside');
        const session = sidecar.now;
        if (ours.length === 0 || session.kind !== 'running' || isSent(document)) return [];
        const { client } = session;
        const params = {
          textDocument: client.code2ProtocolConverter.asTextDocumentIdentifier(document),
          range: client.code2ProtocolConverter.asRange(range),
          context: await client.code2ProtocolConverter.asCodeActionContext({ ...context, diagnostics: ours }),
        };
        const answer = await client.sendRequest<(CodeAction | Command)[] | null>('textDocument/codeAction', params, token);
        return client.protocol2CodeConverter.asCodeActionResult(answer ?? [], token);
      },
    },
    { providedCodeActionKinds: [vscode.CodeActionKind.QuickFix] },
  );
}

function isSent(document: vscode.TextDocument): boolean {
  return /(^|[\\/])(devside\.yaml|package\.json|Procfile(\..*)?)$/.test(document.uri.fsPath);
}
