/** The language client, in a file of its own: nine tenths of the code, which the editor's start does not wait for. */
export { CloseAction, ErrorAction, LanguageClient, TransportKind } from 'vscode-languageclient/node';
