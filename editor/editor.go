// Package editor turns what devside knows about a project into what an editor
// shows: diagnostics on the line that causes them and their quick-fixes, lenses,
// hints and hovers with what servers do, completion, outline and links of
// devside.yaml, one line for the status bar, and the words of a start's progress.
//
// It is pure. It never reads a file (but from the fs.FS of a View), a clock or a
// connection, never decides what a server does, and holds nothing between two
// calls: the same configuration and the same status give the same answer, in the
// same order.
// Every list it returns is a list, never nil, because LSP has no null there.
//
// Start reading at Diagnostics in diagnostics.go, then Text in position.go,
// which every position goes through, then View in view.go, what each request is
// answered from. Each LSP feature is a file of its own beside them; the table of
// quick-fixes is in action.go.
package editor
